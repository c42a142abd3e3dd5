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
_ADDITIONAL = frozenset(("slow", "clock-skew"))
# These are about the researcher's keys; machines have keys of their own.
_USER_KEYS_ONLY = frozenset(("bad-keys", "expired-keys", "clock-skew", "denied"))


@dataclass(frozen=True)
class ApiCall:
    """A call as faults see it.

    :param by_user: whether the researcher's own keys signed it.
    """

    service: str
    action: str
    region: str
    by_user: bool = True


class ActiveFault:
    """A fault with its memory."""

    def __init__(self, fault: Fault, seed: str) -> None:
        self.fault = fault
        self.kind = BY_NAME[fault.kind]
        self.calls = 0
        self._times_left = math.inf if fault.times is None else fault.times
        self._random = random.Random(seed)
        self._tokens: float = fault["burst"] if fault.kind == "throttled" else 0.0
        self._filled_at = 0.0

    @property
    def exhausted(self) -> bool:
        """Whether it has struck as often as it may."""
        return self._times_left <= 0

    def trigger(self) -> bool:
        """Whether it strikes, now that it could; it remembers that it did."""
        if self.exhausted or (self.fault.chance < 1 and self._random.random() >= self.fault.chance):
            return False
        self._times_left -= 1
        return True

    def take_token(self, time: float) -> bool:
        """Take one call out of the bucket of a ``throttled``, if there is one left."""
        gained = (time - self._filled_at) * self.fault["rate"]
        self._tokens, self._filled_at = min(max(1.0, self.fault["burst"]), self._tokens + gained), time
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def matches(self, call: ApiCall) -> bool:
        """Whether it is about such calls."""
        names = (call.action, f"{call.service or 's3'}:{call.action}")
        return (
            any(fnmatchcase(name, pattern) for pattern in self.fault["action"] for name in names)
            and (call.by_user or self.fault.kind not in _USER_KEYS_ONLY)
            and self.fault.where.matches(Subject(region=call.region))
        )


class FaultEngine:
    """The scenario that is played. Safe to ask from several threads."""

    def __init__(self, clock: Clock, scenario: Scenario | None = None) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self.load(scenario or Scenario())

    def load(self, scenario: Scenario) -> None:
        """Play another scenario, from its beginning."""
        with self._lock:
            self.scenario = scenario
            self._started_at = self._clock.now()
            self._host_count = 0
            self._faults = [
                ActiveFault(fault, f"{scenario.seed}/{index}") for index, fault in enumerate(scenario.faults)
            ]

    @property
    def elapsed_s(self) -> float:
        """Seconds since the scenario was loaded."""
        return self._clock.now() - self._started_at

    def next_host_number(self) -> int:
        """The number of the next machine: they are counted as they are launched, from 0."""
        with self._lock:
            self._host_count += 1
            return self._host_count - 1

    def faults_for_call(self, call: ApiCall) -> list[Fault]:
        """What befalls a call: at most one fault that decides its answer, the first in the file, and others besides."""
        with self._lock:
            struck: list[Fault] = []
            for live in self._in_group("call"):
                if live.matches(call) and self._triggers_on_call(
                    live, decided=any(one.kind not in _ADDITIONAL for one in struck)
                ):
                    struck.append(live.fault)
            return struck

    def denial_for(self, call: ApiCall) -> list[Fault]:
        """The ``denied`` that is in force for a permission that a call of another name takes; not counted as a call."""
        with self._lock:
            denied = [live for live in self._in_group("call") if live.fault.kind == "denied" and live.matches(call)]
            return [live.fault for live in denied if live.fault.when.covers(self.elapsed_s) and live.trigger()][:1]

    def active(self, kind: str, subject: Subject) -> Iterator[ActiveFault]:
        """The faults of a kind that are in force for ``subject``; who applies one asks its ``strike``."""
        with self._lock:
            for live in self._faults:
                fault = live.fault
                in_force = fault.kind == kind and not live.exhausted and fault.when.covers(self.elapsed_s)
                if in_force and fault.where.matches(subject):
                    yield live

    def faults_for_instance(self, subject: Subject, *, launched: bool = True) -> list[Fault]:
        """What will befall a machine; of one that was there before the scenario, only what strikes at a moment."""
        with self._lock:
            lives = [*(self._in_group("machine") if launched else ()), *self._in_group("moment")]
            return [live.fault for live in lives if self._applies_to(live, subject) and live.trigger()]

    def _in_group(self, group: str) -> list[ActiveFault]:
        return [live for live in self._faults if live.kind.group == group]

    def _applies_to(self, live: ActiveFault, subject: Subject) -> bool:
        timely = live.kind.group == "moment" or live.fault.when.covers(self.elapsed_s)
        # Only spot machines are ever interrupted, whatever the fault says.
        fitting = live.fault.kind != "spot-interruption" or subject.market == "spot"
        return timely and fitting and live.fault.where.matches(subject)

    def _triggers_on_call(self, live: ActiveFault, *, decided: bool) -> bool:
        """Whether a fault strikes a call that it means; counts the call in any case."""
        live.calls += 1
        if not live.fault.when.covers_call(live.calls, self.elapsed_s):
            return False
        if decided and live.fault.kind not in _ADDITIONAL:
            return False
        if live.fault.kind == "throttled" and live.take_token(self.elapsed_s):
            return False
        return live.trigger()
