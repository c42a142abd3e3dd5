"""Tunnels: a local port forwarded over SSH to a port inside the cluster."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import socketserver
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from orchestrator.core.errors import HostError, StratusError
from orchestrator.ssh.channel import WINDOW_BYTES, close_in_background, send_all

if TYPE_CHECKING:
    import paramiko

CLOSING_S = 5.0
"""Seconds to wait for the threads of a tunnel; those stuck on a dead connection are abandoned."""

OpenRemoteEnd = Callable[[tuple[str, int]], "paramiko.Channel"]
"""Opens the remote end for a connection, given its source address: one channel for each."""


LOOPBACK = str(ipaddress.ip_address(socket.INADDR_LOOPBACK))


class PortTaken(HostError):
    """The local port of a tunnel cannot be listened on."""

    json_name = "HostError"


class Tunnel:
    """A listening port on the loopback address of this computer, forwarded to the remote end.

    A target that refuses, or a lost SSH connection, ends only the connections concerned: the tunnel keeps listening.
    """

    def __init__(self, open_remote_end: OpenRemoteEnd, local_port: int = 0) -> None:
        """Start listening.

        :param local_port: the port to listen on; 0 takes a free one.
        :raises PortTaken: the port is taken or not allowed.
        """
        # Loopback only: other users of the network must not reach the page.
        self.address = LOOPBACK
        try:
            self._server = _Server((self.address, local_port), open_remote_end)
        except (OSError, OverflowError) as error:
            reason = error.strerror if isinstance(error, OSError) else "no such port"
            fix = "choose another port, or 0 for any free one"
            raise PortTaken(f"cannot listen on local port {local_port}: {reason}", fix=fix) from error
        self.port: int = self._server.server_address[1]
        self._at_close: list[Callable[[], object]] = []
        self._accepting = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="tunnel", daemon=True)
        self._accepting.start()

    @property
    def moved_bytes(self) -> int:
        """Bytes that went through, both ways."""
        return self._server.moved_bytes

    def at_close(self, call: Callable[[], object]) -> None:
        """Call a function, once, when the tunnel is closed."""
        self._at_close.append(call)

    def close(self) -> None:
        """Stop listening, end all connections, and wait for their threads; may be called again."""
        while self._at_close:
            self._at_close.pop()()
        self._server.shutdown()
        self._server.server_close()
        self._server.end_connections()
        self._accepting.join(CLOSING_S)

    def __enter__(self) -> Tunnel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    # Closing must not wait for threads that are blocked on a dead connection.
    block_on_close = False
    # A browser opens many connections at once; the default backlog is 5.
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], open_remote_end: OpenRemoteEnd) -> None:
        super().__init__(address, _ForwardedConnection)
        self.open_remote_end = open_remote_end
        self.connections: set[_ForwardedConnection] = set()
        self.lock = threading.Lock()
        self.closing = False
        # Not exact: threads count without a lock. It tells whether anything moves.
        self.moved_bytes = 0

    def end_connections(self) -> None:
        """End all connections, and wait a moment for their threads."""
        with self.lock:
            self.closing = True
            connections = list(self.connections)
        for connection in connections:
            connection.end()
        deadline = time.monotonic() + CLOSING_S
        for connection in connections:
            connection.finished.wait(max(0.0, deadline - time.monotonic()))

    def add(self, connection: _ForwardedConnection) -> bool:
        """Add an accepted connection; False when the tunnel is closing."""
        with self.lock:
            self.connections.add(connection)
            return not self.closing

    def remove(self, connection: _ForwardedConnection) -> None:
        """Remove a connection that has ended."""
        with self.lock:
            self.connections.discard(connection)

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore the error: the default prints a traceback on the user's screen."""


class _ForwardedConnection(socketserver.BaseRequestHandler):
    """One connection: a local socket, a channel, and a thread for either direction."""

    server: _Server
    request: socket.socket

    def setup(self) -> None:
        self.finished = threading.Event()
        self.channel: paramiko.Channel | None = None

    def handle(self) -> None:
        if not self.server.add(self):
            return
        try:
            self.channel = self.server.open_remote_end(self.client_address)
        except StratusError:
            self.refuse()
            return
        if not self.server.closing:
            self.forward(self.channel)

    def forward(self, channel: paramiko.Channel) -> None:
        """Forward both ways until both have ended."""
        sender = threading.Thread(target=self.send_to_remote, args=(channel,), name="tunnel-send", daemon=True)
        sender.start()
        self.receive_from_remote(channel)
        sender.join()

    def finish(self) -> None:
        self.end()
        self.server.remove(self)
        self.finished.set()

    def refuse(self) -> None:
        """Reset the connection, as a refusing target would: a plain close would look like an empty response."""
        # struct linger with l_onoff 1 and l_linger 0: close() then sends RST.
        linger = b"\x01\0\0\0\0\0\0\0"
        with contextlib.suppress(OSError):
            self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.request.close()

    def send_to_remote(self, channel: paramiko.Channel) -> None:
        """Forward from the local socket to the remote end."""
        with contextlib.suppress(OSError, EOFError):
            while data := self.request.recv(1 << 16):
                self.server.moved_bytes += len(data)
                send_all(channel, data)
            channel.shutdown_write()

    def receive_from_remote(self, channel: paramiko.Channel) -> None:
        """Forward from the remote end to the local socket."""
        try:
            while data := channel.recv(2 * WINDOW_BYTES):
                self.server.moved_bytes += len(data)
                self.request.sendall(data)
            # If the remote end has only stopped sending, this side may still send.
            self.request.shutdown(socket.SHUT_RDWR if channel.closed else socket.SHUT_WR)
        except OSError:
            self.end()

    def end(self) -> None:
        """Wake both threads, wherever they block."""
        with contextlib.suppress(OSError):
            self.request.shutdown(socket.SHUT_RDWR)
        if self.channel is not None:
            close_in_background(self.channel)
