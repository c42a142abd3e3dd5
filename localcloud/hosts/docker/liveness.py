"""The owner's end of what keeps docker hosts alive: one connection per boot of a host.

A host says there what happens to it; when the connection ends, so has the host. When the owner's process dies, however
it does, all of these connections end, and every host ends itself.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator

from localcloud.hosts.docker.host_config import LivenessEndpoint

_HELLO_DEADLINE_S = 10.0

EventHandler = Callable[[str], None]
"""Called with each event that a host tells, and with ``lost`` when it can tell no more."""


class LivenessLinks:
    """Listens on an address that the hosts reach.

    :param address: the gateway of their network.
    """

    def __init__(self, address: str) -> None:
        self._lock = threading.Lock()
        self._expected: dict[str, EventHandler] = {}
        self._open: set[socket.socket] = set()
        tethers = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                tethers._serve(self.connection)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            request_queue_size = 64

        self._server = Server((address, 0), Handler)
        self._address = address
        threading.Thread(target=self._server.serve_forever, args=[0.1], name="tethers", daemon=True).start()

    def expect_boot(self, heard: EventHandler) -> LivenessEndpoint:
        """Get ready for one boot of a host."""
        token = secrets.token_hex(16)
        with self._lock:
            self._expected[token] = heard
        return LivenessEndpoint(self._address, self._server.server_address[1], token)

    def close(self) -> None:
        """Let go of all hosts."""
        self._server.shutdown()
        self._server.server_close()
        with self._lock:
            connections = list(self._open)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _serve(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.add(connection)
        heard: EventHandler | None = None
        try:
            connection.settimeout(_HELLO_DEADLINE_S)
            for message in _messages(connection):
                if heard is None:
                    with self._lock:
                        heard = self._expected.pop(str(message.get("token")), None)
                    if heard is None:
                        return
                    connection.settimeout(None)
                else:
                    heard(str(message.get("event")))
        except (OSError, ValueError):
            pass
        finally:
            with self._lock:
                self._open.discard(connection)
            if heard is not None:
                heard("lost")


def _messages(connection: socket.socket) -> Iterator[dict[str, object]]:
    with connection.makefile("rb") as lines:
        for line in lines:
            message = json.loads(line[:4096])
            if isinstance(message, dict):
                yield message
