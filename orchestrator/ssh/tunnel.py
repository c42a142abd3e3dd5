"""Tunnels: a port on this computer that leads, through SSH, to a port that only the cluster can see."""

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
"""Seconds that closing a tunnel may take; threads stuck on a dead line are left to it."""

OpenFarSide = Callable[[tuple[str, int]], "paramiko.Channel"]
"""Opens the far side, told who asks: one channel per accepted connection."""


class Tunnel:
    """A listening port on this computer's own loopback address; everything sent there comes out on the far side.

    A target that refuses, or a lost SSH connection, ends only the connections it carried: the tunnel goes on listening.
    """

    def __init__(self, dial: OpenFarSide, local_port: int = 0) -> None:
        """Start listening.

        :param local_port: the port to listen on; 0 takes a free one.
        :raises HostError: when the port is taken or not allowed.
        """
        self.address = str(ipaddress.ip_address(socket.INADDR_LOOPBACK))
        try:
            self._server = _Server((self.address, local_port), dial)
        except (OSError, OverflowError) as error:
            reason = error.strerror if isinstance(error, OSError) else "no such port"
            fix = "name another port, or 0 for any free one"
            raise HostError(f"cannot listen on local port {local_port}: {reason}", fix=fix) from error
        self.port: int = self._server.server_address[1]
        self._accepting = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="tunnel", daemon=True)
        self._accepting.start()

    def close(self) -> None:
        """Stop listening, end every connection under way, and wait for their threads; more than once does no harm."""
        self._server.shutdown()
        self._server.server_close()
        self._server.end_pairs()
        self._accepting.join(CLOSING_S)

    def __enter__(self) -> Tunnel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], dial: OpenFarSide) -> None:
        super().__init__(address, _Pair)
        self.dial = dial
        self.pairs: set[_Pair] = set()
        self.guard = threading.Lock()
        self.closing = False

    def end_pairs(self) -> None:
        """End every connection, and give their threads a moment to go."""
        with self.guard:
            self.closing = True
            pairs = list(self.pairs)
        for pair in pairs:
            pair.end()
        until = time.monotonic() + CLOSING_S
        for pair in pairs:
            pair.gone.wait(max(0.0, until - time.monotonic()))

    def admit(self, pair: _Pair) -> bool:
        """Note a connection that was accepted; False when the tunnel is closing."""
        with self.guard:
            self.pairs.add(pair)
            return not self.closing

    def leave(self, pair: _Pair) -> None:
        """Forget a connection that has ended."""
        with self.guard:
            self.pairs.discard(pair)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: the default prints a traceback onto the user's screen."""


class _Pair(socketserver.BaseRequestHandler):
    """One connection: a local socket, a channel, and a thread for either direction."""

    server: _Server
    request: socket.socket

    def setup(self) -> None:
        self.gone = threading.Event()
        self.channel: paramiko.Channel | None = None

    def handle(self) -> None:
        if not self.server.admit(self):
            return
        try:
            self.channel = self.server.dial(self.client_address)
        except StratusError:
            self.refuse()
            return
        if not self.server.closing:
            self.carry(self.channel)

    def carry(self, channel: paramiko.Channel) -> None:
        """Carry both ways until both have ended."""
        upward = threading.Thread(target=self.upward, args=(channel,), name="tunnel-up", daemon=True)
        upward.start()
        self.downward(channel)
        upward.join()

    def finish(self) -> None:
        self.end()
        self.server.leave(self)
        self.gone.set()

    def refuse(self) -> None:
        """Answer as the target would have: with a reset, so that nobody takes it for an empty answer."""
        linger = b"\x01\0\0\0\0\0\0\0"
        with contextlib.suppress(OSError):
            self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.request.close()

    def upward(self, channel: paramiko.Channel) -> None:
        """Carry from the local socket to the far side."""
        with contextlib.suppress(OSError, EOFError):
            while data := self.request.recv(1 << 16):
                send_all(channel, data)
            channel.shutdown_write()

    def downward(self, channel: paramiko.Channel) -> None:
        """Carry from the far side to the local socket."""
        try:
            while data := channel.recv(2 * WINDOW_BYTES):
                self.request.sendall(data)
            # When only the far side's sending has ended, ours may go on.
            self.request.shutdown(socket.SHUT_RDWR if channel.closed else socket.SHUT_WR)
        except OSError:
            self.end()

    def end(self) -> None:
        """Wake both threads, wherever they wait."""
        with contextlib.suppress(OSError):
            self.request.shutdown(socket.SHUT_RDWR)
        if self.channel is not None:
            close_in_background(self.channel)
