"""Leftovers of launches in words."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from orchestrator.interface.render import units

if TYPE_CHECKING:
    from orchestrator.cluster.recovery import InterruptedLaunch, RecoverReport

OFFER = '    Recover("finish") waits for their SSH; Recover("terminate") ends them.'


def leftovers(found: Sequence[InterruptedLaunch], now: datetime) -> list[str]:
    """Say what is left of launches that were never seen to end, since when, and what it has cost."""
    if not found:
        return ["  Nothing is left of any launch of this computer."]
    return [*(_one(each, now) for each in found), OFFER]


def _one(one: InterruptedLaunch, now: datetime) -> str:
    count = len(one.machines)
    what = units.count(count, "machine") if count else "no machine yet"
    if one.may_come:
        what += f", {one.may_come} more may still turn up,"
    money = f", about {units.usd(one.spent)}" if count else ""
    ends = f", ends {units.ends(one.expires, now)}" if one.expires else ""
    return f"  {what} from launch {one.run} since {one.since.astimezone():%H:%M}{money}{ends}: finish or terminate?"


def recovered(report: RecoverReport, now: datetime) -> list[str]:
    """Say what became of the leftovers."""
    if not report.leftovers:
        return leftovers((), now)
    if report.ended:
        gone = sum(len(one.machines) for one in report.leftovers) - len(report.left)
        return [f"  {units.count(max(gone, 0), 'machine')} ended."]
    if not report.ready and not report.failed:
        return leftovers(report.leftovers, now)
    lines = [f"  {each.name}  ready" for each in report.ready]
    return [*lines, *(f"  {name}  {str(error).splitlines()[0]}" for name, error in report.failed.items())]
