"""What everything in one cloud shares: its time, its weather, its lock."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from localcloud.core.clock import Clock
from localcloud.scenarios.fault_engine import Weather


@dataclass(frozen=True)
class Dwell:
    """How long an instance stays in each passing state, in seconds.

    :param boot: from running to an open SSH port.
    :param checks: from running to status checks that are ``ok``.
    """

    pending: float = 1.0
    boot: float = 0.5
    stopping: float = 0.3
    shutting_down: float = 0.3
    checks: float = 1.0

    @classmethod
    def real(cls) -> Dwell:
        """EC2's own: 17 s pending, then 4 s until SSH answers (cold launches take 22-26 s in all).

        There are no measured figures for the way down and for status checks, which "take minutes": 5 s and 120 s stand
        for them.
        """
        return cls(pending=17.0, boot=4.0, stopping=5.0, shutting_down=5.0, checks=120.0)


@dataclass(frozen=True)
class World:
    """One cloud's surroundings.

    :param lock: held whenever an instance is looked at or changed.
    """

    clock: Clock
    weather: Weather
    dwell: Dwell = field(default_factory=Dwell)
    lock: threading.RLock = field(default_factory=threading.RLock)
