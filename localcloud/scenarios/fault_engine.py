"""Engine that decides which faults of a scenario trigger, from what was called and what has triggered already.

Every fault has a random generator of its own, seeded by the scenario, so that adding a fault to a file does not change
when the others trigger.
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

# These kinds apply in addition to the fault that decides a call's answer.
_ADDITIONAL = frozenset(("slow", "clock-skew"))
# These kinds concern the user's keys; instances have keys of their own.
_USER_KEYS_ONLY = frozenset(("bad-keys", "expired-keys", "clock-skew", "denied"))


@dataclass(frozen=True)
class ApiCall:
    """A call as faults see it.

    :param by_user: True if the user's own keys signed it.
    """

    service: str
    action: str
    region: str
    by_user: bool = True


class ActiveFault:
    """A fault with its state: calls seen, triggers left, and random generator."""

    def __init__(self, fault: Fault, seed: str) -> None:
        self.fault = fault
        self.kind = BY_NAME[fault.kind]
        self.calls = 0
        # The simulated colleagues act whenever the scenario is played.
        self.has_struck = fault.kind == "colleague"
        self._times_left = math.inf if fault.times is None else fault.times
        # One generator per fault: other faults do not shift its draws.
        self._random = random.Random(seed)
        # A token bucket, as EC2 throttles: full at the beginning.
        self._tokens: float = fault["burst"] if fault.kind == "throttled" else 0.0
        self._filled_at = 0.0

    @property
    def exhausted(self) -> bool:
        """True if it has triggered as often as it may."""
        return self._times_left <= 0

    def trigger(self) -> bool:
        """Return whether the fault triggers now that it could, and count it."""
        if self.exhausted or (self.fault.chance < 1 and self._random.random() >= self.fault.chance):
            return False
        self._times_left -= 1
        # Those bound to a moment are chosen at a launch; their moment may never come.
        self.has_struck = self.has_struck or self.kind.group != "moment"
        return True

    def take_token(self, now_s: float) -> bool:
        """Take a token from the bucket of a ``throttled`` fault; return False if it is empty."""
        gained = (now_s - self._filled_at) * self.fault["rate"]
        self._tokens, self._filled_at = min(max(1.0, self.fault["burst"]), self._tokens + gained), now_s
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def matches(self, call: ApiCall) -> bool:
        """Return whether the fault is about such calls."""
        names = (call.action, f"{call.service or 's3'}:{call.action}")
        return (
            any(fnmatchcase(name, pattern) for pattern in self.fault["action"] for name in names)
            and (call.by_user or self.fault.kind not in _USER_KEYS_ONLY)
            and self.fault.where.matches(Subject(region=call.region))
        )


class FaultEngine:
    """The scenario that is played; safe to use from several threads."""

    def __init__(self, clock: Clock, scenario: Scenario | None = None) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self.load(scenario or Scenario())

    def load(self, scenario: Scenario) -> None:
        """Start a scenario from its beginning."""
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

    def note_moment(self, fault: Fault) -> None:
        """Note that the moment of a fault has come."""
        with self._lock:
            for active in self._faults:
                active.has_struck = active.has_struck or active.fault is fault

    def unused(self) -> list[Fault]:
        """Return the faults that have had no effect since the scenario was loaded."""
        with self._lock:
            return [active.fault for active in self._faults if not active.has_struck]

    def next_host_number(self) -> int:
        """Return the number of the next instance; they are counted in the order of launches, from 0."""
        with self._lock:
            self._host_count += 1
            return self._host_count - 1

    def faults_for_call(self, call: ApiCall) -> list[Fault]:
        """Return the faults that trigger on a call: at most one that decides its answer, and additional ones.

        If several could decide, the first in the file does.
        """
        with self._lock:
            triggered: list[Fault] = []
            for active in self._in_group("call"):
                if active.matches(call) and self._triggers_on_call(
                    active, decided=any(fault.kind not in _ADDITIONAL for fault in triggered)
                ):
                    triggered.append(active.fault)
            return triggered

    def denial_for(self, call: ApiCall) -> list[Fault]:
        """Return the ``denied`` fault in force for a permission that a call of another name needs.

        The call is not counted.
        """
        with self._lock:
            denied = [
                active for active in self._in_group("call") if active.fault.kind == "denied" and active.matches(call)
            ]
            return [active.fault for active in denied if active.fault.when.covers(self.elapsed_s) and active.trigger()][
                :1
            ]

    def active(self, kind: str, subject: Subject) -> Iterator[ActiveFault]:
        """Yield the faults of a kind in force for ``subject``; the caller triggers those that it applies."""
        with self._lock:
            for active in self._faults:
                fault = active.fault
                in_force = fault.kind == kind and not active.exhausted and fault.when.covers(self.elapsed_s)
                if in_force and fault.where.matches(subject):
                    yield active

    def moments(self, kind: str, subject: Subject) -> list[Fault]:
        """Return the faults of a kind that trigger at some moment for ``subject``, which begins to run now."""
        with self._lock:
            candidates = (active for active in self._in_group("moment") if active.fault.kind == kind)
            return [active.fault for active in candidates if self._applies_to(active, subject) and active.trigger()]

    def faults_for_instance(self, subject: Subject, *, launched: bool = True) -> list[Fault]:
        """Return the faults of an instance; those bound to a moment only, if it was launched before the scenario."""
        with self._lock:
            candidates = [*(self._in_group("machine") if launched else ()), *self._in_group("moment")]
            return [active.fault for active in candidates if self._applies_to(active, subject) and active.trigger()]

    def _in_group(self, group: str) -> list[ActiveFault]:
        return [active for active in self._faults if active.kind.group == group]

    def _applies_to(self, active: ActiveFault, subject: Subject) -> bool:
        is_in_time = active.kind.group == "moment" or active.fault.when.covers(self.elapsed_s)
        # Only spot instances are interrupted, even if the fault's target is wider.
        is_eligible = active.fault.kind != "spot-interruption" or subject.market == "spot"
        return is_in_time and is_eligible and active.fault.where.matches(subject)

    def _triggers_on_call(self, active: ActiveFault, *, decided: bool) -> bool:
        """Return whether a fault triggers on a call that it matches; the call is counted in any case."""
        # Counted before the schedule is checked: ``at call 3`` means the third matching call.
        active.calls += 1
        if not active.fault.when.covers_call(active.calls, self.elapsed_s):
            return False
        # Only the first fault decides; later ones count the call and keep their triggers.
        if decided and active.fault.kind not in _ADDITIONAL:
            return False
        if active.fault.kind == "throttled" and active.take_token(self.elapsed_s):
            return False
        return active.trigger()
