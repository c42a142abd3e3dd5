"""Open tunnels to web pages and other services on hosts, and list those that are open on this computer."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

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
    :param purpose: name of the service that it was opened for; empty for a port that the user named.
    """

    host: str
    remote_port: int
    address: str
    port: int
    close: Callable[[], None] = field(repr=False)
    purpose: str = ""


class _Target(NamedTuple):
    """Identifies a tunnel among those of this process."""

    host: Host
    address: str
    port: int
    counts_as_use: bool


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
    _shared: dict[_Target, PortTunnel] = field(init=False, repr=False, default_factory=dict)
    _lock: threading.Lock = field(init=False, repr=False, default_factory=threading.Lock)

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
        is_shared: bool = True,
    ) -> PortTunnel:
        """Open a tunnel, or return the one of this process that leads there; it makes a new connection after a loss.

        :param purpose: name of the service that it leads to.
        :param target_address: as the host reaches it; None: its loopback address; empty: its private one.
        :param counts_as_use: what moves through it keeps the host from an idle shutdown; open alone it never does.
        :param port: wanted on this computer; one of the next ones, or any free one, if another program has it.
        :param is_shared: False for one that its opener closes while others may use theirs.
        :raises ConnectError: no session.
        """
        # Imported when needed: paramiko takes a third of a second.
        from orchestrator.ssh import LOOPBACK

        target = LOOPBACK if target_address is None else target_address
        # The whole record: a VM that was started again may have another address.
        key = _Target(host, target, remote_port, counts_as_use)
        with self._lock:
            if is_shared and key in self._shared:
                return self._shared[key]
            tunnel = self._forward(host, remote_port, target, port)
            self._uses.add(host, tunnel, counts=counts_as_use)
            record = OpenTunnel(host.name, remote_port, purpose, tunnel.address, tunnel.port, os.getpid())
            # A full or read-only disk: the tunnel is not listed.
            with contextlib.suppress(OSError):
                tunnel.at_close(_write(self.folder(), record))
            opened = PortTunnel(host.name, remote_port, tunnel.address, tunnel.port, tunnel.close, purpose)
            if is_shared:
                self._shared[key] = opened
                tunnel.at_close(lambda: self._shared.pop(key, None))
            return opened

    def close(self, host: Host, purpose: str) -> None:
        """Close the tunnels of this process that were opened to a service of a host.

        :param purpose: name of the service.
        """
        with self._lock:
            tunnels = [tunnel for key, tunnel in self._shared.items() if key.host.name == host.name]
        for tunnel in tunnels:
            if tunnel.purpose == purpose:
                tunnel.close()

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
