"""Stopped machines in words: since when, what their disks cost, and that nothing ends them by itself."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from orchestrator.core import cost
from orchestrator.interface.render import units

if TYPE_CHECKING:
    from orchestrator.cluster.status import ClusterStatus, InstanceStatus

MONTH_H = 730
"""Hours of a month, as AWS counts them for disks."""


def month(per_hour: Decimal | None) -> str:
    """Return what something costs in a month: ``$12.00 a month``."""
    return units.usd(None if per_hour is None else per_hour * MONTH_H) + ("" if per_hour is None else " a month")


def age(machine: InstanceStatus, at: datetime) -> str:
    """Return for how long a machine has been stopped; nothing when that is not known."""
    return f"stopped {units.duration((at - machine.stopped_at).total_seconds())}" if machine.stopped_at else ""


def kept(disks: Iterable[Decimal | None]) -> list[str]:
    """Say what stays of machines that were just stopped.

    :param disks: USD per hour of each one's disk.
    """
    return [
        f"  The disks stay, and are billed: {month(cost.total(disks))}. A stopped VM has no timer: nothing ends it.",
        "  StartAll() brings the VMs back; TerminateAll() ends it all.",
    ]


def left(status: ClusterStatus) -> list[str]:
    """Say on leaving that disks of stopped machines are billed; nothing when there are none."""
    count = len(status.stopped)
    if not count:
        return []
    what = f"{units.count(count, 'stopped instance')} keep{'s its disk' if count == 1 else ' their disks'}"
    return [f"{what}: {month(status.stopped_usd_per_hour)}, until TerminateAll()."]


def reminder(status: ClusterStatus, hours: float) -> list[str]:
    """Remind of machines that have been stopped for longer than machines may run; nothing when there are none.

    :param hours: the config's ``max_hours``.
    """
    found = status.stopped_longer_than(hours)
    if not found:
        return []
    since = min(one.stopped_at for one in found if one.stopped_at)
    names = ", ".join(one.name for one in found)
    one = len(found) == 1
    return [
        f"  {names} {'has' if one else 'have'} been stopped for {units.duration((status.at - since).total_seconds())}"
        f" (max_hours is {units.hours(hours)}): {month(cost.total(each.disk_usd_per_hour for each in found))} for "
        f"{'its disk' if one else 'their disks'}, and nothing ends {'it' if one else 'them'} by itself.",
        f"    StartAll() brings {'it' if one else 'them'} back; TerminateAll() ends {'it' if one else 'them'}.",
    ]
