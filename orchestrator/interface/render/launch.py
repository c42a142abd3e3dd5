"""Text and JSON documents of launches: plan, outcome, and launches that were interrupted."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from orchestrator.aws.ingress.access import PortRange
from orchestrator.aws.launch.plan import LaunchPlan
from orchestrator.cluster.launcher import LaunchReport
from orchestrator.cluster.readiness import HostStartup
from orchestrator.cluster.recovery import InterruptedLaunch, RecoverReport
from orchestrator.core.next_step import NextStep, Text, join
from orchestrator.interface.render import units
from orchestrator.interface.render.billed import disks
from orchestrator.interface.render.cluster import other_settings, same_role
from orchestrator.interface.render.registry import Document, Lines, document, lines
from orchestrator.interface.render.styles import Styled, failures, line, state
from orchestrator.interface.render.units import columns, duration

MANY = 20
"""More hosts than this are summed up instead of listed."""

INDENT = " " * 9


def plan(plan: LaunchPlan, *, image: str, ssh_from: str) -> Lines:
    """Return what a launch brings and what it costs.

    :param image: the setting of that name, which its author recognizes sooner than the image's id.
    :param ssh_from: the setting of that name: ``auto``, or address ranges.
    """
    # The image by its setting: ubuntu-24.04 says more than ami-0abc.
    gpus = f", {units.count(plan.gpus, 'GPU')}" if plan.gpus else ""
    shape = f"{plan.vcpus} vCPU, {plan.memory_gib:g} GiB{gpus}"
    image = f"{image} (baked: installed already)" if plan.image.base_id else image
    machines = [f"{plan.count} x {plan.instance_type} ({shape})", image, _disk(plan), _region(plan)]
    # The plan's addresses, because "auto" does not show whether the right network was detected.
    access = f"{_access(','.join(plan.ssh_sources) or ssh_from)}, host keys pinned"
    table: Lines = ["", line(_heading("Plan"), join(", ", machines)), *_price(plan)]
    table += [line(_heading("Placed"), text) for text in _coupling(plan)]
    table += [line(_heading("Disks"), text) for text in disks.volumes(plan)]
    table += [line(_heading("Files"), text) for text in disks.file_systems(plan)]
    table += [line(_heading("Quota"), _quota(plan))] if plan.quota else []
    table.append(line(_heading("Access"), access))
    table += [line(_heading("Ports"), _exposed(ports)) for ports in plan.open_ports]
    table += [line(_heading("VMs"), _existing(plan))] if plan.existing_names else []
    return [*table, *(line(_heading("Note"), warning) for warning in plan.warnings)]


def _coupling(plan: LaunchPlan) -> Lines:
    """Return how tightly coupled VMs are placed and connected; nothing for others."""
    parts = ["next to each other in one zone (placement group)"] if plan.is_clustered else []
    if plan.has_efa:
        efas, most = plan.efa_interfaces, plan.type_info.efa_interfaces
        why = "" if efas == most else " (VMs without public addresses use all of them: [ssh] address = private)"
        parts.append(f"EFA on {efas} of {units.count(most, 'network card')}{why}")
    return [", ".join(parts)] if parts else []


def _existing(plan: LaunchPlan) -> Text:
    """Return which VMs the cluster has already, and how many it will have; stopped ones need no launch."""
    stopped = plan.stopped_names
    up = [name for name in plan.existing_names if name not in stopped]
    groups = [(up, "already up"), (stopped, "stopped")]
    present = "; ".join(f"{_named(names)} {state}" for names, state in groups if names)
    total = f": {units.count(len(plan.existing_names) + plan.count, 'VM')} in total after this launch"
    start = ("; ", NextStep("StartAll"), " starts the stopped instead") if stopped else ()
    return line(present, total, *start, ".")


def _named(names: Sequence[str]) -> str:
    return " ".join(names) if len(names) <= MANY else f"{len(names)} VMs"


def _heading(word: str) -> str:
    return Styled(f"  {word:<6} ", "heading")


def _disk(plan: LaunchPlan) -> Text:
    size = f"{plan.disk.type} {plan.disk.size} GiB"
    return f"{size} encrypted" if plan.disk.encrypted else line(f"{size}, ", Styled("NOT encrypted", "bad"))


def _quota(plan: LaunchPlan) -> str:
    quota = plan.quota
    if quota is None or quota.limit is None:
        # Reading quotas needs a permission of its own; a launch may do without.
        return "vCPU quota unknown"
    used = "" if quota.in_use is None else f" ({quota.in_use:,} in use)"
    return f"{quota.needed:,} of {quota.limit:,} vCPU{used}"


def _region(plan: LaunchPlan) -> str:
    zones = plan.placement.zones
    return f"{plan.region} ({zones[0] if len(zones) == 1 else 'any zone'})"


def _access(ssh_from: str) -> str:
    ranges = [part.strip() for part in ssh_from.split(",")]
    if ranges == ["auto"]:
        return "ssh from your address only"
    if any(part.endswith("/0") for part in ranges):
        # /0 is the whole internet.
        return "ssh from ANYWHERE"
    return f"ssh from {', '.join(part.removesuffix('/32') for part in ranges)} only"


_SERVICES = {80: "http, unencrypted", 443: "https", 8888: "Jupyter: its token is all that protects the VM"}


def _exposed(ports: PortRange) -> Text:
    """Return what opening ports exposes."""
    numbers = f"{ports.first}" if ports.first == ports.last else f"{ports.first}-{ports.last}"
    service = f" ({_SERVICES[ports.first]})" if ports.first == ports.last and ports.first in _SERVICES else ""
    if ports.network == "0.0.0.0/0":
        rest = ": anyone on the internet reaches what listens there"
        return line(f"{numbers}{service} open to ", Styled("ANYONE", "bad"), rest)
    whose = ports.network.removesuffix("/32")
    reach = "this address reaches" if whose != ports.network else "every computer there reaches"
    return f"{numbers}{service} open to {whose}: {reach} what listens there"


def _price(plan: LaunchPlan) -> Lines:
    address = f", addresses {units.unit_price(plan.address_usd_per_hour)} each" if plan.has_public_addresses else ""
    prices = f"{_each(plan)} each, disks {units.unit_price(plan.disk_usd_per_hour)} each{address}  = "
    source = f"   ({plan.price.source})" if plan.price else ""
    limit = f"shuts down automatically after {units.hours(plan.max_hours)}"
    if plan.is_budget_limited:
        # Shorter than max_hours: the budget, not the time limit, decides here.
        limit = f"shuts down automatically after {duration(plan.hours * 3600)}: max_dollars = {plan.max_dollars:g}"
    if plan.usd_per_hour is None:
        return [line(_heading("Price"), prices, Styled(units.UNKNOWN, "bad"), source), f"{INDENT}{limit}"]
    total = Styled(units.rate(plan.usd_per_hour), "money")
    most = Styled(units.usd(plan.max_cost_usd), "money")
    return [
        line(_heading("Price"), prices, total, source),
        line(f"{INDENT}at most ", most, f" if you forget it ({limit})"),
    ]


def _each(plan: LaunchPlan) -> str:
    # The on-demand price is the ceiling of a spot request.
    listed = units.unit_price(plan.usd_per_hour_each)
    if plan.market != "spot":
        return listed
    now = units.UNKNOWN if plan.spot_price is None else units.unit_price(plan.spot_price.usd)
    # Launches set no spot limit of their own: AWS then charges the on-demand price at most.
    return f"spot {now} now, {listed} at most"


@lines.register(LaunchReport)
def _(report: LaunchReport, _now: datetime) -> Lines:
    return launched(report, NextStep("InstallDeps"))


def launched(report: LaunchReport, next_step: Text) -> Lines:
    """Return the outcome of a launch.

    :param next_step: what to type next.
    """
    ready, total = len(report.ready), len(report.ready) + len(report.failed)
    table = [] if ready > MANY else columns([_ready(host) for host in report.ready])
    summary = f"  {ready} of {total} ready in {duration(report.seconds)}."
    summary += f"  {_spread(report.ready)}" if ready > MANY else ""
    return [*table, *failures(report.failed), line(summary, *(_after_launch(report, next_step) if ready else []))]


def _after_launch(report: LaunchReport, next_step: Text) -> list[Text]:
    ssh = NextStep("Ssh", report.ready[0].name)
    return ["  ", ssh, " opens a terminal on it.  Next: ", next_step]


def _ready(host: HostStartup) -> Sequence[str]:
    times = [f"{phase} {duration(seconds)} " for phase, seconds in host.phases.items()]
    return [host.name, state("ready"), host.zone, *times]


def _spread(hosts: Sequence[HostStartup]) -> str:
    def span(phase: str) -> str:
        times = [host.phases[phase] for host in hosts]
        return f"{phase} {min(times):.1f} to {duration(max(times))}"

    return "   ".join(span(phase) for phase in hosts[0].phases) + "."


def interrupted(launches: Sequence[InterruptedLaunch], now: datetime) -> Lines:
    """Return launches whose end was never recorded: what is left of each, since when, at what cost."""
    if not launches:
        return ["  No unfinished launches."]
    finish, terminate = NextStep("Recover", "finish"), NextStep("Recover", "terminate")
    choice = line("    ", finish, " waits until they answer SSH; ", terminate, " terminates them.")
    return [*(_interrupted(launch, now) for launch in launches), choice]


def _interrupted(launch: InterruptedLaunch, now: datetime) -> str:
    count = len(launch.instances)
    vms = units.count(count, "VM") if count else "no VM yet"
    # EC2 shows an instance only some time after RunInstances was answered.
    if launch.unconfirmed_count:
        vms += f", {launch.unconfirmed_count} more may still appear,"
    cost = f", about {units.usd(launch.spent_usd)}" if count else ""
    verb = "shuts" if count == 1 else "shut"
    end = f", {verb} down automatically {units.ends(launch.expires_at, now)}" if launch.expires_at else ""
    return f"  Unfinished launch {launch.launch_id}: {vms} since {launch.began_at.astimezone():%H:%M}{cost}{end}"


@lines.register(RecoverReport)
def _(report: RecoverReport, now: datetime) -> Lines:
    if report.terminated:
        # What remains is listed by the error that follows.
        count = sum(len(launch.instances) for launch in report.interrupted) - len(report.remaining)
        return [f"  {units.count(max(count, 0), 'VM')} terminated."]
    if not report.ready and not report.failed:
        others = [*same_role(report.same_role), *other_settings(report.elsewhere)]
        return [*interrupted(report.interrupted, now), *others]
    return [*columns([[host.name, state("ready")] for host in report.ready]), *failures(report.failed)]


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
        "elsewhere": document(report.elsewhere),
        "same_role": document(report.same_role),
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
