"""The network of a cloud with docker hosts, and what such a cloud leaves on the engine when it is killed.

Containers and networks carry the label ``localcloud.home``. The owner of a home that lives holds a lock in it; what
belongs to any other home is swept when the next cloud with docker hosts comes up.
"""

from __future__ import annotations

import csv
import io
import ipaddress
import os
import socket
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from localcloud.core import file_lock
from localcloud.core.addresses import DOCKER_BLOCKS, ENDPOINT_PORT, AddressBlock
from localcloud.core.errors import LocalCloudError
from localcloud.core.home import Home
from localcloud.hosts.docker.engine import EngineError, docker

# For any number of containers.
_REMOVAL_DEADLINE_S = 300.0
HOME_LABEL, VIEW_LABEL = "localcloud.home", "localcloud.view"


@dataclass(frozen=True)
class Network:
    """A network of the engine's with the cloud's block of addresses.

    :param name: at the engine.
    :param home: folder of the cloud that it belongs to.
    """

    name: str
    block: AddressBlock
    home: Path

    def labels(self) -> list[str]:
        """Options that mark what belongs to this cloud."""
        return labels(self.home)

    def volume(self, place: str) -> list[str]:
        """Options for a volume of a container's own, mounted at ``place``: it goes with the container."""
        fields = ["type=volume", f"dst={place}", *(f"volume-label={mark}" for mark in _label_pairs(self.home))]
        # One line of comma separated values, whatever is in a path.
        line = io.StringIO()
        csv.writer(line, lineterminator="").writerow(fields)
        return ["--mount", line.getvalue()]


def labels(home: Path) -> list[str]:
    """Options of ``docker create`` that mark a thing as that of ``home``."""
    return [word for mark in _label_pairs(home) for word in ("--label", mark)]


def _label_pairs(home: Path) -> tuple[str, str]:
    return f"{HOME_LABEL}={home}", f"{VIEW_LABEL}={_view()}"


def claim(home: Path) -> tuple[Network, socket.socket]:
    """Take the first free block: make a network of it, and listen for the API on its gateway, the first address.

    :raises LocalCloudError: every block is taken, or the gateway is not an address of this computer.
    """
    said = ""
    for block in DOCKER_BLOCKS:
        if _is_routed(block.network):
            continue
        name = f"localcloud-{block.network.network_address}"
        try:
            docker(
                "network", "create", *labels(home), "--subnet", str(block.network), "--gateway", block.endpoint, name
            )
        except EngineError as error:
            said = str(error)
            continue
        return Network(name, block, home), _listen(name, block)
    first, last = DOCKER_BLOCKS[0].network, DOCKER_BLOCKS[-1].network
    raise LocalCloudError(
        f"no network from {first} to {last} is free for docker hosts" + (f" ({said})" if said else "")
    )


def _listen(name: str, block: AddressBlock) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((block.endpoint, ENDPOINT_PORT))
        listener.listen(128)
    except OSError as error:
        listener.close()
        docker("network", "rm", name)
        raise LocalCloudError(
            f"cannot listen on {block.endpoint}:{ENDPOINT_PORT}, the gateway of a docker network ({error.strerror}): "
            "docker hosts need an engine that runs on this computer itself, not in a virtual machine or elsewhere"
        ) from error
    return listener


def probe(network: Network, image: str, confinement: Sequence[str]) -> None:
    """See that a host of this network can start, and reaches the endpoint.

    :param image: of hosts.
    :param confinement: options that hosts are started with.
    :raises EngineError: with what to do about it.
    """
    block = network.block
    code = f"import socket; socket.create_connection(('{block.endpoint}', {ENDPOINT_PORT}), 5)"
    start = ["run", "--rm", *network.labels(), *confinement, "--network", network.name, "--entrypoint", "python3"]
    try:
        docker(*start, image, "-c", code)
    except EngineError as error:
        if "Error:" not in str(error) and "timed out" not in str(error):
            raise EngineError(f"no docker host can start here: {error}") from error
        raise EngineError(
            f"docker hosts do not reach this computer at {block.endpoint}:{ENDPOINT_PORT}; does a firewall keep them "
            f"out? sudo ufw allow from {block.network} ({error})"
        ) from error


def remove(home: Path) -> None:
    """Remove all containers, volumes and networks of one cloud.

    :raises EngineError: something does not go.
    """
    _remove(f"{HOME_LABEL}={home}")


def _remove(label: str) -> None:
    if found := docker("ps", "--all", "--quiet", "--no-trunc", "--filter", f"label={label}").splitlines():
        docker("rm", "--force", "--volumes", *found, timeout_s=_REMOVAL_DEADLINE_S)
    if found := docker("volume", "ls", "--quiet", "--filter", f"label={label}").splitlines():
        docker("volume", "rm", "--force", *found, timeout_s=_REMOVAL_DEADLINE_S)
    if found := docker("network", "ls", "--quiet", "--filter", f"label={label}").splitlines():
        docker("network", "rm", *found)


def remove_leftovers(home: Path) -> None:
    """Remove what earlier clouds left on the engine: those of ``home``, and those whose owner is gone.

    To be called by whoever holds ``home``.
    """
    remove(home)
    for other in _homes():
        if other != home and _is_dead(other):
            remove(other)


def _homes() -> set[Path]:
    """The homes of all things on the engine that were made from this view of the file system."""
    template = f'{{{{.Label "{VIEW_LABEL}"}}}}\t{{{{.Label "{HOME_LABEL}"}}}}'
    found: Iterable[str] = [
        *docker("ps", "--all", "--filter", f"label={HOME_LABEL}", "--format", template).splitlines(),
        *docker("network", "ls", "--filter", f"label={HOME_LABEL}", "--format", template).splitlines(),
    ]
    pairs = (line.partition("\t") for line in found)
    return {Path(home) for view, _, home in pairs if view == _view()}


def _is_dead(home: Path) -> bool:
    try:
        return file_lock.holder(Home(home).daemon_lock) is None
    except OSError:
        # Somebody else's, who lives or not.
        return False


def _view() -> str:
    """Which file system, and whose: a path of another one may look like a home that is gone."""
    return f"{os.getuid()}-{os.readlink('/proc/self/ns/mnt')}"


def _is_routed(network: ipaddress.IPv4Network) -> bool:
    """Whether this computer has a route, other than its default one, into a network."""
    for line in Path("/proc/net/route").read_text().splitlines()[1:]:
        fields = line.split()
        address, mask = (ipaddress.IPv4Address(struct.pack("=L", int(fields[at], 16))) for at in (1, 7))
        if int(mask) and network.overlaps(ipaddress.IPv4Network(f"{address}/{mask}")):
            return True
    return False
