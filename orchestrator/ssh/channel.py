"""One command on one SSH channel: streaming output, input as the host accepts it, and deadlines.

Deadlines are kept by the local clock: in a silent network partition neither paramiko nor TCP reports anything.
"""

from __future__ import annotations

import contextlib
import queue
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from orchestrator.core.errors import ConnectError, HostError
from orchestrator.core.host import Host
from orchestrator.core.output_line import OutputLine
from orchestrator.ssh.connect import seconds
from orchestrator.ssh.receive_limits import limit_unread

if TYPE_CHECKING:
    import paramiko

T = TypeVar("T")

WINDOW_BYTES = 8 << 20
"""Receive window: with a round trip of 0.1 s, the usual 2 MiB would limit a transfer to 20 MB/s."""

CHUNK_BYTES = 32_000
"""Bytes per message sent: it fits into one packet of the usual 32 KiB."""

MAX_LINE_BYTES = 64 * 1024
"""Bytes after which a line is cut, so that no line can fill the memory."""

STRAGGLERS_S = 2.0
"""Seconds without output after the exit status until output counts as complete although a child keeps it open."""

_POLL_S = 1.0
_TRANSPORT_EXIT_S = 0.1


class LineSplitter:
    """Splits a byte stream into lines of text.

    A line ends with a line feed or a carriage return: a progress bar overwrites itself, and every state is a line.
    Invalid UTF-8 is replaced; lines longer than ``max_line_bytes`` are cut between characters. The bytes themselves
    come with each line feed.
    """

    _end = re.compile(rb"\r*\n|\r+")

    def __init__(self, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self._max_line_bytes = max_line_bytes
        self._rest = b""
        self._raw = b""

    def feed(self, data: bytes) -> Iterator[OutputLine]:
        """Add bytes and yield the lines that they complete."""
        text = self._rest + data
        start = 0
        for end in self._end.finditer(text):
            # Carriage returns at the end of what has arrived may belong to a line feed that follows.
            if end.end() == len(text) and not end.group().endswith(b"\n"):
                break
            yield from self._line(text[start : end.start()], end.group())
            start = end.end()
        rest = text[start:]
        line = rest.rstrip(b"\r")
        # They count to the line's end, not to its length; but a stream of nothing else must not fill the memory.
        returns = rest[len(line) :] if len(rest) - len(line) <= self._max_line_bytes else b""
        *cut, last = self._pieces(rest.removesuffix(returns))
        self._rest = last + returns
        yield from map(self._cut, cut)

    def flush(self, *, is_complete: bool = True) -> Iterator[OutputLine]:
        """Yield the rest of a stream that ended without a line end.

        :param is_complete: False if the connection was lost: half a line is no line, and has no bytes.
        """
        rest, self._rest = self._rest, b""
        line = rest.rstrip(b"\r")
        if line and is_complete:
            yield from self._line(line, rest[len(line) :] + b"\n")
        elif line:
            yield OutputLine(_decode(line), b"", ends_line=False)

    def _line(self, line: bytes, end: bytes) -> Iterator[OutputLine]:
        *cut, last = self._pieces(line)
        yield from map(self._cut, cut)
        self._raw += last + end.removesuffix(b"\n")
        ends_line = end.endswith(b"\n")
        # A carriage return without text before it begins an overwrite: it is not an empty line.
        if last or ends_line:
            yield OutputLine(_decode(last), self._take_raw(required=ends_line), ends_line=ends_line)

    def _cut(self, piece: bytes) -> OutputLine:
        self._raw += piece
        return OutputLine(_decode(piece), self._take_raw(required=True), ends_line=False)

    def _take_raw(self, *, required: bool) -> bytes:
        # A progress bar without any line feed must not fill the memory.
        if not required and len(self._raw) < self._max_line_bytes:
            return b""
        raw, self._raw = self._raw, b""
        return raw

    def _pieces(self, line: bytes) -> Iterator[bytes]:
        while len(line) > self._max_line_bytes:
            cut = self._max_line_bytes
            # Back to the start of a character, which has at most three continuation bytes.
            while cut > self._max_line_bytes - 3 and line[cut] & 0xC0 == 0x80:
                cut -= 1
            yield line[:cut]
            line = line[cut:]
        yield line


def _decode(line: bytes) -> str:
    return line.decode("utf-8", errors="replace")


class _OutputEvent(threading.Event):
    """Event of both outputs of a channel: paramiko's buffers clear it, and with two of them wakeups would be lost."""

    def clear(self) -> None:
        """Do nothing: only the reader resets it."""

    def reset(self) -> None:
        super().clear()


class ChannelClosed(OSError):
    """The other side accepts no more input; reading from it gives the reason."""


@dataclass(frozen=True)
class Timeouts:
    """Time limits of a command.

    :param silence_s: seconds without any activity after which the host counts as lost; None: no limit.
    :param deadline: moment on the monotonic clock by which the command must end; None: no limit.
    :param min_bytes: output that counts as activity; less of it in ``silence_s`` counts as silence.
    :param whole_lines: output without a line end counts as silence, too: the command sends heartbeats.
    """

    silence_s: float | None = None
    deadline: float | None = None
    min_bytes: int = 1
    whole_lines: bool = False


@dataclass
class ChannelSession:
    """A command that runs on a channel of ``host``; to be closed in any case."""

    host: Host
    channel: paramiko.Channel
    timeouts: Timeouts = Timeouts()
    started: float = field(default_factory=time.monotonic)
    received_output: bool = False

    def __post_init__(self) -> None:
        self._output_event = _OutputEvent()
        self._last_activity = time.monotonic()
        self._bytes_since_activity = 0
        self._input_error: BaseException | None = None
        self._input: queue.SimpleQueue[Iterable[bytes] | None] = queue.SimpleQueue()
        self._writer: threading.Thread | None = None
        # paramiko sets this event on data, end and close of either output.
        self.channel.in_buffer.set_event(self._output_event)
        self.channel.in_stderr_buffer.set_event(self._output_event)

    def __enter__(self) -> ChannelSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def output(self) -> Iterator[tuple[int, bytes]]:
        """Yield (1 for standard output or 2 for error output, bytes) as they arrive, until both have ended.

        :raises ConnectError: kind ``lost``: the connection ended, or the host was silent for too long.
        :raises HostError: there was output, but the command did not finish in time.
        """
        while True:
            self._raise_input_error()
            self._output_event.reset()
            # Checked before the last read, so that everything before the end is read.
            ended = bool(self.channel.eof_received or self.channel.closed)
            chunks = self._drain()
            arrived_at = time.monotonic()
            yield from chunks
            if chunks:
                self.received_output = True
                # Time that the caller spends on its lines does not count as silence of the host.
                self._last_activity += time.monotonic() - arrived_at
                self._note_output([data for _, data in chunks])
            elif ended or self._only_stragglers():
                return
            else:
                self._wait(self._output_event)

    def lines(self) -> Iterator[OutputLine]:
        """Yield the lines of both outputs, as `output` does their bytes."""
        splitter = LineSplitter()
        for _, data in self.output():
            yield from splitter.feed(data)
        yield from splitter.flush(is_complete=bool(self.channel.eof_received) or not self._is_lost())

    def exit_status(self) -> int | None:
        """Wait for the exit status; None when the command was killed by a signal, which paramiko does not report.

        :raises ConnectError: kind ``lost``: the connection ended before there was one.
        """
        while not self.channel.status_event.is_set():
            self._raise_input_error()
            self._wait(self.channel.status_event)
        self._raise_input_error()
        if self._is_lost():
            raise self._lost("ssh: the connection ended while a command was running")
        return None if self.channel.exit_status < 0 else self.channel.exit_status

    def send(self, chunks: Iterable[bytes]) -> None:
        """Queue input for the command without waiting; chunks are consumed as the host accepts them."""
        self._input.put(chunks)
        # Most commands have no input: the thread starts with the first chunk.
        if self._writer is None:
            self._writer = threading.Thread(target=self._write, name=f"ssh-stdin-{self.host.name}", daemon=True)
            self._writer.start()

    def end_input(self) -> None:
        """End the command's input after everything that is queued."""
        self.send(())
        self._input.put(None)

    def limit(self, timeouts: Timeouts) -> None:
        """Replace the time limits; silence counts from now on."""
        self.timeouts = timeouts
        self._note_activity()

    def close(self) -> None:
        """Close the channel without waiting for the other side."""
        self._input.put(None)
        close_in_background(self.channel)

    def _is_lost(self) -> bool:
        """Return True if the connection ended before there was an exit status."""
        if self.channel.exit_status >= 0:
            return False
        transport = self.channel.transport
        if transport is None:
            return True
        # paramiko closes the channels of a broken connection just before it marks the transport inactive.
        transport.join(_TRANSPORT_EXIT_S)
        return not transport.is_active()

    def _raise_input_error(self) -> None:
        """Raise an error of the source of the input, in the caller's thread."""
        if self._input_error is not None:
            raise self._input_error

    def _drain(self) -> list[tuple[int, bytes]]:
        chunks = []
        # All at once: paramiko copies the rest of its buffer for every piece that is removed from it.
        if self.channel.recv_ready():
            chunks.append((1, self.channel.recv(2 * WINDOW_BYTES)))
        if self.channel.recv_stderr_ready():
            chunks.append((2, self.channel.recv_stderr(2 * WINDOW_BYTES)))
        return chunks

    def _only_stragglers(self) -> bool:
        quiet = time.monotonic() - self._last_activity
        return self.channel.status_event.is_set() and quiet >= STRAGGLERS_S

    def _wait(self, event: threading.Event) -> None:
        """Wait a while for ``event``, or raise when a time limit has passed."""
        now = time.monotonic()
        silence_end = None if self.timeouts.silence_s is None else self._last_activity + self.timeouts.silence_s
        moments = [moment for moment in (silence_end, self.timeouts.deadline) if moment is not None]
        if moments and min(moments) <= now:
            raise self._overdue(now, silent=silence_end is not None and silence_end <= now)
        event.wait(min([_POLL_S, *(moment - now for moment in moments)]))

    def _overdue(self, now: float, *, silent: bool) -> HostError:
        if silent:
            amount = f"only {self._bytes_since_activity} bytes" if self._bytes_since_activity else "no data"
            return self._lost(f"ssh: {amount} received for {seconds(now - self._last_activity)}")
        if not self.received_output:
            return self._lost(f"ssh: no answer within {seconds(now - self.started)}")
        return HostError(f"a command did not finish within {seconds(now - self.started)}", where=self.host.name)

    def _note_output(self, chunks: Sequence[bytes]) -> None:
        self._bytes_since_activity += sum(map(len, chunks))
        has_line = not self.timeouts.whole_lines or any(b"\n" in data for data in chunks)
        if has_line and self._bytes_since_activity >= self.timeouts.min_bytes:
            self._bytes_since_activity = 0
            self._note_activity()

    def _lost(self, message: str) -> ConnectError:
        return ConnectError("lost", message, where=self.host.name, fix="the VM or the network is down")

    def _note_activity(self) -> None:
        self._last_activity = time.monotonic()

    def _write(self) -> None:
        """Send queued input; in a thread of its own, so that a full window never blocks reading."""
        try:
            while (chunks := self._input.get()) is not None:
                for chunk in chunks:
                    send_all(self.channel, chunk, self._note_activity)
            _translate_errors(self.channel.shutdown_write)
        # The reader reports why the channel was closed.
        except ChannelClosed:
            pass
        except BaseException as error:
            # An error of the chunks' source: the reader raises it.
            self._input_error = error
            self._output_event.set()


def send_all(channel: paramiko.Channel, data: bytes, on_progress: Callable[[], None] = lambda: None) -> None:
    """Send ``data``, waiting for the window as needed; ``on_progress`` is called after each piece.

    paramiko's own ``sendall`` copies the rest for every piece, and never returns when only this side was shut down.

    :raises ChannelClosed: the other side accepts no more.
    """
    for start in range(0, len(data), CHUNK_BYTES):
        piece = data[start : start + CHUNK_BYTES]
        while piece:
            sent = _translate_errors(partial(channel.send, piece))
            if not sent:
                raise ChannelClosed("the other side accepts no more input")
            piece = piece[sent:]
            on_progress()


def _translate_errors(send: Callable[[], T]) -> T:
    """Call a sending method of paramiko, and raise its various errors as one class."""
    import paramiko

    try:
        return send()
    except (OSError, EOFError, paramiko.SSHException) as error:
        raise ChannelClosed(str(error)) from error


def open_session(transport: paramiko.Transport, timeout_s: float) -> paramiko.Channel:
    """Return a channel for a command, which holds no more output than its window."""
    # Longer than the caller's own limit: paramiko reports a timeout and a refusal as the same error.
    channel = transport.open_session(window_size=WINDOW_BYTES, timeout=timeout_s + 1)
    # Nothing can have come yet: a host sends output once the command has started. A tunnel's target may speak first.
    limit_unread(channel, WINDOW_BYTES)
    return channel


def close_in_background(channel: paramiko.Channel) -> None:
    """Close a channel, in another thread if it is still open: the close message can block on a dead connection."""
    if not channel.closed:
        threading.Thread(target=_close, args=(channel,), name="ssh-close", daemon=True).start()


def _close(channel: paramiko.Channel) -> None:
    with contextlib.suppress(ChannelClosed):
        _translate_errors(channel.close)
