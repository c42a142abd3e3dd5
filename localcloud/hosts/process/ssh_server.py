"""The SSH server of a machine: one user, public keys only, sessions and tunnels as OpenSSH's sshd serves them."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import asyncssh

from localcloud.hosts.process.processes import descendants
from localcloud.hosts.process.ssh_session import LoginEnvironment, SshSession

NETWORK = ipaddress.IPv4Network("127.77.0.0/16")
_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_BACKLOG = 1024
_LISTEN = "0A"


@dataclass(frozen=True)
class SshServer:
    """Where and for whom an SSH server opens.

    :param address: loopback address to listen on.
    :param port: to listen on.
    :param user: the one login name.
    :param authorized_keys: file of the public keys that open it, read anew at every login.
    """

    address: str
    port: int
    user: str
    authorized_keys: Path


class _Connection(asyncssh.SSHServer):
    def __init__(self, door: SshServer, login: LoginEnvironment) -> None:
        self._door = door
        self._login = login

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn

    def begin_auth(self, username: str) -> bool:  # noqa: ARG002 - whoever it is has to prove it
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return username == self._door.user and key.public_data in _public_data(self._door.authorized_keys)

    def session_requested(self) -> asyncssh.SSHServerSession[bytes]:
        return SshSession(self._login)

    def connection_requested(
        self,
        dest_host: str,
        dest_port: int,
        orig_host: str,  # noqa: ARG002
        orig_port: int,  # noqa: ARG002
    ) -> bool | Awaitable[asyncssh.SSHTCPSession[bytes]]:
        if dest_host in _LOOPBACK_NAMES and listens_here(dest_port):
            # "localhost" of the machine is this computer's: only what the machine itself serves there is its own.
            forwarder = self._connection.forward_connection("127.0.0.1", dest_port)
            # It plays the part of such a session without being one by name.
            return cast(Awaitable[asyncssh.SSHTCPSession[bytes]], forwarder)
        if not _in_network(dest_host):
            reason = f"{dest_host} port {dest_port} is not part of the rehearsal network"
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, reason)
        return True


def _in_network(host: str) -> bool:
    try:
        return ipaddress.ip_address(host) in NETWORK
    except ValueError:
        return False


def _public_data(file: Path) -> set[bytes]:
    """The keys of an ``authorized_keys`` file; a line that is none is passed over."""
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
    """Whether a process below this one listens on ``port`` of this computer's loopback address."""
    wanted = {f"socket:[{inode}]" for inode in _listeners(port)}
    return bool(wanted) and any(not wanted.isdisjoint(_open_files(pid)) for pid in descendants(os.getpid()))


def _listeners(port: int) -> list[str]:
    """Inodes of the sockets that accept connections to 127.0.0.1:port; proc(5), ``net/tcp``."""
    addresses = {f"{address}:{port:04X}" for address in ("0100007F", "00000000", "7F000001")}
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return [row[9] for row in rows if row[1] in addresses and row[3] == _LISTEN]


def _open_files(pid: int) -> set[str]:
    folder = f"/proc/{pid}/fd"
    found = set()
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            with contextlib.suppress(OSError):
                found.add(os.readlink(f"{folder}/{name}"))
    return found


async def serve(door: SshServer, login: LoginEnvironment, host_keys: Sequence[asyncssh.SSHKey]) -> asyncssh.SSHAcceptor:
    """Open the door.

    :raises OSError: the address is taken, or not of this computer.
    """
    with contextlib.ExitStack() as undo:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        undo.callback(listener.close)
        # A machine that is stopped and started again finds connections of its last life still winding down.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((door.address, door.port))
        acceptor = await asyncssh.listen(
            sock=listener,
            backlog=_BACKLOG,
            server_factory=_factory(door, login),
            server_host_keys=list(host_keys),
            encoding=None,
            line_editor=False,
            agent_forwarding=False,
            password_auth=False,
            kbdint_auth=False,
            gss_host=None,
            config=None,
        )
        undo.pop_all()
    return acceptor


def _factory(door: SshServer, login: LoginEnvironment) -> Callable[[], asyncssh.SSHServer]:
    return lambda: _Connection(door, login)
