"""Automatic shutdown of running instances: each keeps a timer of its own, which is set over SSH; its tag follows.

The timer on the instance decides: it counts the minutes of its budget over all boots, and answers with the time of
shutdown that now holds.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from orchestrator.aws.ec2 import instance_tags
from orchestrator.aws.ec2.instances import Instance
from orchestrator.aws.launch import time_limits
from orchestrator.cluster.inventory import Inventory
from orchestrator.core import cost, remote_scripts
from orchestrator.core.errors import HostError, StratusError, UsageError, first_line
from orchestrator.core.events import Event
from orchestrator.core.next_step import NextStep
from orchestrator.hosts import parallel

if TYPE_CHECKING:
    from orchestrator.core.host import Host

COMMAND_TIMEOUT_S = 45.0
"""For one host: extend.sh itself waits up to 25 s for the end of its boot."""

TIMER_TIMEOUT_S = 60.0
MAX_HOURS = 720.0
"""Upper bound of ``max_hours``; the certificates of runs are valid for little longer."""

_UNCHANGED = "-"
_ROUNDING = timedelta(minutes=3)
"""A shutdown that is less than this earlier than requested is due to whole minutes, not to the budget."""


@dataclass(frozen=True)
class ShutdownTimer:
    """State of an instance's shutdown timer, as the instance reports it.

    :param budget_minutes: upper bound of its time over all boots; 0 is no bound.
    :param used_minutes: its time so far, over all boots.
    :param idle_minutes: minutes without use until it shuts down; 0 is never.
    """

    expires_at: datetime
    budget_minutes: int
    used_minutes: int
    idle_minutes: int


@dataclass(frozen=True)
class ExtendedHost:
    """One instance whose shutdown was postponed.

    :param previous_expiry: time of its automatic shutdown before; None if it was not tagged.
    :param expires_at: time of its automatic shutdown now.
    :param is_budget_limited: True if that is earlier than requested, because ``max_dollars`` allows no more.
    """

    name: str
    previous_expiry: datetime | None
    expires_at: datetime
    is_budget_limited: bool


@dataclass(frozen=True)
class ExtendReport:
    """Outcome of Extend().

    :param failed: host name -> error; the shutdown of these is unchanged.
    :param max_cost_usd: from the start of all instances to their automatic shutdown; None when a price is unknown.
    :param max_dollars: the setting of that name; 0 is no cap.
    """

    hosts: tuple[ExtendedHost, ...]
    failed: Mapping[str, Exception]
    max_cost_usd: Decimal | None
    max_dollars: float


@dataclass(frozen=True)
class IdleShutdownReport:
    """Outcome of IdleShutdown().

    :param minutes: without use until the instances shut down; 0 is never.
    :param hosts: names of those whose timer was set.
    :param failed: host name -> error, of all others.
    """

    minutes: int
    hosts: tuple[str, ...]
    failed: Mapping[str, Exception]


def extend(inventory: Inventory, hours: float) -> ExtendReport:
    """Postpone the automatic shutdown of all running instances, as far as ``max_dollars`` allows.

    :param hours: added to the time that each has left.
    :raises UsageError: no instance is running, or one would have more than `MAX_HOURS` left.
    """
    context, running = inventory.context, inventory.running()
    now = context.clock.now()
    targets = _targets(running, now, hours)
    budgets, affordable = _budgets(inventory, running), _affordable_minutes(inventory, running)

    def arguments(instance: Instance) -> Sequence[str]:
        # Minutes from now, not a time: the clock of the instance may differ from this computer's.
        minutes = round((targets[instance.id] - now).total_seconds() / 60)
        minutes = max(1, min(minutes, affordable.get(instance.id, minutes)))
        return [str(minutes), str(budgets[instance.launch_id] or _UNCHANGED), _UNCHANGED]

    outcomes = _set_timers(inventory, running, arguments)
    # As the tags have it: Status() and Cost() show those.
    timers = {
        instance.id: _rounded(outcomes[instance.name].unwrap()) for instance in running if outcomes[instance.name].ok
    }
    # After the timers: a tag must not promise a shutdown that no timer performs.
    instance_tags.tag_expiry(context.clients, {key: timer.expires_at for key, timer in timers.items()})
    return ExtendReport(
        hosts=tuple(
            _extended(instance, timers[instance.id], targets[instance.id])
            for instance in running
            if instance.id in timers
        ),
        failed=outcomes.errors,
        max_cost_usd=_max_cost_usd(inventory, running, timers),
        max_dollars=context.settings.cluster.max_dollars,
    )


@dataclass(frozen=True)
class KeptLaunch:
    """Instances of a launch that stay up for a while after their job has failed.

    :param names: of those whose shutdown was moved to that time.
    :param usd: what they cost until then; None if unknown.
    """

    names: tuple[str, ...]
    minutes: int
    usd: Decimal | None


def keep_for(inventory: Inventory, launch_id: str, minutes: int) -> KeptLaunch:
    """Have the running instances of a launch shut down some minutes from now, or at their end if that is earlier.

    :raises HostsFailed: the timer of one could not be set; it still shuts down at its end.
    """
    context = inventory.context
    launched = [instance for instance in inventory.running() if instance.launch_id == launch_id]
    now = context.clock.now()

    def arguments(instance: Instance) -> Sequence[str]:
        left = minutes if instance.expires_at is None else (instance.expires_at - now).total_seconds() / 60
        return [str(max(1, min(minutes, int(left)))), _UNCHANGED, _UNCHANGED]

    outcomes = _set_timers(inventory, launched, arguments)
    timers = {
        outcome.host.identity: _rounded(outcome.value).expires_at for outcome in outcomes.values() if outcome.value
    }
    instance_tags.tag_expiry(context.clients, timers)
    outcomes.raise_if_failed("the shutdown timer could not be set")
    rate = cost.total(inventory.meter.usd_per_hour(instance) for instance in launched)
    usd = None if rate is None else rate * minutes / 60
    return KeptLaunch(tuple(instance.name for instance in launched), minutes, usd)


def tag_expiry_after_start(inventory: Inventory, names: Collection[str]) -> dict[str, datetime]:
    """Tag instances that were just started with their automatic shutdown, which their own timers decide.

    A start begins ``max_hours`` anew and does not take back what Extend() has granted: the later of the two ends holds.
    What was spent before still counts against ``max_dollars``. An instance that does not answer keeps its tag, which is
    the latest time possible.

    :param names: of the instances.
    :return: the time of the shutdown, by id, of those that answer.
    """
    context, unknown, expiries = inventory.context, list[str](), dict[str, datetime]()
    started = [instance for instance in inventory.instances() if instance.name in names and instance.state == "running"]
    now = context.clock.now()
    try:
        affordable = _affordable_minutes(inventory, started)

        def arguments(instance: Instance) -> Sequence[str]:
            # A boot alone does not move the end. The tag has the later of max_hours from now and what was granted.
            extended_s = (instance.expires_at - now).total_seconds() if instance.expires_at else 0.0
            minutes = max(time_limits.whole_minutes(instance.max_hours), int(extended_s / 60))
            minutes = max(1, min(minutes, affordable.get(instance.id, minutes), round(MAX_HOURS * 60)))
            return [str(minutes) if instance.max_hours else _UNCHANGED, _UNCHANGED, _UNCHANGED]

        outcomes = _set_timers(inventory, started, arguments)
        expiries = {
            outcome.host.identity: instance_tags.round_up(outcome.value.expires_at)
            for outcome in outcomes.values()
            if outcome.value
        }
        instance_tags.tag_expiry(context.clients, expiries)
        unknown += [first_line(error) for error in outcomes.errors.values()]
    except StratusError as error:
        unknown.append(first_line(error))
    for reason in unknown:
        context.on_event(Event("", "timer", "warning", text=f"the tagged shutdown time may be too late: {reason}"))
    return expiries


def check_budget(inventory: Inventory, stopped: Sequence[Instance]) -> None:
    """Check before instances are started that ``max_dollars`` leaves them time to do anything.

    :raises UsageError: it does not: they would shut down, and so terminate, right after their start.
    """
    affordable = _affordable_minutes(inventory, stopped)
    spent_up = [item.name for item in stopped if affordable.get(item.id, math.inf) < time_limits.MIN_MINUTES]
    if spent_up:
        raise UsageError(
            f"[cluster] max_dollars = {inventory.context.settings.cluster.max_dollars:g} is spent for "
            f"{' '.join(spent_up)}, disks included",
            fix="raise it in the config, then "
            + NextStep("StartAll")
            + "; "
            + NextStep("TerminateAll")
            + " ends the costs",
        )


def _affordable_minutes(inventory: Inventory, instances: Sequence[Instance]) -> dict[str, int]:
    """Return the minutes from now that ``max_dollars`` leaves instances, by id; none without a cap.

    The timers count minutes up; this counts dollars, those for the disks of stopped instances included.
    """
    cap_usd, meter = inventory.context.settings.cluster.max_dollars, inventory.meter
    if not cap_usd:
        return {}
    launch_sizes = Counter(instance.launch_id for instance in instances)
    for instance in instances:
        # Instances of a launch that are gone have spent their share.
        launch_sizes[instance.launch_id] = max(launch_sizes[instance.launch_id], instance.launch_size)
    spent = meter.costs(instances, inventory.context.clock.now())
    minutes: dict[str, int] = {}
    for instance in instances:
        rate, spent_usd = meter.usd_per_hour(replace(instance, is_spot=False)), spent[instance.id].at_most
        if rate and spent_usd is not None:
            share = Decimal(str(cap_usd)) / launch_sizes[instance.launch_id]
            minutes[instance.id] = max(0, int((share - spent_usd) / rate * 60))
    return minutes


def set_idle_shutdown(inventory: Inventory, minutes: int) -> IdleShutdownReport:
    """Have all running instances shut down after some minutes without a job, busy notebook, SSH session or GPU use.

    :param minutes: 0 turns it off.
    """
    if not 0 <= minutes <= MAX_HOURS * 60:
        raise UsageError(f"{minutes} minutes: 0 (never) to {MAX_HOURS * 60:g}", fix=NextStep("IdleShutdown", 30))
    context = inventory.context
    outcomes = _set_timers(inventory, inventory.running(), lambda _: [_UNCHANGED, _UNCHANGED, str(minutes)])
    ids = [outcome.host.identity for outcome in outcomes.values() if outcome.ok]
    try:
        with context.clients.translate_errors("tagging VMs with their idle time"):
            instance_tags.set_tag(context.clients, ids, instance_tags.IDLE, str(minutes))
    except StratusError as error:
        # IAM policies of earlier versions do not allow the tag; the timers on the VMs are set anyway.
        text = f"the status will not show the idle shutdown: {first_line(error)}"
        context.on_event(Event("", "timer", "warning", text=text))
    return IdleShutdownReport(minutes, tuple(outcomes.succeeded), outcomes.errors)


def _targets(instances: Sequence[Instance], now: datetime, hours: float) -> dict[str, datetime]:
    """Return the requested time of shutdown of each instance, by its id.

    :raises UsageError: one is too late, or earlier than before.
    """
    # An instance that is about to shut down may have a tag with a time in the past.
    targets = {instance.id: max(now, instance.expires_at or now) + timedelta(hours=hours) for instance in instances}
    if hours <= 0 or max(targets.values()) > now + timedelta(hours=MAX_HOURS):
        raise UsageError(
            f"{hours:g} h: VMs can have up to {MAX_HOURS:g} h left", fix=NextStep("Extend", 2) + " adds two hours"
        )
    return targets


def _budgets(inventory: Inventory, instances: Sequence[Instance]) -> dict[str, int]:
    """Return the budget in minutes of each launch, by its id."""
    by_launch = defaultdict[str, list[Instance]](list)
    for instance in instances:
        by_launch[instance.launch_id].append(instance)
    return {launch_id: _budget_minutes(inventory, launched) for launch_id, launched in by_launch.items()}


def _budget_minutes(inventory: Inventory, launched: Sequence[Instance]) -> int:
    """Return the minutes that ``max_dollars`` allows each instance of one launch; 0 without a cap.

    Without a cap in the settings, the instances keep the one that they were launched with.
    """
    # At the on-demand price, which a spot price can rise to.
    rates = [inventory.usd_per_hour(replace(instance, is_spot=False)) for instance in launched]
    highest = None if None in rates else max(rate for rate in rates if rate is not None)
    # One budget for the whole launch: instances of it that are gone have spent their share.
    count = max(len(launched), *(instance.launch_size for instance in launched))
    return time_limits.budget_minutes(
        inventory.context.settings.cluster.max_dollars,
        None if highest is None else highest * count,
        description=f"{len(launched)} x {launched[0].type}",
    )


def _set_timers(
    inventory: Inventory, instances: Sequence[Instance], arguments: Callable[[Instance], Sequence[str]]
) -> parallel.Outcomes[ShutdownTimer]:
    """Set the timers of instances over SSH, and return what each host reports.

    :param arguments: returns the arguments of ``extend.sh`` for an instance: minutes, budget, idle minutes.
    """
    context = inventory.context
    by_name = {instance.name: instance for instance in instances}

    def set_timer(host: Host) -> ShutdownTimer:
        command = remote_scripts.inline_command("extend.sh", *arguments(by_name[host.name]))
        result = context.ssh.run(host, command, timeout_s=COMMAND_TIMEOUT_S)
        return _parse_timer(host, result.raise_if_failed("setting the shutdown timer").stdout)

    hosts = [inventory.host(instance) for instance in instances]
    return context.runtime.for_each(hosts, set_timer, clock=context.clock, timeout_s=TIMER_TIMEOUT_S)


_NUMBER = re.compile(r"-?[0-9]{1,11}")
"""Seconds or minutes that a host reports; more digits are beyond any date."""


def _parse_timer(host: Host, stdout: str) -> ShutdownTimer:
    """Return the timer of the line ``@@until EPOCH BUDGET USED IDLE``; the host may print other lines as well."""
    fields = next((line.split() for line in stdout.splitlines() if line.startswith("@@until ")), [])
    if len(fields) != 5 or not all(_NUMBER.fullmatch(field) for field in fields[1:]):
        raise HostError(
            "it has no shutdown timer of Stratus to change",
            where=host.name,
            fix=NextStep("TerminateAll") + " terminates it; VMs that are launched now have one",
        )
    epoch_s, budget, used, idle = map(int, fields[1:])
    return ShutdownTimer(datetime.fromtimestamp(epoch_s, UTC), budget, used, idle)


def _rounded(timer: ShutdownTimer) -> ShutdownTimer:
    return replace(timer, expires_at=instance_tags.round_up(timer.expires_at))


def _extended(instance: Instance, timer: ShutdownTimer, target: datetime) -> ExtendedHost:
    is_early = timer.expires_at < target - _ROUNDING
    return ExtendedHost(instance.name, instance.expires_at, timer.expires_at, bool(timer.budget_minutes) and is_early)


def _max_cost_usd(
    inventory: Inventory, instances: Sequence[Instance], timers: Mapping[str, ShutdownTimer]
) -> Decimal | None:
    """Return the cost of instances from their launch to their automatic shutdown; None if it is unknown for any."""
    expiries = {instance.id: instance.expires_at for instance in instances}
    expiries |= {key: timer.expires_at for key, timer in timers.items()}
    costs = inventory.meter.until_expiry(instances, inventory.context.clock.now(), expiries)
    return cost.total(amount.at_most for amount in costs.values())
