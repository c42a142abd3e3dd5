"""Liveness connections of docker hosts: one per boot, kept open by both ends.

A host reports its events there; when the connection ends, the host has ended. If the owner's process dies, all
connections end, and every host shuts itself down.
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

_HELLO_TIMEOUT_S = 10.0

EventHandler = Callable[[str], None]
"""Called with each event of a host, and with ``lost`` when its connection has ended."""


class LivenessLinks:
    """Listens for the connections of hosts.

    :param address: gateway of their network.
    """

    def __init__(self, address: str) -> None:
        self._lock = threading.Lock()
        self._expected: dict[str, EventHandler] = {}
        self._open: set[socket.socket] = set()
        links = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                links._serve(self.connection)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            request_queue_size = 64

        self._server = Server((address, 0), Handler)
        self._address = address
        threading.Thread(target=self._server.serve_forever, args=[0.1], name="liveness", daemon=True).start()

    def expect_boot(self, on_event: EventHandler) -> LivenessEndpoint:
        """Return the address for one boot of a host, whose events go to ``on_event``."""
        token = secrets.token_hex(16)
        with self._lock:
            self._expected[token] = on_event
        return LivenessEndpoint(self._address, self._server.server_address[1], token)

    def close(self) -> None:
        """Close all connections, which ends the hosts."""
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
        on_event: EventHandler | None = None
        try:
            # An unauthenticated connection must not occupy a thread forever.
            connection.settimeout(_HELLO_TIMEOUT_S)
            for message in _messages(connection):
                if on_event is None:
                    with self._lock:
                        # A token is valid once, so an earlier boot cannot reconnect as this one.
                        on_event = self._expected.pop(str(message.get("token")), None)
                    if on_event is None:
                        return
                    # A host is silent for hours; its end closes the connection.
                    connection.settimeout(None)
                else:
                    on_event(str(message.get("event")))
        except (OSError, ValueError):
            pass
        finally:
            with self._lock:
                self._open.discard(connection)
            if on_event is not None:
                on_event("lost")


def _messages(connection: socket.socket) -> Iterator[dict[str, object]]:
    with connection.makefile("rb") as lines:
        for line in lines:
            message = json.loads(line[:4096])
            if isinstance(message, dict):
                yield message
