"""Which faults strike: a scenario with its memory of what was asked for and what has struck already.

Every fault draws its chances from a source of its own, seeded by the scenario, so that adding one fault to a file does
not change when the others strike.
"""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from localcloud.core.clock import Clock
from localcloud.scenarios.fault_kinds import BY_NAME
from localcloud.scenarios.scenario import Fault, Scenario
from localcloud.scenarios.targets import Subject

# These come on top of whatever else befalls a call.
_BESIDES = frozenset(("slow", "clock-skew"))
# These are about the researcher's keys; machines have keys of their own.
_OF_USER = frozenset(("bad-keys", "expired-keys", "clock-skew", "denied"))


@dataclass(frozen=True)
class Call:
    """A call as faults see it.

    :param by_user: whether the researcher's own keys signed it.
    """

    service: str
    action: str
    region: str
    by_user: bool = True


class Live:
    """A fault with its memory."""

    def __init__(self, fault: Fault, seed: str) -> None:
        self.fault = fault
        self.kind = BY_NAME[fault.kind]
        self.calls = 0
        self._left = math.inf if fault.times is None else fault.times
        self._random = random.Random(seed)
        self._tokens: float = fault["burst"] if fault.kind == "throttled" else 0.0
        self._filled = 0.0

    @property
    def spent(self) -> bool:
        """Whether it has struck as often as it may."""
        return self._left <= 0

    def strike(self) -> bool:
        """Whether it strikes, now that it could; it remembers that it did."""
        if self.spent or (self.fault.chance < 1 and self._random.random() >= self.fault.chance):
            return False
        self._left -= 1
        return True

    def lets_through(self, time: float) -> bool:
        """Take one call out of the bucket of a ``throttled``, if there is one left."""
        gained = (time - self._filled) * self.fault["rate"]
        self._tokens, self._filled = min(max(1.0, self.fault["burst"]), self._tokens + gained), time
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def means(self, call: Call) -> bool:
        """Whether it is about such calls."""
        names = (call.action, f"{call.service or 's3'}:{call.action}")
        return (
            any(fnmatchcase(name, pattern) for pattern in self.fault["action"] for name in names)
            and (call.by_user or self.fault.kind not in _OF_USER)
            and self.fault.where.fits(Subject(region=call.region))
        )


class Weather:
    """The scenario that is played. Safe to ask from several threads."""

    def __init__(self, clock: Clock, scenario: Scenario | None = None) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self.begin(scenario or Scenario())

    def begin(self, scenario: Scenario) -> None:
        """Play another scenario, from its beginning."""
        with self._lock:
            self.scenario = scenario
            self._began = self._clock.now()
            self._hosts = 0
            self._live = [Live(fault, f"{scenario.seed}/{index}") for index, fault in enumerate(scenario.faults)]

    @property
    def time(self) -> float:
        """Seconds since the scenario was loaded."""
        return self._clock.now() - self._began

    def next_host(self) -> int:
        """The number of the next machine: they are counted as they are launched, from 0."""
        with self._lock:
            self._hosts += 1
            return self._hosts - 1

    def strike(self, call: Call) -> list[Fault]:
        """What befalls a call: at most one fault that decides its answer, the first in the file, and others besides."""
        with self._lock:
            struck: list[Fault] = []
            for live in self._of_group("call"):
                if live.means(call) and self._hits(live, decided=any(one.kind not in _BESIDES for one in struck)):
                    struck.append(live.fault)
            return struck

    def forbids(self, call: Call) -> list[Fault]:
        """The ``denied`` that is in force for a permission that a call of another name takes; not counted as a call."""
        with self._lock:
            denied = [live for live in self._of_group("call") if live.fault.kind == "denied" and live.means(call)]
            return [live.fault for live in denied if live.fault.when.covers(self.time) and live.strike()][:1]

    def rules(self, kind: str, subject: Subject) -> Iterator[Live]:
        """The faults of a kind that are in force for ``subject``; who applies one asks its ``strike``."""
        with self._lock:
            for live in self._live:
                fault = live.fault
                in_force = fault.kind == kind and not live.spent and fault.when.covers(self.time)
                if in_force and fault.where.fits(subject):
                    yield live

    def fate(self, subject: Subject, *, launched: bool = True) -> list[Fault]:
        """What will befall a machine; of one that was there before the scenario, only what strikes at a moment."""
        with self._lock:
            lives = [*(self._of_group("machine") if launched else ()), *self._of_group("moment")]
            return [live.fault for live in lives if self._meets(live, subject) and live.strike()]

    def _of_group(self, group: str) -> list[Live]:
        return [live for live in self._live if live.kind.group == group]

    def _meets(self, live: Live, subject: Subject) -> bool:
        timely = live.kind.group == "moment" or live.fault.when.covers(self.time)
        # Only spot machines are ever interrupted, whatever the fault says.
        fitting = live.fault.kind != "spot-interruption" or subject.market == "spot"
        return timely and fitting and live.fault.where.fits(subject)

    def _hits(self, live: Live, *, decided: bool) -> bool:
        """Whether a fault strikes a call that it means; counts the call in any case."""
        live.calls += 1
        if not live.fault.when.covers_call(live.calls, self.time):
            return False
        if decided and live.fault.kind not in _BESIDES:
            return False
        if live.fault.kind == "throttled" and live.lets_through(self.time):
            return False
        return live.strike()
