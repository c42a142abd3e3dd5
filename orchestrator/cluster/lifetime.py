"""Moving the end of machines: their own timers are set anew over SSH, within what money allows, and their tags follow.

The machine has the last word: it keeps its budget of minutes itself, and answers with the end that now holds.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from orchestrator.aws.ec2 import instance_tags, instances
from orchestrator.aws.launch import time_limits
from orchestrator.cluster.inventory import Inventory
from orchestrator.core import cost, remote_scripts
from orchestrator.core.errors import HostError, StratusError, UsageError
from orchestrator.core.events import Event
from orchestrator.core.next_step import NextStep
from orchestrator.hosts import parallel

if TYPE_CHECKING:
    from orchestrator.core.host import Host


TIMER_TIMEOUT_S = 60.0
MAX_HOURS = 720.0
"""As long as max_hours can be; the certificates of runs do not last much longer."""

_UNCHANGED = "-"
_NEAR = timedelta(minutes=3)  # less than this short of what was asked for is rounding, not the budget


@dataclass(frozen=True)
class ShutdownTimer:
    """What a machine answers about its own end.

    :param until: when it ends itself.
    :param budget: minutes that it may live in all; 0 is any number.
    :param used: minutes that it has lived.
    :param idle: minutes of nobody's use after which it ends itself; 0 is never.
    """

    expires_at: datetime
    budget_minutes: int
    used_minutes: int
    idle_minutes: int


@dataclass(frozen=True)
class ExtendedHost:
    """One machine whose end was moved.

    :param before: when it would have ended itself.
    :param expires: when it does now.
    :param capped: that is earlier than asked for, because its ``max_dollars`` buys no more.
    """

    name: str
    previous_expiry: datetime | None
    expires_at: datetime
    is_budget_limited: bool


@dataclass(frozen=True)
class ExtendReport:
    """What Extend() did.

    :param failed: name of every machine whose end stays as it was -> why.
    :param at_most: USD from the start of the machines to their new ends; None when a price is unknown.
    :param max_dollars: the config's cap for one launch; 0 is none.
    """

    hosts: tuple[ExtendedHost, ...]
    failed: Mapping[str, Exception]
    max_cost_usd: Decimal | None
    max_dollars: float


@dataclass(frozen=True)
class IdleShutdownReport:
    """What IdleShutdown() did.

    :param minutes: of nobody's use after which the machines end themselves; 0 is never.
    :param hosts: names of those that know.
    :param failed: name of every other one -> why.
    """

    minutes: int
    hosts: tuple[str, ...]
    failed: Mapping[str, Exception]


def extend(inventory: Inventory, hours: float) -> ExtendReport:
    """Let all running machines live some hours longer than they would, as far as ``max_dollars`` allows.

    :param hours: added to the time that each has left.
    :raises UsageError: no machine is up, or that would be longer than any may live.
    """
    up = inventory.running()
    now = datetime.now(UTC)
    wanted = {each.id: max(now, each.expires_at or now) + timedelta(hours=hours) for each in up}
    if hours <= 0 or max(wanted.values()) > now + timedelta(hours=MAX_HOURS):
        raise UsageError(
            f"{hours:g} h: machines can have up to {MAX_HOURS:g} h left", fix=NextStep("Extend", 2) + " adds two hours"
        )
    budgets = {run: _budget(inventory, machines) for run, machines in _launches(up).items()}

    def words(each: instances.Instance) -> Sequence[str]:
        minutes = max(1, round((wanted[each.id] - now).total_seconds() / 60))
        return [str(minutes), str(budgets[each.launch_id] or _UNCHANGED), _UNCHANGED]

    timers = _set_timers(inventory, {each.name: (inventory.host(each), words(each)) for each in up})
    known = {each.id: timers[each.name].unwrap() for each in up if timers[each.name].ok}
    instance_tags.tag_expiry(inventory.context.clients, {key: timer.expires_at for key, timer in known.items()})
    hosts = tuple(_extended(each, known[each.id], wanted[each.id]) for each in up if each.id in known)
    return ExtendReport(
        hosts, timers.errors, _at_most(inventory, up, known), inventory.context.settings.cluster.max_dollars
    )


def tag_expiry_after_start(inventory: Inventory, names: Collection[str]) -> None:
    """Have the tags of machines that were just started say when they end themselves, which their own timers know.

    A start begins max_hours anew, but the dollars that were spent before stay spent. Where a machine does not answer,
    its tag says the latest that its end can be.
    """
    up = [each for each in inventory.instances() if each.name in names and each.state == "running"]
    try:
        timers = _set_timers(inventory, {each.name: (inventory.host(each), [_UNCHANGED] * 3) for each in up})
        ends = {one.host.identity: one.value.expires_at for one in timers.values() if one.value}
        instance_tags.tag_expiry(inventory.context.clients, ends)
        unknown = [str(error) for error in timers.errors.values()]
    except StratusError as error:
        unknown = [str(error)]
    for why in unknown:
        inventory.context.on_event(
            Event("", "timer", "warning", text=f"an end may be tagged too late: {why.splitlines()[0]}")
        )


def set_idle_shutdown(inventory: Inventory, minutes: int) -> IdleShutdownReport:
    """Have all running machines end themselves after some minutes without a job, an SSH session or GPU use.

    :param minutes: 0 turns it off.
    """
    if not 0 <= minutes <= MAX_HOURS * 60:
        raise UsageError(f"{minutes} minutes: 0 (never) to {MAX_HOURS * 60:g}", fix=NextStep("IdleShutdown", 30))
    up = inventory.running()
    timers = _set_timers(
        inventory, {each.name: (inventory.host(each), [_UNCHANGED, _UNCHANGED, str(minutes)]) for each in up}
    )
    return IdleShutdownReport(minutes, tuple(timers.succeeded), timers.errors)


def _launches(machines: Sequence[instances.Instance]) -> dict[str, list[instances.Instance]]:
    found: dict[str, list[instances.Instance]] = {}
    for each in machines:
        found.setdefault(each.launch_id, []).append(each)
    return found


def _budget(inventory: Inventory, machines: Sequence[instances.Instance]) -> int:
    """Return the minutes that the machines of one launch may live by today's ``max_dollars``; 0 without one.

    A config without a cap leaves the one that the machines were launched with.
    """
    # Of spot machines the listed price counts: theirs may rise that far.
    rates = [inventory.usd_per_hour(replace(each, is_spot=False)) for each in machines]
    dearest = None if None in rates else max(rate for rate in rates if rate is not None)
    per_hour = None if dearest is None else dearest * max(len(machines), *(each.launch_size for each in machines))
    what = f"{len(machines)} x {machines[0].type}"
    return time_limits.budget_minutes(inventory.context.settings.cluster.max_dollars, per_hour, description=what)


def _set_timers(
    inventory: Inventory, todo: Mapping[str, tuple[Host, Sequence[str]]]
) -> parallel.Outcomes[ShutdownTimer]:
    def one(host: Host) -> ShutdownTimer:
        command = remote_scripts.inline_command("extend.sh", *todo[host.name][1])
        return _timer(
            host, inventory.context.ssh.run(host, command, timeout_s=45).raise_if_failed("setting the timer").stdout
        )

    return inventory.context.runtime.for_each(
        [host for host, _ in todo.values()], one, clock=inventory.context.clock, timeout_s=TIMER_TIMEOUT_S
    )


def _timer(host: Host, said: str) -> ShutdownTimer:
    words = next((line.split() for line in said.splitlines() if line.startswith("@@until ")), [])
    if len(words) != 5 or not all(word.lstrip("-").isdecimal() for word in words[1:]):
        raise HostError(
            "it has no timer of ours, so its end cannot be moved",
            where=host.name,
            fix=NextStep("TerminateAll") + " terminates it; VMs that are launched now have one",
        )
    epoch, budget, used, idle = map(int, words[1:])
    return ShutdownTimer(datetime.fromtimestamp(epoch, UTC), budget, used, idle)


def _extended(each: instances.Instance, timer: ShutdownTimer, wanted: datetime) -> ExtendedHost:
    return ExtendedHost(
        each.name,
        each.expires_at,
        timer.expires_at,
        is_budget_limited=bool(timer.budget_minutes) and timer.expires_at < wanted - _NEAR,
    )


def _at_most(
    inventory: Inventory, up: Sequence[instances.Instance], timers: Mapping[str, ShutdownTimer]
) -> Decimal | None:
    """Return what the machines will have cost when all have ended themselves."""
    ends = {each.id: timers[each.id].expires_at if each.id in timers else each.expires_at for each in up}
    return cost.total(
        cost.cost_since(inventory.usd_per_hour(each), each.launched_at, end) if (end := ends[each.id]) else None
        for each in up
    )
