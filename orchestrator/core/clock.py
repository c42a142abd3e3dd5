"""Time as a value: clock, sleep, backoff and random ids, handed in rather than read from the system.

A test hands in a `Clock` that it advances itself, so no test sleeps until a deadline passes.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

# Under another name: in the body of Clock, `random` is the field.
from random import random as _uniform
from typing import TypeVar

T = TypeVar("T")

SHORTEST_PAUSE_S = 1e-6
"""A shorter pause counts as none: added to a clock that has run for days, it is lost to rounding."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


def _new_id() -> str:
    return uuid.uuid4().hex


@dataclass(frozen=True)
class Backoff:
    """Growing pauses between attempts.

    :param first_s: the first pause, seconds.
    :param longest_s: upper bound of every pause, seconds.
    :param growth: factor from one pause to the next.
    """

    first_s: float = 0.5
    longest_s: float = 3.0
    growth: float = 1.5


@dataclass(frozen=True)
class Clock:
    """Sources of time and chance, as one value.

    :param monotonic: seconds that never go backwards.
    :param sleep: pauses for a number of seconds.
    :param random: a number in [0, 1), for jitter.
    :param now: the current time, UTC.
    :param backoff: pauses of attempts that name no other.
    :param new_id: 32 random hexadecimal digits: ids of launches, idempotency tokens, journal entries.
    """

    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    random: Callable[[], float] = _uniform
    now: Callable[[], datetime] = _utc_now
    backoff: Backoff = Backoff()
    new_id: Callable[[], str] = _new_id

    def attempts(self, timeout_s: float, backoff: Backoff | None = None, *, jitter: bool = False) -> Iterator[float]:
        """Yield the seconds waited so far: at once, after every pause, and a last time at the deadline.

        :param timeout_s: seconds until the last attempt.
        :param backoff: the clock's own when None.
        :param jitter: pause a random part of each pause (full jitter), so that many callers spread out.
        """
        backoff = backoff or self.backoff
        start, pause = self.monotonic(), backoff.first_s
        while True:
            yield self.monotonic() - start
            # Read again: the caller's own work between two attempts counts against the deadline.
            left = timeout_s - (self.monotonic() - start)
            if left <= SHORTEST_PAUSE_S:
                return
            # The last pause is shortened, so that one attempt comes exactly at the deadline.
            self.sleep(min(pause * (self.random() if jitter else 1.0), left))
            pause = min(pause * backoff.growth, backoff.longest_s)

    def retry(
        self,
        call: Callable[[], T],
        *,
        is_transient: Callable[[Exception], bool],
        timeout_s: float,
        backoff: Backoff | None = None,
    ) -> T:
        """Return what ``call`` returns, calling it again after transient errors.

        :param is_transient: True for an error that may pass with time; any other is raised at once.
        :param timeout_s: seconds after which the last transient error is raised.
        """
        for waited in self.attempts(timeout_s, backoff):
            try:
                return call()
            except Exception as error:
                if not is_transient(error):
                    raise
                last_error, waited_s = error, waited
        # A note rather than another error: callers decide by the class and code of the original one.
        last_error.add_note(f"tried for {waited_s:.0f} s")
        raise last_error


REAL_CLOCK = Clock()
"""The system's time; only the composition root hands it on, nothing defaults to it."""
