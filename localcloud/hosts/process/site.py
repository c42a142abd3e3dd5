"""Addresses and process hosts of a cloud, and what is left of them when its daemon was killed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from localcloud.core.addresses import claim_loopback_block
from localcloud.core.home import Home
from localcloud.hosts.interface import HostSite
from localcloud.hosts.process import hosts
from localcloud.hosts.process.image import ProcessImages
from localcloud.hosts.unresponsive_port import UnresponsivePort


def open_site(home: Home, resources: ExitStack) -> HostSite:
    """Claim addresses for process hosts.

    :param resources: closes the hosts when the cloud ends.
    :raises LocalCloudError: no addresses are free.
    """

    def make_hosts(on_shutdown: Callable[[str], None]) -> hosts.ProcessHosts:
        process_hosts = hosts.ProcessHosts(home.folder, on_shutdown=on_shutdown)
        resources.callback(process_hosts.close)
        return process_hosts

    block, listener = claim_loopback_block()
    return HostSite(block, listener, make_hosts, home.console, UnresponsivePort, ProcessImages(home))


def close_site(home: Home) -> None:
    """End the processes that a killed daemon left behind.

    :raises HostError: another cloud uses this home.
    """
    hosts.end_leftovers(home.folder)
