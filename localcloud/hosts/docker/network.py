"""Network of a cloud with docker hosts, and removal of what a killed cloud left on the engine.

Containers and networks carry the label ``localcloud.home``. The owner of a home holds a lock in it while it runs; the
resources of homes without an owner are removed when the next cloud with docker hosts starts.
"""

from __future__ import annotations

import contextlib
import csv
import io
import ipaddress
import os
import re
import socket
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from localcloud.core import file_lock
from localcloud.core.addresses import DOCKER_BLOCKS, ENDPOINT_PORT, AddressBlock
from localcloud.core.errors import LocalCloudError
from localcloud.core.home import Home
from localcloud.hosts.docker.engine import EngineError, docker, docker_output

# Long enough for any number of containers.
_REMOVAL_TIMEOUT_S = 300.0
# Seconds that a busy computer may take to start systemd with one unit; less than the daemon's start may take.
_PROBE_TIMEOUT_S = 90.0
# Exit status of host-probe.service if it has no connection.
_UNREACHABLE = 3
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
HOME_LABEL, VIEW_LABEL = "localcloud.home", "localcloud.view"


class NoSystemdError(EngineError):
    """The engine cannot run systemd in a container."""


@dataclass(frozen=True)
class Network:
    """A Docker network with the cloud's blocks of addresses.

    :param name: name at the engine.
    :param home: folder of the cloud that it belongs to.
    """

    name: str
    block: AddressBlock
    home: Path

    def labels(self) -> list[str]:
        """Return options that label resources of this cloud."""
        return labels(self.home)

    def volume(self, place: str) -> list[str]:
        """Return options for an anonymous volume at the path ``place``; it is removed with the container."""
        fields = ["type=volume", f"dst={place}", *(f"volume-label={mark}" for mark in _label_pairs(self.home))]
        # --mount takes one line of comma-separated values, and a path may contain commas or quotes.
        line = io.StringIO()
        csv.writer(line, lineterminator="").writerow(fields)
        return ["--mount", line.getvalue()]


def labels(home: Path) -> list[str]:
    """Return options of ``docker create`` that label a resource of ``home``."""
    return [word for mark in _label_pairs(home) for word in ("--label", mark)]


def _label_pairs(home: Path) -> tuple[str, str]:
    return f"{HOME_LABEL}={home}", f"{VIEW_LABEL}={_view()}"


def claim(home: Path) -> tuple[Network, socket.socket]:
    """Create a network with the first free block, and listen for the API on its gateway, the first address.

    :raises LocalCloudError: every block is taken, or the gateway is not an address of this computer.
    """
    last_error = ""
    for block in DOCKER_BLOCKS:
        # With the public addresses, which are the block that follows.
        subnet = block.network.supernet()
        # Docker would accept the subnet and cut this computer off from the other network.
        if _is_routed(subnet):
            continue
        name = f"localcloud-{block.network.network_address}"
        try:
            docker(
                *("network", "create", *labels(home), "--subnet", str(subnet)),
                # Hosts add their public addresses themselves.
                *("--ip-range", str(block.network), "--gateway", block.endpoint, name),
            )
        except EngineError as error:
            last_error = str(error)
            continue
        return Network(name, block, home), _listen(name, block)
    # The last error of the engine is shown: it may be the same for every block.
    first, last = DOCKER_BLOCKS[0].network, DOCKER_BLOCKS[-1].public_network
    raise LocalCloudError(
        f"no network from {first} to {last} is free for docker hosts" + (f" ({last_error})" if last_error else "")
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
            "docker hosts need a Docker engine on this computer itself, not in a virtual machine or elsewhere"
        ) from error
    return listener


def probe(network: Network, image: str, confinement: Sequence[str], files: bytes) -> None:
    """Check that a host of this network boots with systemd, and that it reaches the endpoint.

    :param image: image of hosts.
    :param confinement: options that hosts are started with.
    :param files: tar of the files that a host boots with.
    :raises NoSystemdError: systemd does not run, with its last message and a fix.
    :raises EngineError: the endpoint cannot be reached, with a fix.
    """
    name = f"{network.name}-probe"
    options = [*network.labels(), *confinement, "--network", network.name]
    try:
        _start_probe(name, options, image, files)
        code = _exit_status(name)
        if code == _UNREACHABLE:
            raise EngineError(
                f"docker hosts cannot reach this computer at {network.block.endpoint}:{ENDPOINT_PORT}; if a firewall "
                f"blocks them: sudo ufw allow from {network.block.network}"
            )
        if code != 0:
            raise NoSystemdError(_no_systemd(_last_message(name)))
    finally:
        # It does not exist if it could not be created; the cloud's end removes it otherwise.
        with contextlib.suppress(EngineError):
            docker("rm", "--force", "--volumes", name)


def _start_probe(name: str, options: Sequence[str], image: str, files: bytes) -> None:
    try:
        docker("create", "--name", name, *options, image, "--unit=host-probe.service")
        docker("cp", "-", f"{name}:/", stdin=files)
        docker("start", name)
    except EngineError as error:
        raise NoSystemdError(_no_systemd(str(error))) from error


def _exit_status(name: str) -> int | None:
    """Return the exit status of the probe; None if it does not end, because systemd then stays as it is."""
    try:
        return int(docker("wait", name, timeout_s=_PROBE_TIMEOUT_S))
    except EngineError:
        return None


def _last_message(name: str) -> str:
    lines = docker_output("logs", name).decode(errors="replace").split("\n")
    messages = [_ESCAPES.sub("", line).strip() for line in lines]
    return next((message for message in reversed(messages) if message), "no message")


def _no_systemd(message: str) -> str:
    return (
        f"the Docker engine of this computer cannot run systemd in a container ({message}); use process hosts "
        "(no --hosts, no LOCALCLOUD_HOSTS_KIND), or an engine that runs as root with cgroup namespaces (20.10 or newer)"
    )


def remove(home: Path) -> None:
    """Remove all containers, volumes and networks of one cloud.

    :raises EngineError: one of them cannot be removed.
    """
    _remove(f"{HOME_LABEL}={home}")


def _remove(label: str) -> None:
    if ids := docker("ps", "--all", "--quiet", "--no-trunc", "--filter", f"label={label}").splitlines():
        docker("rm", "--force", "--volumes", *ids, timeout_s=_REMOVAL_TIMEOUT_S)
    if ids := docker("volume", "ls", "--quiet", "--filter", f"label={label}").splitlines():
        docker("volume", "rm", "--force", *ids, timeout_s=_REMOVAL_TIMEOUT_S)
    if ids := docker("network", "ls", "--quiet", "--filter", f"label={label}").splitlines():
        docker("network", "rm", *ids)


def remove_leftovers(home: Path) -> None:
    """Remove what earlier clouds of ``home``, and clouds whose owner is gone, left on the engine.

    The caller holds the lock of ``home``.
    """
    remove(home)
    for other in _homes():
        if other != home and _is_dead(other):
            remove(other)


def _homes() -> set[Path]:
    """Return the homes of all labeled resources on the engine that belong to this user and file system."""
    template = f'{{{{.Label "{VIEW_LABEL}"}}}}\t{{{{.Label "{HOME_LABEL}"}}}}'
    lines: Iterable[str] = [
        *docker("ps", "--all", "--filter", f"label={HOME_LABEL}", "--format", template).splitlines(),
        *docker("network", "ls", "--filter", f"label={HOME_LABEL}", "--format", template).splitlines(),
    ]
    pairs = (line.partition("\t") for line in lines)
    return {Path(home) for view, _, home in pairs if view == _view()}


def _is_dead(home: Path) -> bool:
    try:
        return file_lock.holder(Home(home).daemon_lock) is None
    except OSError:
        # Another user's home: its lock cannot be read.
        return False


def _view() -> str:
    """Return an id of user and mount namespace: in another one, the same path is another home."""
    return f"{os.getuid()}-{os.readlink('/proc/self/ns/mnt')}"


def _is_routed(network: ipaddress.IPv4Network) -> bool:
    """Return whether this computer has a route, other than its default route, into a network."""
    for line in Path("/proc/net/route").read_text().splitlines()[1:]:
        fields = line.split()
        address, mask = (ipaddress.IPv4Address(struct.pack("=L", int(fields[at], 16))) for at in (1, 7))
        if int(mask) and network.overlaps(ipaddress.IPv4Network(f"{address}/{mask}")):
            return True
    return False
