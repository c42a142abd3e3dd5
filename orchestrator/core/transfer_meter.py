"""Progress of a transfer: bytes, rate, time left; the limit of its bandwidth; its end on request."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.core.clock import Clock

REPORT_EVERY_S = 0.25
WINDOW_S = 8.0
"""The rate is that of the last seconds: a slow start would falsify the time left for long."""


class Stopped(Exception):
    """The transfer was ended."""


@dataclass(frozen=True)
class Progress:
    """A transfer under way.

    :param bytes_per_s: of the last seconds.
    :param left_s: until the end at this rate, seconds; None while there is no rate.
    """

    done_bytes: int
    total_bytes: int
    bytes_per_s: float

    @property
    def text(self) -> str:
        """One line: bytes, rate and time left."""
        rate = f", {self.bytes_per_s / 1e6:.1f} MB/s" if self.bytes_per_s else ""
        left = f", {_time(self.left_s)} left" if self.left_s is not None else ""
        total = f" of {self.total_bytes / 1e6:,.1f}" if self.total_bytes else ""
        return f"{self.done_bytes / 1e6:,.1f}{total} MB{rate}{left}"

    @property
    def left_s(self) -> float | None:
        """Seconds until the end at this rate."""
        is_known = self.bytes_per_s and self.total_bytes
        return (self.total_bytes - self.done_bytes) / self.bytes_per_s if is_known else None


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


class Meter:
    """Counts the bytes of all threads of a transfer.

    :param total_bytes: 0 if it is not known.
    :param limit_bytes_per_s: 0 for none.
    :param on_progress: called a few times per second.
    """

    def __init__(
        self, clock: Clock, total_bytes: int, on_progress: Callable[[Progress], None], limit_bytes_per_s: float = 0
    ) -> None:
        self.total_bytes = total_bytes
        self.done_bytes = self.sent_bytes = 0
        self._clock, self._on_progress, self._limit = clock, on_progress, limit_bytes_per_s
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._recent: deque[tuple[float, int]] = deque()
        self._free_at = self._reported_at = clock.monotonic()

    def skip(self, count: int) -> None:
        """Count bytes that need no transfer."""
        with self._lock:
            self.done_bytes += count

    def take_back(self, count: int) -> None:
        """Discount bytes that are transferred again."""
        self.skip(-count)

    def add(self, count: int) -> None:
        """Count transferred bytes, and wait if they came faster than the limit.

        :raises Stopped: the transfer was ended.
        """
        self.check()
        with self._lock:
            now = self._clock.monotonic()
            self.done_bytes += count
            self.sent_bytes += count
            progress = self._progress(now, count)
            self._free_at = max(self._free_at, now) + (count / self._limit if self._limit else 0.0)
            pause_s = self._free_at - now
        if progress is not None:
            self._on_progress(progress)
        if self._limit and pause_s > 0:
            self._clock.sleep(pause_s)

    def check(self) -> None:
        """Raise if the transfer was ended.

        :raises Stopped: it was.
        """
        if self._stop.is_set():
            raise Stopped

    def stop(self) -> None:
        """End the transfer: every thread stops at its next block."""
        self._stop.set()

    def _progress(self, now: float, count: int) -> Progress | None:
        self._recent.append((now, count))
        while now - self._recent[0][0] > WINDOW_S:
            self._recent.popleft()
        if now - self._reported_at < REPORT_EVERY_S:
            return None
        self._reported_at = now
        rate = sum(size for _, size in self._recent) / max(now - self._recent[0][0], REPORT_EVERY_S)
        # Parts that are sent again could count twice for a moment.
        done = min(self.done_bytes, self.total_bytes) if self.total_bytes else self.done_bytes
        return Progress(done, self.total_bytes, rate)
