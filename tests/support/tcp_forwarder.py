"""A TCP forwarder on loopback that cuts its connections after a number of bytes."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit


class Forwarder:
    """Forwards to an address; once ``cut_after`` bytes have passed, all connections end, and new ones for a while.

    :ivar passed: bytes that have passed in both directions.
    :ivar cuts: number of connections that were cut or refused.
    """

    def __init__(self, target: tuple[str, int], cut_after: int, refuse: int = 0) -> None:
        self._target, self._cut_after, self._refuse = target, cut_after, refuse
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: set[socket.socket] = set()
        self._lock = threading.Lock()
        self.passed = self.cuts = 0
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        """Endpoint for clients."""
        return "http://{}:{}".format(*self._listener.getsockname())

    def close(self) -> None:
        """End everything."""
        self._listener.close()
        self._cut()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self.cuts and self._refuse > 0:
                    self._refuse -= 1
                    self.cuts += 1
                    client.close()
                    continue
                server = socket.create_connection(self._target)
                self._sockets |= {client, server}
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                sink.sendall(data)
                with self._lock:
                    self.passed += len(data)
                    is_due = self.passed >= self._cut_after and not self.cuts
                    self.cuts += is_due
                if is_due:
                    self._cut()
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def _cut(self) -> None:
        for item in list(self._sockets):
            with suppress(OSError):
                item.shutdown(socket.SHUT_RDWR)
            item.close()
        self._sockets.clear()


@contextmanager
def forwarding(endpoint: str, cut_after: int, refuse: int = 0) -> Iterator[Forwarder]:
    """Forward to an endpoint for the duration of a block."""
    parts = urlsplit(endpoint)
    forwarder = Forwarder((parts.hostname or "", parts.port or 80), cut_after, refuse)
    try:
        yield forwarder
    finally:
        forwarder.close()
