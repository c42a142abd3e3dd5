"""What everything in one cloud shares: its time, its weather, its lock."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from localcloud.core.clock import Clock
from localcloud.scenarios.fault_engine import FaultEngine


@dataclass(frozen=True)
class StateDurations:
    """How long an instance stays in each passing state, in seconds.

    :param boot: from running to an open SSH port.
    :param checks: from running to status checks that are ``ok``.
    """

    pending_s: float = 1.0
    boot_s: float = 0.5
    stopping_s: float = 0.3
    shutting_down_s: float = 0.3
    checks_s: float = 1.0

    @classmethod
    def real(cls) -> StateDurations:
        """EC2's own: 17 s pending, then 4 s until SSH answers (cold launches take 22-26 s in all).

        There are no measured figures for the way down and for status checks, which "take minutes": 5 s and 120 s stand
        for them.
        """
        return cls(pending_s=17.0, boot_s=4.0, stopping_s=5.0, shutting_down_s=5.0, checks_s=120.0)


@dataclass(frozen=True)
class CloudEnvironment:
    """One cloud's surroundings.

    :param lock: held whenever an instance is looked at or changed.
    """

    clock: Clock
    fault_engine: FaultEngine
    durations: StateDurations = field(default_factory=StateDurations)
    lock: threading.RLock = field(default_factory=threading.RLock)
