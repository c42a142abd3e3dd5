"""Stopped VMs as text: since when, what their disks cost, and that they stay until they are terminated."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from orchestrator.core import cost
from orchestrator.core.next_step import NextStep
from orchestrator.interface.render import units
from orchestrator.interface.render.registry import Lines
from orchestrator.interface.render.styles import line

if TYPE_CHECKING:
    from orchestrator.cluster.status import ClusterStatus, InstanceStatus


def age(machine: InstanceStatus, at: datetime) -> str:
    """Return for how long a VM has been stopped; nothing when that is not known."""
    return f"stopped {units.duration((at - machine.stopped_at).total_seconds())}" if machine.stopped_at else ""


def kept(disks: Iterable[Decimal | None]) -> Lines:
    """Return what remains of VMs that were just stopped.

    :param disks: USD per hour of each one's disk.
    """
    price = units.month_price(cost.total(disks))
    return [
        f"  The disks stay and are billed: {price}. Stopped VMs have no timer: they stay until terminated.",
        line("  ", NextStep("StartAll"), " starts the VMs again; ", NextStep("TerminateAll"), " terminates them."),
    ]


def left(status: ClusterStatus) -> Lines:
    """Return on exit that disks of stopped VMs are billed; nothing when there are none."""
    count = len(status.stopped)
    if not count:
        return []
    disks = f"{units.count(count, 'stopped VM')} keep{'s its disk' if count == 1 else ' their disks'}"
    return [line(f"{disks}: {units.month_price(status.stopped_usd_per_hour)}, until ", NextStep("TerminateAll"), ".")]


def reminder(status: ClusterStatus, max_hours: float) -> Lines:
    """Return a reminder of VMs that have been stopped for longer than VMs may run; nothing when there are none.

    :param max_hours: the setting of that name, hours.
    """
    machines = status.stopped_longer_than(max_hours)
    if not machines:
        return []
    # The longest: that is the one which was forgotten.
    since = min(machine.stopped_at for machine in machines if machine.stopped_at)
    names = ", ".join(machine.name for machine in machines)
    have, disks, them = ("has", "its disk", "it") if len(machines) == 1 else ("have", "their disks", "them")
    age_text = units.duration((status.at - since).total_seconds())
    price = units.month_price(cost.total(machine.disk_usd_per_hour for machine in machines))
    return [
        f"  {names} {have} been stopped for {age_text} (max_hours is {units.hours(max_hours)}): {price} for {disks}, "
        f"until you terminate {them}.",
        line("    ", NextStep("StartAll"), f" starts {them} again; ", NextStep("TerminateAll"), f" terminates {them}."),
    ]
