"""Open tunnels to web pages and other services on hosts, and list those that are open on this computer."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.core.host import Host
from orchestrator.hosts.tunnel_uses import TunnelUses

if TYPE_CHECKING:
    from orchestrator.ssh import SshClient, Tunnel

DASHBOARD_PORT = 8787
"""Dask's usual port."""

PORTS = 10
"""Local ports that are tried, from the wanted one on, before any free one is taken."""


@dataclass(frozen=True)
class Dashboard:
    """An open tunnel to a web page of the cluster.

    :param url: address for a browser on this computer.
    :param close: closes the tunnel.
    """

    url: str
    close: Callable[[], None]


@dataclass(frozen=True)
class PortTunnel:
    """An open tunnel to a port of a host.

    :param remote_port: the port on the host's loopback address.
    :param address: loopback address of this computer.
    :param port: the port on this computer that leads there.
    :param close: closes the tunnel.
    """

    host: str
    remote_port: int
    address: str
    port: int
    close: Callable[[], None] = field(repr=False)


@dataclass(frozen=True)
class OpenTunnel:
    """A tunnel that a process of this computer holds open.

    :param purpose: name of the service that it leads to; empty for a port that the user named.
    :param port: on the loopback address of this computer.
    :param pid: of the process.
    """

    host: str
    remote_port: int
    purpose: str
    address: str
    port: int
    pid: int


@dataclass(frozen=True)
class Tunnels:
    """Tunnels of one cluster: opened by this process, listed for all processes of this computer.

    :param folder: returns the folder of the list, one file per tunnel. Its process locks it: the lock ends with the
        process, however that ends.
    """

    ssh: SshClient
    folder: Callable[[], Path]
    _uses: TunnelUses = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_uses", TunnelUses(self.ssh))

    def open(
        self,
        host: Host,
        remote_port: int,
        *,
        purpose: str = "",
        target_address: str | None = None,
        port: int = 0,
        counts_as_use: bool = True,
    ) -> PortTunnel:
        """Open a tunnel; it makes a new connection when it has lost one.

        :param purpose: name of the service that it leads to.
        :param target_address: as the host reaches it; None: its loopback address; empty: its private one.
        :param counts_as_use: what moves through it keeps the host from an idle shutdown; open alone it never does.
        :param port: wanted on this computer; one of the next ones, or any free one, if another program has it.
        :raises ConnectError: no session.
        """
        # Imported when needed: paramiko takes a third of a second.
        from orchestrator.ssh import LOOPBACK

        target = LOOPBACK if target_address is None else target_address
        tunnel = self._forward(host, remote_port, target, port)
        self._uses.add(host, tunnel, counts=counts_as_use)
        record = OpenTunnel(host.name, remote_port, purpose, tunnel.address, tunnel.port, os.getpid())
        # A full or read-only disk: the tunnel is not listed.
        with contextlib.suppress(OSError):
            tunnel.at_close(_write(self.folder(), record))
        return PortTunnel(host.name, remote_port, tunnel.address, tunnel.port, tunnel.close)

    def _forward(self, host: Host, remote_port: int, target: str, port: int) -> Tunnel:
        from orchestrator.ssh import PortTaken

        for local_port in range(port, min(port + PORTS, 65536)) if port else ():
            try:
                return self.ssh.forward(host, remote_port, target_address=target, local_port=local_port)
            except PortTaken:
                continue
        return self.ssh.forward(host, remote_port, target_address=target)

    def listed(self) -> tuple[OpenTunnel, ...]:
        """Return the open tunnels of all processes of this computer, by local port."""
        tunnels = [_read(path) for path in self.folder().glob("*.json")]
        return tuple(sorted(filter(None, tunnels), key=lambda tunnel: tunnel.port))


def open_dashboard(tunnels: Tunnels, host: Host, port: int) -> Dashboard:
    """Open a tunnel to a Dask dashboard.

    :param port: on the host's private address.
    """
    tunnel = tunnels.open(host, port, purpose="Dask dashboard", target_address="", port=DASHBOARD_PORT)
    return Dashboard(f"http://{tunnel.address}:{tunnel.port}/status", tunnel.close)


def _write(folder: Path, record: OpenTunnel) -> Callable[[], None]:
    """List a tunnel; return the function that removes it from the list.

    :raises OSError: it cannot be written.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{record.port}-{record.pid}.json"
    draft = path.with_suffix(".new")
    file = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        # Locked before it has its name: a file without a lock belongs to a process that has ended.
        fcntl.flock(file, fcntl.LOCK_EX)
        os.write(file, json.dumps(asdict(record)).encode())
        os.replace(draft, path)
    except BaseException:
        os.close(file)
        raise

    def remove() -> None:
        path.unlink(missing_ok=True)
        os.close(file)

    return remove


def _read(path: Path) -> OpenTunnel | None:
    """Return a listed tunnel; remove it from the list if its process has ended."""
    try:
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return OpenTunnel(**json.loads(file.read()))
            path.unlink()
    # Closed meanwhile, or written by another version.
    except (OSError, ValueError, TypeError):
        pass
    return None
