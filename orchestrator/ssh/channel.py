"""One command on one channel: its output as it comes, its input as it is wanted, by deadlines that hold.

Deadlines are kept on this side, by the clock: in a silent partition neither paramiko nor TCP reports anything at all.
"""

from __future__ import annotations

import contextlib
import queue
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from orchestrator.core.errors import ConnectError, HostError
from orchestrator.core.host import Host

if TYPE_CHECKING:
    import paramiko

T = TypeVar("T")

WINDOW_BYTES = 8 << 20
"""Bytes that may be under way to us unread: on a line with 0.1 s of round trip, 2 MiB would cap it at 20 MB/s."""

CHUNK_BYTES = 32_000
"""Bytes per message sent: what fits into one packet of the usual 32 KiB."""

MAX_LINE_BYTES = 64 * 1024
"""Bytes after which a line is cut into several: nobody reads a longer one, and none may fill the memory."""

STRAGGLERS_S = 2.0
"""Seconds of quiet after the exit status until output counts as complete although a child holds it open."""

_LOOK_S = 1.0
_LAST_BREATH_S = 0.1


class LineSplitter:
    """Cuts a byte stream into lines of text.

    Lines end with a line feed, or with a carriage return (a progress bar draws over itself: every state is a line).
    What is no UTF-8 is replaced; what is longer than ``longest`` bytes is cut between characters.
    """

    _end = re.compile(rb"\r*\n|\r+")

    def __init__(self, longest: int = MAX_LINE_BYTES) -> None:
        self._longest = longest
        self._held = b""
        self._after_return = False

    def feed(self, data: bytes) -> Iterator[str]:
        """Take the next bytes and yield the lines that they complete."""
        text = self._held + self._past_return(data)
        start = 0
        for end in self._end.finditer(text):
            line, stop = text[start : end.start()], end.group()
            start = end.end()
            # A bare return without text before it is the first half of "draw over": no empty line.
            if line or stop.endswith(b"\n"):
                yield from self._cut(line)
                self._after_return = start == len(text) and not stop.endswith(b"\n")
        *whole, self._held = self._pieces(text[start:])
        yield from map(_decode, whole)

    def flush(self) -> Iterator[str]:
        """Yield what is left when the stream has ended without a line end."""
        held, self._held = self._held, b""
        if held:
            yield from self._cut(held)

    def _past_return(self, data: bytes) -> bytes:
        """Leave out the line feed of a CR LF whose return came, and was taken for a line end, earlier."""
        if not self._after_return:
            return data
        data = data.lstrip(b"\r")
        self._after_return = not data
        return data.removeprefix(b"\n")

    def _cut(self, line: bytes) -> Iterator[str]:
        yield from map(_decode, self._pieces(line))

    def _pieces(self, line: bytes) -> Iterator[bytes]:
        while len(line) > self._longest:
            cut = self._longest
            # No character has more than three continuation bytes.
            while cut > self._longest - 3 and line[cut] & 0xC0 == 0x80:
                cut -= 1
            yield line[:cut]
            line = line[cut:]
        yield line


def _decode(line: bytes) -> str:
    return line.decode("utf-8", errors="replace")


class _Bell(threading.Event):
    """Rung by either stream of a channel. Streams clear the event they ring; with two of them that loses rings."""

    def clear(self) -> None:
        """Do nothing: only the listener silences it."""

    def silence(self) -> None:
        super().clear()


class ChannelClosed(OSError):
    """The other side takes no more input; whoever reads from it learns why."""


@dataclass(frozen=True)
class Timeouts:
    """How long to be patient with a command.

    :param silence: seconds without a sign of life after which the host counts as lost; None: no limit.
    :param until: moment on the monotonic clock by which all must be over; None: no limit.
    """

    silence_s: float | None = None
    deadline: float | None = None


@dataclass
class ChannelSession:
    """A command that runs on a channel of ``host``; close it, whatever happened."""

    host: Host
    channel: paramiko.Channel
    timeouts: Timeouts = Timeouts()
    started: float = field(default_factory=time.monotonic)
    received_output: bool = False

    def __post_init__(self) -> None:
        self._bell = _Bell()
        self._last_sign = time.monotonic()
        self._failure: BaseException | None = None
        self._input: queue.SimpleQueue[Iterable[bytes] | None] = queue.SimpleQueue()
        self._writer: threading.Thread | None = None
        self.channel.in_buffer.set_event(self._bell)
        self.channel.in_stderr_buffer.set_event(self._bell)

    def __enter__(self) -> ChannelSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def output(self) -> Iterator[tuple[int, bytes]]:
        """Yield (1 for standard output or 2 for error output, bytes) as they come, until both have ended.

        :raises ConnectError: kind ``lost``, when the connection ended or the host was silent for too long.
        :raises HostError: when it talked, but was not done in time.
        """
        while True:
            self._check()
            self._bell.silence()
            # Looked at before the last reading: whatever came before the end is then read, too.
            ended = bool(self.channel.eof_received or self.channel.closed)
            chunks = self._drain()
            yield from chunks
            if chunks:
                # Only now: the time that the caller took for its lines is no silence of the host.
                self.received_output = True
                self._sign_of_life()
            elif ended or self._only_stragglers():
                return
            else:
                self._wait(self._bell)

    def exit_status(self) -> int | None:
        """Wait for the exit status; None when the command was killed by a signal, for which paramiko has no word.

        :raises ConnectError: kind ``lost``, when the connection ended before one came.
        """
        while not self.channel.status_event.is_set():
            self._check()
            self._wait(self.channel.status_event)
        self._check()
        if self.channel.exit_status >= 0:
            return self.channel.exit_status
        transport = self.channel.transport
        if transport is not None:
            # Channels of a dying connection are closed just before it counts as dead.
            transport.join(_LAST_BREATH_S)
            if transport.is_active():
                return None
        raise self._lost("ssh: the connection ended while a command was running")

    def send(self, chunks: Iterable[bytes]) -> None:
        """Queue input for the command; never waits. The chunks are asked for as the host takes them."""
        self._input.put(chunks)
        if self._writer is None:
            self._writer = threading.Thread(target=self._write, name=f"ssh-stdin-{self.host.name}", daemon=True)
            self._writer.start()

    def end_input(self) -> None:
        """Let the command see the end of its input once all that is queued was taken."""
        self.send(())
        self._input.put(None)

    def close(self) -> None:
        """End the channel without ever waiting for the other side."""
        self._input.put(None)
        close_in_background(self.channel)

    def _check(self) -> None:
        """Raise here, in the caller's thread, what broke the source of the input."""
        if self._failure is not None:
            raise self._failure

    def _drain(self) -> list[tuple[int, bytes]]:
        chunks = []
        # All at once: paramiko moves the whole rest of its buffer for every piece that is taken off its front.
        if self.channel.recv_ready():
            chunks.append((1, self.channel.recv(2 * WINDOW_BYTES)))
        if self.channel.recv_stderr_ready():
            chunks.append((2, self.channel.recv_stderr(2 * WINDOW_BYTES)))
        return chunks

    def _only_stragglers(self) -> bool:
        quiet = time.monotonic() - self._last_sign
        return self.channel.status_event.is_set() and quiet >= STRAGGLERS_S

    def _wait(self, event: threading.Event) -> None:
        """Wait a while for ``event``, or raise when patience is at its end."""
        now = time.monotonic()
        silence = None if self.timeouts.silence_s is None else self._last_sign + self.timeouts.silence_s
        moments = [moment for moment in (silence, self.timeouts.deadline) if moment is not None]
        if moments and min(moments) <= now:
            raise self._overdue(now, silent=silence is not None and silence <= now)
        event.wait(min([_LOOK_S, *(moment - now for moment in moments)]))

    def _overdue(self, now: float, *, silent: bool) -> HostError:
        if silent:
            return self._lost(f"ssh: nothing heard for {now - self._last_sign:.0f} s")
        if not self.received_output:
            return self._lost(f"ssh: no answer within {now - self.started:.0f} s")
        return HostError(f"a command was not done within {now - self.started:.0f} s", where=self.host.name)

    def _lost(self, what: str) -> ConnectError:
        fix = "the machine hangs or is gone, or the network between is"
        return ConnectError("lost", what, where=self.host.name, fix=fix)

    def _sign_of_life(self) -> None:
        self._last_sign = time.monotonic()

    def _write(self) -> None:
        """Body of the writer thread: a thread of its own, so that a full window never stops the reading."""
        try:
            while (chunks := self._input.get()) is not None:
                for chunk in chunks:
                    send_all(self.channel, chunk, self._sign_of_life)
            _say(self.channel.shutdown_write)
        except ChannelClosed:
            pass
        except BaseException as error:
            # The source of the chunks broke.
            self._failure = error
            self._bell.set()


def send_all(channel: paramiko.Channel, data: bytes, on_progress: Callable[[], None] = lambda: None) -> None:
    """Send ``data``, waiting for window as needed; ``progress`` is called as pieces leave.

    Paramiko's own ``sendall`` copies the rest for every piece, and never returns when only our side has ended.

    :raises ChannelClosed: when the other side takes no more.
    """
    for start in range(0, len(data), CHUNK_BYTES):
        piece = data[start : start + CHUNK_BYTES]
        while piece:
            sent = _say(partial(channel.send, piece))
            if not sent:
                raise ChannelClosed("the other side takes no more")
            piece = piece[sent:]
            on_progress()


def _say(speak: Callable[[], T]) -> T:
    """Call something of paramiko's that sends, and give its many ways to fail one name."""
    import paramiko

    try:
        return speak()
    except (OSError, EOFError, paramiko.SSHException) as error:
        raise ChannelClosed(str(error)) from error


def close_in_background(channel: paramiko.Channel) -> None:
    """Close a channel; not on this thread when it is still open, for saying goodbye can block on a dead line."""
    if not channel.closed:
        threading.Thread(target=_goodbye, args=(channel,), name="ssh-goodbye", daemon=True).start()


def _goodbye(channel: paramiko.Channel) -> None:
    with contextlib.suppress(ChannelClosed):
        _say(channel.close)
