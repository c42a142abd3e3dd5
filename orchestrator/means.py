"""What a cluster does its work with: time, SSH and threads. A test, or a seeded life, hands in its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.aws import parallel as aws_parallel
from orchestrator.core.clock import REAL_CLOCK, Clock
from orchestrator.hosts import parallel

if TYPE_CHECKING:
    from orchestrator.config.settings import SshSettings
    from orchestrator.ssh import SshClient


def over_ssh(ssh: SshSettings) -> SshClient:
    """Return real SSH connections."""
    from orchestrator.ssh import SshClient

    return SshClient(REAL_CLOCK, connect_timeout_s=ssh.connect_timeout)


@dataclass(frozen=True)
class Runtime:
    """Time, SSH and threads.

    :param patience: the clock, and all pauses.
    :param links: makes the SSH connections for the settings of SSH.
    :param quick: seconds that answers may take which a launch can do without.
    :param alone: everything in the calling thread, one host after another, in the same order every time.
    """

    patience: Clock = REAL_CLOCK
    connect: Callable[[SshSettings], SshClient] = over_ssh
    optional_timeout_s: float = aws_parallel.OPTIONAL_TIMEOUT_S
    sequential: bool = False

    @property
    def for_each(self) -> parallel.ForEach:
        """Does the same work on many hosts."""
        return parallel.for_each_sequential if self.sequential else parallel.for_each
