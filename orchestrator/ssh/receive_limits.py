"""Limits on what a host can make this computer hold: packets, output, and the unread bytes of a channel."""

from __future__ import annotations

import errno
import socket
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import paramiko
    from paramiko.buffered_pipe import BufferedPipe

MAX_OUTPUT_BYTES = 16 << 20
"""Output of a short command that is held in memory; the longest, a list of a thousand runs, has some MiB."""

ERROR_OUTPUT_BYTES = 4096
"""End of a transfer's error output that is held in memory."""

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


def limit_unread(channel: paramiko.Channel, window_bytes: int) -> None:
    """Close the connection of a new channel once a host sends more than the channel's window.

    RFC 4254, section 5.2, forbids that, but paramiko holds whatever arrives.

    :param window_bytes: as announced to the host.
    """
    pipe = _limited_pipe(window_bytes)
    channel.in_buffer, channel.in_stderr_buffer = pipe(), pipe()


@cache
def _limited_pipe(limit_bytes: int) -> type[BufferedPipe[bytes]]:
    from paramiko import SSHException
    from paramiko.buffered_pipe import BufferedPipe

    class LimitedPipe(BufferedPipe):  # type: ignore[type-arg]  # generic in the stubs only
        def feed(self, data: bytes) -> None:
            # Raised in paramiko's thread of the connection, which ends with it.
            if len(self) > limit_bytes:
                raise SSHException(f"more than the {limit_bytes >> 20} MiB that a channel may have unread")
            super().feed(data)

    return LimitedPipe
