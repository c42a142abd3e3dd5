"""The two kinds of hosts that a cloud can have, each with the place that it stands on."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING

from localcloud.core.home import Home
from localcloud.server.endpoint import HostSite, claim_block

if TYPE_CHECKING:
    from localcloud.hosts.docker.hosts import DockerHosts
    from localcloud.hosts.process.hosts import ProcessHosts


def open_site(kind: str, home: Home, last: ExitStack) -> HostSite:
    """Claim a site for hosts of a kind.

    :param last: closes what was opened, when the cloud ends.
    :raises LocalCloudError: no addresses are free, or docker hosts are not possible here.
    """
    return _docker(home, last) if kind == "docker" else _process(home, last)


def _process(home: Home, last: ExitStack) -> HostSite:
    from localcloud.fault_injection.hosts import UnresponsivePort
    from localcloud.hosts.process.hosts import ProcessHosts

    def make_hosts(on_shutdown: Callable[[str], None]) -> ProcessHosts:
        hosts = ProcessHosts(home.folder, on_shutdown=on_shutdown)
        last.callback(hosts.close)
        return hosts

    block, listener = claim_block()
    return HostSite(block, listener, make_hosts, home.console, UnresponsivePort)


def _docker(home: Home, last: ExitStack) -> HostSite:
    from localcloud.hosts.docker import engine, image, network
    from localcloud.hosts.docker.hosts import CONFINEMENT, DockerHosts

    made: list[DockerHosts] = []

    def make_hosts(on_shutdown: Callable[[str], None]) -> DockerHosts:
        hosts = DockerHosts(claimed, on_shutdown=on_shutdown)
        made.append(hosts)
        last.callback(hosts.close)
        return hosts

    engine.check()
    network.remove_leftovers(home.folder)
    last.callback(network.remove, home.folder)
    claimed, listener = network.claim(home.folder)
    network.probe(claimed, image.ensure(), CONFINEMENT)
    return HostSite(
        claimed.block,
        listener,
        make_hosts,
        lambda instance_id: made[0].console(instance_id),
        lambda address, port, answers: made[0].unresponsive_port(address, port, answers),
    )
