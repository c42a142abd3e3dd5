"""Network and docker hosts of a cloud, and what is left of them when its daemon was killed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from localcloud.core.disk_folders import RefusedDisks
from localcloud.core.home import Home
from localcloud.hosts import system_files
from localcloud.hosts.docker import engine, host_config, image, network
from localcloud.hosts.docker.hosts import CONFINEMENT, DockerHosts
from localcloud.hosts.interface import HostSite


def prepare(report: Callable[[str], None]) -> None:
    """Check that docker hosts can run here, and build their image, which takes longer than the daemon may.

    :param report: called with a line of progress before the image is built.
    :raises EngineError: no engine answers, or the image cannot be built.
    """
    engine.check()
    if not image.exists(image.image_name()):
        report(f"building the image of docker hosts on {image.base_image()} (once, a minute or two)")
        image.ensure()


def open_site(home: Home, resources: ExitStack) -> HostSite:
    """Create the network of a cloud with docker hosts.

    :param resources: removes network and hosts when the cloud ends.
    :raises LocalCloudError: docker hosts cannot run here, or every network is taken.
    """
    created: list[DockerHosts] = []

    def make_hosts(on_shutdown: Callable[[str], None]) -> DockerHosts:
        hosts = DockerHosts(claimed, on_shutdown=on_shutdown)
        created.append(hosts)
        resources.callback(hosts.close)
        return hosts

    engine.check()
    network.remove_leftovers(home.folder)
    resources.callback(network.remove, home.folder)
    claimed, listener = network.claim(home.folder)
    files = host_config.network_files(claimed.block.endpoint, None, None)
    network.probe(claimed, image.ensure(), CONFINEMENT, system_files.to_tar(files))
    return HostSite(
        claimed.block,
        listener,
        make_hosts,
        lambda instance_id: created[0].console(instance_id),
        lambda address, port, accepts: created[0].unresponsive_port(address, port, accepts),
        disks=RefusedDisks(),
    )


def close_site(home: Home) -> None:
    """Remove the containers, volumes and networks that a killed daemon left behind.

    :raises EngineError: something cannot be removed.
    """
    network.remove(home.folder)
