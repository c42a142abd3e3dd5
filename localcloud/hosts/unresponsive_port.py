"""A port on which no SSH server answers, for hosts whose address is one of this computer's own."""

from __future__ import annotations

import socket


class UnresponsivePort:
    """A port that connections hang on.

    :param accepts: True if the kernel accepts connections, on which nothing is ever sent; otherwise connection requests
        are not even answered, because the queue of the listener is full.
    """

    def __init__(self, address: str, port: int, accepts: bool) -> None:
        self._listener = socket.socket()
        self._fillers: list[socket.socket] = []
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind((address, port))
        self._listener.listen(128 if accepts else 0)
        if not accepts:
            self._fill(address, port)

    def _fill(self, address: str, port: int) -> None:
        """Fill the queue: one of length 0 takes one connection, and may take a second one."""
        for _ in range(4):
            filler = socket.socket()
            # The connection that does not fit gets no answer at all.
            filler.settimeout(0.1)
            self._fillers.append(filler)
            try:
                filler.connect((address, port))
            except TimeoutError:
                return

    def close(self) -> None:
        """Free the port."""
        for connection in (*self._fillers, self._listener):
            connection.close()
