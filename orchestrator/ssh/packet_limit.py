"""Socket of an SSH connection that limits the length of the packets which a host sends."""

from __future__ import annotations

import errno
import socket
from typing import Any

MAX_PACKET_BYTES = 256 << 10
"""As in OpenSSH; RFC 4253 requires 35,000 bytes, and channels of Stratus are opened for 32 KiB."""


class OversizedPacket(OSError):
    """A packet that is too long."""


class LimitedSocket:
    """Socket for paramiko, which reads as many bytes as the length field of a packet says: up to 4 GiB."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def recv(self, size: int) -> bytes:
        """Return up to ``size`` bytes.

        :raises OversizedPacket: they are more than a packet may have left.
        """
        if size > MAX_PACKET_BYTES:
            text = f"a packet of more than {MAX_PACKET_BYTES >> 10} KiB"
            raise OversizedPacket(errno.EMSGSIZE, text)
        return self._sock.recv(size)
