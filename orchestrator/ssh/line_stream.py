"""Commands whose output is read in parts: what follows a line may depend on other hosts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from orchestrator.ssh.channel import ChannelSession, Timeouts

SILENCE_TIMEOUT_S = 30.0

Respond = Callable[[str], Iterable[bytes] | None]
"""Called with every line of output; the chunks it returns are sent to the command as input."""


def heartbeat_limits(silence_s: float, timeout_s: float | None = None) -> Timeouts:
    """Return the time limits of a command that sends heartbeats.

    :param silence_s: seconds without a line after which the host counts as lost.
    :param timeout_s: seconds from now until it must end; None: no limit.
    """
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    return Timeouts(silence_s, deadline, whole_lines=True)


@dataclass
class LineStream:
    """A command that runs, and its lines (standard and error output merged); to be closed in any case."""

    session: ChannelSession

    def __post_init__(self) -> None:
        self._lines = self.session.lines()

    def __enter__(self) -> LineStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(
        self,
        on_line: Callable[[str], None],
        *,
        respond: Respond | None = None,
        until: Callable[[str], bool] | None = None,
        timeouts: Timeouts | None = None,
    ) -> bool:
        """Pass on lines as they arrive, to the end of the output or to a certain line; return True for the latter.

        :param on_line: called with every line, in this thread, the last one included.
        :param respond: called with every line after ``on_line``; its chunks go to the command's input.
        :param timeouts: from now on; None: those of the start.
        :raises ConnectError: kind ``lost``.
        :raises HostError: the time is up. Errors of the callbacks are passed on.
        """
        if timeouts is not None:
            self.session.limit(timeouts)
        for line in self._lines:
            on_line(line)
            answer = respond(line) if respond else None
            if answer is not None:
                self.session.send(answer)
            if until is not None and until(line):
                return True
        return False

    def send(self, data: bytes) -> None:
        """Queue input for the command, without waiting."""
        self.session.send([data])

    def exit_status(self) -> int:
        """Wait for the exit status; -1 when the command was killed by a signal.

        :raises ConnectError: kind ``lost``: the connection ended before there was one.
        """
        status = self.session.exit_status()
        return -1 if status is None else status

    def close(self) -> None:
        """Close the command's channel: its input and output end."""
        self.session.close()


class LineStreams:
    """Streams of several hosts, by name, which are closed together; one that is added afterwards is closed at once.

    Threads that were abandoned on Ctrl-C may still open some.
    """

    def __init__(self) -> None:
        self._streams: dict[str, LineStream] = {}
        self._lock = threading.Lock()
        self._closed = False

    def __enter__(self) -> LineStreams:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getitem__(self, host: str) -> LineStream:
        return self._streams[host]

    def add(self, host: str, stream: LineStream) -> None:
        """Add the stream of a host."""
        with self._lock:
            self._streams[host] = stream
            closed = self._closed
        if closed:
            stream.close()

    def take(self, host: str) -> LineStream:
        """Return the stream of a host, and leave it open."""
        with self._lock:
            return self._streams.pop(host)

    def close(self) -> None:
        """Close all streams that were not taken."""
        with self._lock:
            self._closed = True
            streams = list(self._streams.values())
        for stream in streams:
            stream.close()
