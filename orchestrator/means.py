"""What a cluster does its work with: time, SSH and threads. A test, or a seeded life, hands in its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.aws import parallel as aws_parallel
from orchestrator.core.clock import REAL_TIME, Patience
from orchestrator.hosts import parallel

if TYPE_CHECKING:
    from orchestrator.config.settings import Ssh
    from orchestrator.ssh import Links


def over_ssh(ssh: Ssh) -> Links:
    """Return real SSH connections."""
    from orchestrator.ssh import Links

    return Links(connect_timeout=ssh.connect_timeout)


@dataclass(frozen=True)
class Runtime:
    """Time, SSH and threads.

    :param patience: the clock, and all pauses.
    :param links: makes the SSH connections for the settings of SSH.
    :param quick: seconds that answers may take which a launch can do without.
    :param alone: everything in the calling thread, one host after another, in the same order every time.
    """

    patience: Patience = REAL_TIME
    connect: Callable[[Ssh], Links] = over_ssh
    optional_timeout_s: float = aws_parallel.OPTIONAL_TIMEOUT_S
    sequential: bool = False

    @property
    def for_each(self) -> parallel.Each:
        """Does the same work on many hosts."""
        return parallel.one_by_one if self.sequential else parallel.each
