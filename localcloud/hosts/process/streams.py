"""Streams between an SSH channel and a program's file descriptors, with flow control in both directions."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections import deque
from collections.abc import Callable

_CHUNK = 128 * 1024
_PIPE_SIZE = 1024 * 1024
_DRAIN_ROUNDS = 64


def enlarge_pipe(pipe: int) -> None:
    """Enlarge a pipe beyond the usual 64 KiB if the system allows it, for fewer wake-ups with bulk data."""
    with contextlib.suppress(OSError, AttributeError):
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)


class OutputStream:
    """Stream from a file descriptor, which it owns, to a channel.

    :param write: receives the data.
    :param ended: called once, when there is no more data.
    """

    def __init__(self, descriptor: int, *, write: Callable[[bytes], None], ended: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._descriptor = descriptor
        self._write = write
        self._ended = ended
        self.open = True
        os.set_blocking(descriptor, False)
        self.resume()

    def pause(self) -> None:
        """Stop reading until :meth:`resume`: the program will block on its next write."""
        if self.open:
            self._loop.remove_reader(self._descriptor)

    def resume(self) -> None:
        """Continue reading."""
        if self.open:
            self._loop.add_reader(self._descriptor, self._read)

    def drain(self) -> None:
        """Pass on the data that is available now, then close: for a terminal that other processes still hold open."""
        # Bounded: a background job may keep writing to the terminal.
        for _ in range(_DRAIN_ROUNDS):
            if not (self.open and self._read()):
                break
        self.close()

    def close(self) -> None:
        """Close the descriptor; a program that writes to it from now on gets SIGPIPE."""
        if self.open:
            self.pause()
            self.open = False
            os.close(self._descriptor)

    def _read(self) -> bool:
        """Pass on one chunk; return False if there was none."""
        try:
            data = os.read(self._descriptor, _CHUNK)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            # EIO is the end of a terminal whose last program has closed it.
            data = b""
        if data:
            return self._pass_on(data)
        self.close()
        self._ended()
        return False

    def _pass_on(self, data: bytes) -> bool:
        try:
            self._write(data)
        except OSError:
            # The client has closed the channel; connection_lost follows.
            self.close()
            return False
        return True


class InputStream:
    """Stream from a channel to a file descriptor, which it owns.

    :param pause: asks the channel to deliver no more data for now.
    :param resume: asks it to continue.
    """

    def __init__(self, descriptor: int, *, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._descriptor = descriptor
        self._pause = pause
        self._resume = resume
        self._waiting: deque[memoryview] = deque()
        self._finishing = False
        self.open = True
        os.set_blocking(descriptor, False)

    def feed(self, data: bytes) -> None:
        """Write ``data`` as soon as the program reads it; dropped if the program has closed its end."""
        if not self.open:
            return
        self._waiting.append(memoryview(data))
        # With older data waiting, writing now would reorder it.
        if len(self._waiting) == 1:
            self._write()
            if self.open and self._waiting:
                self._pause()
                self._loop.add_writer(self._descriptor, self._continue)

    def finish(self) -> None:
        """Close once everything is written."""
        self._finishing = True
        if not self._waiting:
            self.close()

    def close(self) -> None:
        """Close the descriptor now."""
        if self.open:
            self._loop.remove_writer(self._descriptor)
            self.open = False
            self._waiting.clear()
            os.close(self._descriptor)

    def _continue(self) -> None:
        self._write()
        if self.open and self._waiting:
            return
        if self.open:
            self._loop.remove_writer(self._descriptor)
        self._resume()

    def _write(self) -> None:
        try:
            while self._waiting:
                # A pipe may take a part only.
                written = os.write(self._descriptor, self._waiting[0])
                rest = self._waiting.popleft()[written:]
                if rest:
                    self._waiting.appendleft(rest)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.close()
            return
        if self._finishing:
            self.close()
