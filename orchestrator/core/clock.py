"""How the rest of the toolkit waits: by its own clock, in growing pauses, never without a deadline.

A test hands in a `Patience` whose clock it moves itself, so no test ever sleeps to see a deadline pass.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from random import random as _uniform
from typing import TypeVar

T = TypeVar("T")

TICK_S = 1e-6
"""A shorter pause is none: added to a clock that has run for days, it may not move it at all."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


def _new_id() -> str:
    return uuid.uuid4().hex


@dataclass(frozen=True)
class Backoff:
    """Pauses between two looks at the same thing.

    :param first: the first pause, seconds.
    :param longest: no pause grows beyond this, seconds.
    :param growth: each pause is this many times the one before.
    """

    first_s: float = 0.5
    longest_s: float = 3.0
    growth: float = 1.5


@dataclass(frozen=True)
class Clock:
    """Time itself, as one value that can be handed in.

    :param clock: seconds that never go backwards.
    :param sleep: pauses for that many seconds.
    :param chance: a number in [0, 1), for jitter.
    :param now: the time of day, UTC.
    :param pace: of looks for which nothing else is said.
    :param token: 32 hexadecimal digits that nobody had before: names of launches, of requests, of journal entries.
    """

    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    random: Callable[[], float] = _uniform
    now: Callable[[], datetime] = _utc_now
    backoff: Backoff = Backoff()
    new_id: Callable[[], str] = _new_id

    def attempts(self, timeout_s: float, backoff: Backoff | None = None, *, jitter: bool = False) -> Iterator[float]:
        """Yield the seconds waited so far: at once, after every pause, and a last time at the deadline.

        :param deadline_s: seconds after which the last try comes.
        :param pace: our own by default.
        :param jitter: pause a random part of each pause (full jitter), so that many callers spread out.
        """
        backoff = backoff or self.backoff
        start, pause = self.monotonic(), backoff.first_s
        while True:
            yield self.monotonic() - start
            left = timeout_s - (self.monotonic() - start)
            if left <= TICK_S:
                return
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
        """Return what ``call`` returns, calling it again after errors that pass.

        :param when: whether an error passes with time; any other is raised at once.
        :param deadline_s: seconds after which the last such error is raised.
        """
        for waited in self.attempts(timeout_s, backoff):
            try:
                return call()
            except Exception as error:
                if not is_transient(error):
                    raise
                last, after = error, waited
        last.add_note(f"tried for {after:.0f} s")
        raise last


REAL_CLOCK = Clock()
