"""Time as a cloud sees it: the real one, and one that moves only when somebody sleeps.

Whatever happens later (an instance comes to run, a fault strikes) is put on the cloud's clock with ``after``, so the
same code lives through a day in a day, or in a millisecond.
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

# When a virtual day begins unless its maker says otherwise.
DEFAULT_START = datetime(2026, 11, 20, 8, 0)


class Clock(Protocol):
    """What a cloud needs of time."""

    def now(self) -> float:
        """Seconds on a clock that never goes back; only differences mean something."""

    def utc(self) -> datetime:
        """The time of day in UTC, without a time zone, as moto keeps it."""

    def sleep(self, seconds: float) -> None:
        """Let this much time pass."""

    def after(self, seconds: float, action: Action) -> None:
        """Have ``action`` done in ``seconds`` from now (at once when not positive); it must not block."""

    def submit(self, action: Action) -> None:
        """Have ``action`` done soon, where it may block."""

    def close(self) -> None:
        """Drop what has not begun yet and wait for what has."""


class RealClock:
    """The time that everybody has: a thread for what is due, and a few for what may block."""

    def __init__(self) -> None:
        self._timer = Scheduler()
        self._workers = ThreadPoolExecutor(max_workers=16, thread_name_prefix="host")

    def now(self) -> float:
        """As :func:`time.monotonic`."""
        return time.monotonic()

    def utc(self) -> datetime:
        """The time of day."""
        return datetime.now(UTC).replace(tzinfo=None)

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(max(0.0, seconds))

    def after(self, seconds: float, action: Action) -> None:
        """Do it on the timer's thread."""
        self._timer.after(seconds, action)

    def submit(self, action: Action) -> None:
        """Do it on a worker's thread."""
        self._workers.submit(action)

    def close(self) -> None:
        """End the threads."""
        self._timer.close()
        self._workers.shutdown(cancel_futures=True)


class VirtualClock:
    """Time that passes in ``sleep`` only, and takes none: what falls due meanwhile is done on the way, in order.

    :param start: the time of day at second 0, UTC.
    """

    def __init__(self, start: datetime = DEFAULT_START) -> None:
        self._start, self._seconds = start, 0.0
        self._due: list[tuple[float, int, Action]] = []
        # Things due at the same time happen in the order in which they were asked for.
        self._order = itertools.count()
        self._lock = threading.RLock()

    def now(self) -> float:
        """Seconds slept so far."""
        return self._seconds

    def utc(self) -> datetime:
        """The start, and what was slept since."""
        return self._start + timedelta(seconds=self._seconds)

    def sleep(self, seconds: float) -> None:
        """Go forward; an action's error is the sleeper's."""
        with self._lock:
            until = self._seconds + max(0.0, seconds)
            while self._due and self._due[0][0] <= until:
                due, _, action = heapq.heappop(self._due)
                # An action that sleeps itself may have gone further.
                self._seconds = max(self._seconds, due)
                action()
            self._seconds = max(self._seconds, until)

    def after(self, seconds: float, action: Action) -> None:
        """Have it done once somebody has slept long enough."""
        with self._lock:
            heapq.heappush(self._due, (self._seconds + max(0.0, seconds), next(self._order), action))

    def submit(self, action: Action) -> None:
        """Do it at once: nothing blocks where no time passes."""
        action()

    def close(self) -> None:
        """Drop what is not due yet."""
        with self._lock:
            self._due.clear()
