"""Text and JSON documents of launches: plan, outcome, and launches that were interrupted."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from orchestrator.aws.launch.plan import LaunchPlan
from orchestrator.cluster.launcher import LaunchReport
from orchestrator.cluster.readiness import HostStartup
from orchestrator.cluster.recovery import InterruptedLaunch, RecoverReport
from orchestrator.interface.render import units
from orchestrator.interface.render.failures import failures
from orchestrator.interface.render.registry import Document, document
from orchestrator.interface.render.units import columns, duration

MANY = 20
"""More hosts than this are summed up instead of listed."""

Lines = list[str]


def plan(plan: LaunchPlan, *, image: str, ssh_from: str) -> Lines:
    """Say what a launch would bring and what it costs, before anybody is asked.

    :param image: the setting of that name, which says more to its author than the name it led to.
    :param ssh_from: the setting of that name: ``auto``, or address ranges.
    """
    gpus = f", {units.count(plan.gpus, 'GPU')}" if plan.gpus else ""
    shape = f"{plan.vcpus} vCPU, {plan.memory_gib:g} GiB{gpus}"
    disk = f"{plan.disk.type} {plan.disk.size} GiB" + (" encrypted" if plan.disk.encrypted else ", NOT encrypted")
    what = [f"{plan.count} x {plan.instance_type} ({shape})", image, disk, _where(plan)]
    access = f"{_access(','.join(plan.ssh_sources) or ssh_from)}, host keys pinned"
    lines = ["", f"  Plan   {', '.join(what)}", f"  Price  {_price(plan)}"]
    lines += [f"         {plan.price.source}"] if plan.price else []
    lines.append(f"  Limit  {_limit(plan):<42}Access  {access}" if plan.quota else f"  Access {access}")
    return [*lines, *(f"  Note   {note}" for note in plan.warnings)]


def _limit(plan: LaunchPlan) -> str:
    limit = plan.quota
    if limit is None or limit.limit is None:
        return "vCPU quota unknown"
    used = "" if limit.in_use is None else f" ({limit.in_use:,} in use)"
    return f"{limit.needed:,} of {limit.limit:,} vCPU{used}"


def _where(plan: LaunchPlan) -> str:
    zones = plan.placement.zones
    return f"{plan.region} ({zones[0] if len(zones) == 1 else 'any zone'})"


def _access(ssh_from: str) -> str:
    ranges = [part.strip() for part in ssh_from.split(",")]
    if ranges == ["auto"]:
        return "ssh from your address only"
    if any(part.endswith("/0") for part in ranges):
        return "ssh from ANYWHERE"
    return f"ssh from {', '.join(part.removesuffix('/32') for part in ranges)} only"


def _price(plan: LaunchPlan) -> str:
    one = f"{_each(plan)} each, disks {units.unit_price(plan.disk_usd_per_hour)} each"
    lasts = f"ends itself after {units.hours(plan.max_hours)}"
    if plan.is_budget_limited:
        lasts = f"ends itself after {duration(plan.hours * 3600)}: max_dollars = {plan.max_dollars:g}"
    if plan.usd_per_hour is None:
        return f"{one}  = {units.UNKNOWN}  {lasts}"
    return (
        f"{one}  = {units.rate(plan.usd_per_hour)}  at most {units.usd(plan.max_cost_usd)} if you forget it ({lasts})"
    )


def _each(plan: LaunchPlan) -> str:
    listed = units.unit_price(plan.usd_per_hour_each)
    if plan.market != "spot":
        return listed
    now = "price unknown" if plan.spot_price is None else units.unit_price(plan.spot_price.usd)
    return f"spot {now} now, {listed} at most"


def launch(report: LaunchReport) -> Lines:
    """Show which hosts came up, how fast, and which did not and why."""
    ready, total = len(report.ready), len(report.ready) + len(report.failed)
    lines = [] if ready > MANY else columns([_ready(host) for host in report.ready])
    lines += failures(report.failed)
    summary = f"  {ready} of {total} ready in {duration(report.seconds)}."
    if ready > MANY:
        summary += f"  {_spread(report.ready)}"
    if ready:
        summary += f'  Ssh("{report.ready[0].name}") opens a terminal on it.  Next: InstallDeps()'
    return [*lines, summary]


def _ready(host: HostStartup) -> Sequence[str]:
    times = [f"{phase} {duration(seconds)} " for phase, seconds in host.phases.items()]
    return [host.name, "ready", host.zone, *times]


def _spread(hosts: Sequence[HostStartup]) -> str:
    def phase(name: str) -> str:
        times = [host.phases[name] for host in hosts]
        return f"{name} {min(times):.1f} to {duration(max(times))}"

    return "   ".join(phase(name) for name in hosts[0].phases) + "."


OFFER = '    Recover("finish") waits for their SSH; Recover("terminate") ends them.'


def leftovers(found: Sequence[InterruptedLaunch], now: datetime) -> list[str]:
    """Say what is left of launches that were never seen to end, since when, and what it has cost."""
    if not found:
        return ["  Nothing is left of any launch of this computer."]
    return [*(_one(each, now) for each in found), OFFER]


def _one(one: InterruptedLaunch, now: datetime) -> str:
    count = len(one.instances)
    what = units.count(count, "machine") if count else "no machine yet"
    if one.unconfirmed_count:
        what += f", {one.unconfirmed_count} more may still turn up,"
    money = f", about {units.usd(one.spent_usd)}" if count else ""
    ends = f", ends {units.ends(one.expires_at, now)}" if one.expires_at else ""
    began = f"{one.began_at.astimezone():%H:%M}"
    return f"  {what} from launch {one.launch_id} since {began}{money}{ends}: finish or terminate?"


def recovered(report: RecoverReport, now: datetime) -> list[str]:
    """Say what became of the leftovers."""
    if not report.interrupted:
        return leftovers((), now)
    if report.terminated:
        gone = sum(len(one.instances) for one in report.interrupted) - len(report.remaining)
        return [f"  {units.count(max(gone, 0), 'machine')} ended."]
    if not report.ready and not report.failed:
        return leftovers(report.interrupted, now)
    lines = [f"  {each.name}  ready" for each in report.ready]
    return [*lines, *(f"  {name}  {str(error).splitlines()[0]}" for name, error in report.failed.items())]


@document.register(LaunchReport)
def _(report: LaunchReport) -> Document:
    return {
        "launch": report.launch_id,
        "api_seconds": report.api_s,
        "ready": document(report.ready),
        "failed": document(report.failed),
        "seconds": report.seconds,
    }


@document.register(HostStartup)
def _(host: HostStartup) -> Document:
    return {
        "name": host.name,
        "zone": host.zone,
        "pending_seconds": host.pending_s,
        "boot_seconds": host.boot_s,
        "ssh_seconds": host.ssh_s,
    }


@document.register(RecoverReport)
def _(report: RecoverReport) -> Document:
    return {
        "leftovers": document(report.interrupted),
        "ready": document(report.ready),
        "failed": document(report.failed),
        "ended": report.terminated,
        "left": document(report.remaining),
    }


@document.register(InterruptedLaunch)
def _(launch: InterruptedLaunch) -> Document:
    return {
        "run": launch.launch_id,
        "since": document(launch.began_at),
        "machines": document(launch.instances),
        "may_come": launch.unconfirmed_count,
        "usd_per_hour": document(launch.usd_per_hour),
        "usd_spent": document(launch.spent_usd),
        "expires": document(launch.expires_at),
    }
