"""State that all parts of one cloud share: clock, fault engine, state durations and lock."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from localcloud.core.clock import Clock
from localcloud.scenarios.fault_engine import FaultEngine


@dataclass(frozen=True)
class StateDurations:
    """Time that an instance, or a job of SageMaker, spends in each transitional state, in seconds.

    :param boot_s: from running to an open SSH port.
    :param checks_s: from running to status checks that are ``ok``.
    :param image_s: from CreateImage to an available image.
    :param job_start_s: from a job's creation to its instances.
    :param job_grace_s: from SIGTERM to SIGKILL when a job is stopped.
    :param minute_s: a minute of the metrics and cooldowns of autoscaling.
    """

    pending_s: float = 1.0
    boot_s: float = 0.5
    stopping_s: float = 0.3
    shutting_down_s: float = 0.3
    checks_s: float = 1.0
    image_s: float = 0.5
    job_start_s: float = 0.2
    job_grace_s: float = 5.0
    minute_s: float = 1.0

    @classmethod
    def real(cls) -> StateDurations:
        """Return EC2's own durations: 17 s pending, then 4 s until SSH answers (cold launches take 22-26 s in all).

        No figures were measured for stopping, shutting down, status checks, images, and the start of a job, which "take
        minutes"; 5 s, 120 s, 180 s and 90 s are used. A job's 120 s of grace are documented.
        """
        return cls(
            pending_s=17.0,
            boot_s=4.0,
            stopping_s=5.0,
            shutting_down_s=5.0,
            checks_s=120.0,
            image_s=180.0,
            job_start_s=90.0,
            job_grace_s=120.0,
            minute_s=60.0,
        )


@dataclass
class UserComputer:
    """The user's computer on the network.

    :param address: public address from which its packets come; changes with a scenario.
    """

    address: str = "127.0.0.1"


@dataclass(frozen=True)
class CloudEnvironment:
    """Clock, fault engine and settings of one cloud.

    :param client: computer from which the hosts are reached.
    :param lock: held whenever an instance is read or changed.
    """

    clock: Clock
    fault_engine: FaultEngine
    durations: StateDurations = field(default_factory=StateDurations)
    client: UserComputer = field(default_factory=UserComputer)
    # Reentrant: actions of the clock run within calls that hold it in virtual time.
    lock: threading.RLock = field(default_factory=threading.RLock)
