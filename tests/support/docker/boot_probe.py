"""Boot of a docker host on a network of its own, without a cloud."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from localcloud.core import file_lock
from localcloud.core.home import Home
from localcloud.hosts.docker import network
from localcloud.hosts.docker.host_config import network_files
from localcloud.hosts.system_files import to_tar


def probe(image: str, home: Path, confinement: Sequence[str]) -> None:
    """Check that a host boots with systemd, and leave nothing of it.

    :param home: folder that no cloud has.
    :param confinement: options that the host is started with.
    :raises network.NoSystemdError: systemd does not run.
    """
    home.mkdir(exist_ok=True)
    # Other clouds remove the resources of homes whose lock is free.
    assert file_lock.hold(Home(home).daemon_lock)
    claimed, listener = network.claim(home)
    try:
        network.probe(claimed, image, confinement, to_tar(network_files(claimed.block.endpoint, None, None)))
    finally:
        listener.close()
        network.remove(home)
