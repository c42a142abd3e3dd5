"""SSH server of a host: one user, public keys only, sessions and tunnels as OpenSSH's sshd serves them."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import mmap
import os
import socket
from collections.abc import Awaitable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import asyncssh

from localcloud.core.process_tree import descendants
from localcloud.hosts.hostile import port as hostile_port
from localcloud.hosts.hostile.behavior import Hostility
from localcloud.hosts.hostile.login import send_banners
from localcloud.hosts.process.ssh_session import LoginEnvironment, SshSession
from localcloud.hosts.spec import HostSpec
from localcloud.hosts.unresponsive_port import UnresponsivePort

NETWORK = ipaddress.IPv4Network("127.77.0.0/16")
_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_BACKLOG = 1024
_LISTEN = "0A"


@dataclass(frozen=True)
class SshServer:
    """Address and users of an SSH server.

    :param address: loopback address to listen on.
    :param port: port to listen on.
    :param user: the only login name.
    :param authorized_keys: file of the public keys that may log in, read at every login.
    """

    address: str
    port: int
    user: str
    authorized_keys: Path

    async def listen(self, login: LoginEnvironment, host_keys: Sequence[asyncssh.SSHKey]) -> asyncssh.SSHAcceptor:
        """Accept connections.

        :raises OSError: the address is taken, or not of this computer.
        """
        with contextlib.ExitStack() as undo:
            listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            undo.callback(listener.close)
            # After a stop and start, connections of the earlier boot may still be in TIME_WAIT.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((self.address, self.port))
            acceptor = await asyncssh.listen(
                sock=listener,
                backlog=_BACKLOG,
                server_factory=lambda: _Connection(self, login),
                server_host_keys=list(host_keys),
                encoding=None,
                line_editor=False,
                # asyncssh would otherwise use the agent and the configuration of the user who runs the cloud.
                agent_forwarding=False,
                password_auth=False,
                kbdint_auth=False,
                gss_host=None,
                config=None,
            )
            undo.pop_all()
        return acceptor


class Gate:
    """Addresses at which a host's SSH port answers, in memory that a process shares with its forks."""

    def __init__(self, spec: HostSpec) -> None:
        self._addresses = spec.addresses
        # Anonymous and shared: a fork sees later changes, and a program that it starts does not have the memory.
        self._memory = mmap.mmap(-1, len(spec.addresses))
        self.open_at([address for address in spec.addresses if spec.is_open(address)])

    def open_at(self, addresses: Collection[str]) -> None:
        """Open the port at these addresses, and close it at the others."""
        self._memory[:] = bytes(address in addresses for address in self._addresses)

    def is_open(self, address: str) -> bool:
        """Return whether the port answers at one of the host's addresses."""
        return bool(self._memory[self._addresses.index(address)])


class SshPort:
    """SSH port of a host at one address: the server, nothing, or a port that is silent.

    :param port: as clients know it; the server listens on another one if something is in front of it.
    :param gate: decides whether it is silent.
    :param hostility: of what is in front of the server; None for nothing.
    """

    def __init__(
        self, port: int, server: SshServer, gate: Gate, login: LoginEnvironment, hostility: Hostility | None
    ) -> None:
        self._port, self._server, self._gate, self._login = port, server, gate, login
        self._hostility = hostility
        self._front: asyncio.Server | None = None
        self._keys: list[asyncssh.SSHKey] = []
        self._acceptor: asyncssh.SSHAcceptor | None = None
        self._silent: UnresponsivePort | None = None
        self._changing = asyncio.Lock()

    async def update(self) -> None:
        """Follow the gate.

        :raises OSError: the address is taken, or not of this computer.
        """
        # The gate may change again while a server starts.
        async with self._changing:
            await self._update()

    async def _update(self) -> None:
        if self._gate.is_open(self._server.address):
            self._close_silent()
            if self._keys and self._acceptor is None:
                self._acceptor = await self._server.listen(self._login, self._keys)
            if self._keys and self._hostility is not None and self._front is None:
                ports = self._port, self._server.port
                self._front = await hostile_port.serve(self._hostility, self._server.address, *ports)
            return
        # Open connections stay, as EC2 keeps those that were allowed when they began.
        if self._acceptor is not None:
            self._acceptor.close()
        if self._front is not None:
            self._front.close()
        self._acceptor = self._front = None
        if self._silent is None:
            self._silent = UnresponsivePort(self._server.address, self._port, accepts=False)

    async def serve(self, keys: list[asyncssh.SSHKey]) -> None:
        """Let the server answer from now on.

        :raises OSError: as for ``update``.
        """
        self._keys = keys
        await self.update()

    def use_keys(self, keys: list[asyncssh.SSHKey]) -> None:
        """Use other host keys for new connections."""
        self._keys = keys
        if self._acceptor is not None:
            self._acceptor.update(server_host_keys=keys)

    def _close_silent(self) -> None:
        if self._silent is not None:
            self._silent.close()
            self._silent = None


class _Connection(asyncssh.SSHServer):
    def __init__(self, server: SshServer, login: LoginEnvironment) -> None:
        self._server = server
        self._login = login

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn

    def begin_auth(self, username: str) -> bool | Awaitable[bool]:  # noqa: ARG002 - every user has to authenticate
        hostility = self._login.hostility()
        return send_banners(self._connection) if hostility is not None and hostility.is_login else True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return username == self._server.user and key.public_data in _public_data(self._server.authorized_keys)

    def session_requested(self) -> asyncssh.SSHServerSession[bytes]:
        return SshSession(self._login)

    def connection_requested(
        self,
        dest_host: str,
        dest_port: int,
        orig_host: str,  # noqa: ARG002 - asyncssh passes it
        orig_port: int,  # noqa: ARG002 - asyncssh passes it
    ) -> bool | Awaitable[asyncssh.SSHTCPSession[bytes]]:
        if dest_host in _LOOPBACK_NAMES and listens_here(dest_port):
            # Loopback is shared with this computer: a tunnel may reach only ports that the host itself serves.
            forwarder = self._connection.forward_connection("127.0.0.1", dest_port)
            # It behaves like such a session, but does not inherit from the class.
            return cast(Awaitable[asyncssh.SSHTCPSession[bytes]], forwarder)
        if not _in_network(dest_host):
            reason = f"{dest_host} port {dest_port} is not part of the embedded cloud's network"
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, reason)
        return True


def _in_network(host: str) -> bool:
    try:
        return ipaddress.ip_address(host) in NETWORK
    except ValueError:
        return False


def _public_data(file: Path) -> set[bytes]:
    """Return the keys of an ``authorized_keys`` file; invalid lines are skipped."""
    try:
        lines = file.read_text(errors="replace").splitlines()
    except OSError:
        return set()
    keys = set()
    for line in lines:
        with contextlib.suppress(asyncssh.KeyImportError):
            keys.add(asyncssh.import_public_key(line).public_data)
    return keys


def listens_here(port: int) -> bool:
    """Return whether a descendant of this process listens on ``port`` of this computer's loopback address."""
    wanted = {f"socket:[{inode}]" for inode in _listeners(port)}
    return bool(wanted) and any(not wanted.isdisjoint(_open_files(pid)) for pid in descendants(os.getpid()))


def _listeners(port: int) -> list[str]:
    """Return the inodes of sockets that accept connections to 127.0.0.1:port; proc(5), ``net/tcp``."""
    addresses = {f"{address}:{port:04X}" for address in ("0100007F", "00000000", "7F000001")}
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return [row[9] for row in rows if row[1] in addresses and row[3] == _LISTEN]


def _open_files(pid: int) -> set[str]:
    folder = f"/proc/{pid}/fd"
    targets = set()
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            with contextlib.suppress(OSError):
                targets.add(os.readlink(f"{folder}/{name}"))
    return targets
