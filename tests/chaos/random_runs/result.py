"""Outcome of one random run."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.aws.ec2.state_changes import InstanceResult


@dataclass
class RunResult:
    """The outcome of a run.

    :param violations: of the invariants; empty if all hold.
    :param trace: everything that happened, in order.
    :param orphans: instances left at the end.
    :param stopped: instances that were stopped on request and exist at the end.
    :param interruptions: crashes and Ctrl-C that took place.
    :param exit_codes: of every verb.
    :param longest_s: verb -> its longest duration in virtual time.
    :param left_alone: the user did not come back after a crash.
    :param billed_usd: the bill of all launches.
    :param over_usd: dollars beyond the caps; see `InvariantMonitor.check_caps`.
    :param receipts: receipts of TerminateAll that were compared with the bill.
    """

    seed: int
    violations: list[str]
    trace: list[str]
    calls: int
    most_instances: int
    orphans: int
    stopped: int
    interruptions: int
    exit_codes: list[int]
    longest_s: dict[str, float]
    left_alone: bool
    billed_usd: Decimal = Decimal(0)
    over_usd: Decimal = Decimal(0)
    receipts: int = 0

    @property
    def digest(self) -> str:
        """Return 12 characters of the trace's SHA-256."""
        return hashlib.sha256("\n".join(self.trace).encode()).hexdigest()[:12]


def summarize(results: Sequence[InstanceResult]) -> tuple[int, str]:
    """Return the exit code of a verb and its results as text."""
    failed = any(result.error for result in results)
    return int(failed), "\n".join(
        f"{result.name} {result.id} {result.state} {result.error}".rstrip() for result in results
    )


class UserLeft(Exception):
    """The computer crashed, and the plan has no further step."""
