"""Clocks of a cloud: the real time, and virtual time that passes only in ``sleep``.

Everything that happens later (an instance enters running, a fault triggers) is scheduled on the cloud's clock with
``after``, so the same code simulates a day in a day, or in a millisecond.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Protocol

from localcloud.core.scheduler import Scheduler

Action = Callable[[], object]

# Time of day at which virtual time starts by default.
DEFAULT_START = datetime(2026, 11, 20, 8, 0)


class Clock(Protocol):
    """Time as a cloud uses it."""

    def now(self) -> float:
        """Return seconds on a clock that never goes back; only differences have a meaning."""

    def utc(self) -> datetime:
        """Return the time of day in UTC, without a time zone, as moto stores it."""

    def sleep(self, seconds: float) -> None:
        """Let time pass."""

    def after(self, seconds: float, action: Action) -> None:
        """Call ``action`` in ``seconds`` from now, at once if that is not positive; it must not block."""

    def submit(self, action: Action) -> None:
        """Call ``action`` soon; it may block."""

    def close(self) -> None:
        """Drop actions that have not started, and wait for those that have."""


class RealClock:
    """The computer's time: one thread for scheduled actions, and a pool for those that may block."""

    def __init__(self) -> None:
        self._scheduler = Scheduler()
        # Enough to stop many hosts at once; each worker waits for processes to end.
        self._workers = ThreadPoolExecutor(max_workers=16, thread_name_prefix="host")

    def now(self) -> float:
        """Return :func:`time.monotonic`."""
        return time.monotonic()

    def utc(self) -> datetime:
        """Return the time of day in UTC, without a time zone."""
        return datetime.now(UTC).replace(tzinfo=None)

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(max(0.0, seconds))

    def after(self, seconds: float, action: Action) -> None:
        """Call ``action`` on the scheduler's thread."""
        self._scheduler.after(seconds, action)

    def submit(self, action: Action) -> None:
        """Call ``action`` on a worker thread."""
        self._workers.submit(action)

    def close(self) -> None:
        """End the threads."""
        self._scheduler.close()
        self._workers.shutdown(cancel_futures=True)


class VirtualClock:
    """Time that passes in ``sleep`` only and takes none; due actions run during ``sleep``, in order.

    :param start: time of day at second 0, UTC.
    """

    def __init__(self, start: datetime = DEFAULT_START) -> None:
        self._start, self._seconds = start, 0.0
        self._due: list[tuple[float, int, Action]] = []
        # Actions due at the same time run in the order in which they were scheduled.
        self._order = itertools.count()
        # Reentrant: a due action may schedule another one.
        self._lock = threading.RLock()

    def now(self) -> float:
        """Return the seconds slept so far."""
        return self._seconds

    def utc(self) -> datetime:
        """Return the start plus the time slept since."""
        return self._start + timedelta(seconds=self._seconds)

    def sleep(self, seconds: float) -> None:
        """Advance the time; errors of due actions are raised here."""
        with self._lock:
            until = self._seconds + max(0.0, seconds)
            while self._due and self._due[0][0] <= until:
                due, _, action = heapq.heappop(self._due)
                # An action that sleeps itself may have advanced the time further.
                self._seconds = max(self._seconds, due)
                action()
            self._seconds = max(self._seconds, until)

    def after(self, seconds: float, action: Action) -> None:
        """Schedule ``action`` for when enough time was slept."""
        with self._lock:
            heapq.heappush(self._due, (self._seconds + max(0.0, seconds), next(self._order), action))

    def submit(self, action: Action) -> None:
        """Call ``action`` at once: nothing blocks in virtual time."""
        action()

    def close(self) -> None:
        """Drop all scheduled actions."""
        with self._lock:
            self._due.clear()
