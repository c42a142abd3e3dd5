"""Sender of a hostile answer on an SSH channel, as fast as the client takes it."""

from __future__ import annotations

import asyncio

import asyncssh

from localcloud.hosts.hostile import answers


class HostileAnswer:
    """A hostile answer that is being sent; it begins at once.

    :param how: one of ``behavior.ANSWERS``.
    """

    def __init__(self, channel: asyncssh.SSHServerChannel[bytes], how: str) -> None:
        self._channel, self._how = channel, how
        self._may_write = asyncio.Event()
        self._may_write.set()
        self._task = asyncio.create_task(self._send())

    def pause(self) -> None:
        """Send nothing until `resume`: the client reads more slowly."""
        self._may_write.clear()

    def resume(self) -> None:
        """Continue."""
        self._may_write.set()

    def close(self) -> None:
        """Send nothing more."""
        self._task.cancel()

    async def _send(self) -> None:
        for piece in answers.pieces(self._how):
            await self._may_write.wait()
            # The loop serves other connections, too.
            await asyncio.sleep(piece.pause_s)
            if self._channel.is_closing():
                return
            write = self._channel.write_stderr if piece.is_error else self._channel.write
            write(piece.data)
        if self._how == "cut-output":
            self._channel.get_connection().abort()
        else:
            self._channel.exit(0)
