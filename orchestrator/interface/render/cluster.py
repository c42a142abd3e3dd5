"""Records as text. Pure: every function takes a record and returns lines; nothing here prints or asks anything.

Lines are written for the shell (``Next: InstallDeps()``); :mod:`orchestrator.interface.verbs.jobs` rewords them for the
command line.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from orchestrator.interface.render import account, hosts, leftovers, runs, stopped, units
from orchestrator.interface.render.failures import failures
from orchestrator.interface.render.units import columns, duration

if TYPE_CHECKING:
    from orchestrator.aws.ec2.state_changes import InstanceResult
    from orchestrator.aws.launch.plan import LaunchPlan
    from orchestrator.cluster.launcher import LaunchReport
    from orchestrator.cluster.readiness import HostReady
    from orchestrator.cluster.status import ClusterStatus, Machine
    from orchestrator.cluster.terminate import TerminateReport
    from orchestrator.hosts.tunnels import Dashboard
    from orchestrator.install.installer import HostInstall, InstallReport

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
    access = f"{_access(','.join(plan.sources) or ssh_from)}, host keys pinned"
    lines = ["", f"  Plan   {', '.join(what)}", f"  Price  {_price(plan)}"]
    lines += [f"         {plan.price.source}"] if plan.price else []
    lines.append(f"  Limit  {_limit(plan):<42}Access  {access}" if plan.limit else f"  Access {access}")
    return [*lines, *(f"  Note   {note}" for note in plan.notes)]


def _limit(plan: LaunchPlan) -> str:
    limit = plan.limit
    if limit is None or limit.limit is None:
        return "vCPU quota unknown"
    used = "" if limit.in_use is None else f" ({limit.in_use:,} in use)"
    return f"{limit.needed:,} of {limit.limit:,} vCPU{used}"


def _where(plan: LaunchPlan) -> str:
    zones = plan.place.zones
    return f"{plan.region} ({zones[0] if len(zones) == 1 else 'any zone'})"


def _access(ssh_from: str) -> str:
    ranges = [part.strip() for part in ssh_from.split(",")]
    if ranges == ["auto"]:
        return "ssh from your address only"
    if any(part.endswith("/0") for part in ranges):
        return "ssh from ANYWHERE"
    return f"ssh from {', '.join(part.removesuffix('/32') for part in ranges)} only"


def _price(plan: LaunchPlan) -> str:
    one = f"{_each(plan)} each, disks {units.unit_price(plan.disk_per_hour)} each"
    lasts = f"ends itself after {units.hours(plan.max_hours)}"
    if plan.capped:
        lasts = f"ends itself after {duration(plan.hours * 3600)}: max_dollars = {plan.max_dollars:g}"
    if plan.per_hour is None:
        return f"{one}  = {units.UNKNOWN}  {lasts}"
    return f"{one}  = {units.rate(plan.per_hour)}  at most {units.usd(plan.at_most)} if you forget it ({lasts})"


def _each(plan: LaunchPlan) -> str:
    listed = units.unit_price(plan.price_per_hour)
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


def _ready(host: HostReady) -> Sequence[str]:
    times = [f"{phase} {duration(getattr(host, phase))} " for phase in ("pending", "boot", "ssh")]
    return [host.name, "ready", host.zone, *times]


def _spread(hosts: Sequence[HostReady]) -> str:
    def phase(name: str) -> str:
        times = [float(getattr(host, name)) for host in hosts]
        return f"{name} {min(times):.1f} to {duration(max(times))}"

    return "   ".join(phase(name) for name in ("pending", "boot", "ssh")) + "."


def install(report: InstallReport) -> Lines:
    """Show what an install did on every host, step by step."""
    many = len(report.hosts) > MANY
    lines = [] if many else columns([_installed(host) for host in report.hosts])
    lines += failures(report.failed)
    if not report.changed and not report.failed:
        return [*lines, f"  Nothing to do, {duration(report.seconds)}.  {AFTER_INSTALL}"]
    hosts = f" on {len(report.hosts)} hosts" if many else ""
    did = f"{units.count(report.changed, 'step')} changed something{hosts}, {len(report.failed)} failed"
    return [*lines, f"  {did}, {duration(report.seconds)}.  {'' if report.failed else AFTER_INSTALL}".rstrip()]


AFTER_INSTALL = "Next: RunSingleVMComputing() or RunMultiVMComputing()"


def _installed(host: HostInstall) -> Sequence[str]:
    times = [f"{step.name}{_took(step.state, step.seconds)} " for step in host.steps]
    return [host.host, "done" if host.changed else "unchanged", *times]


def _took(state: str, seconds: float) -> str:
    return "" if state == "unchanged" else f" {duration(seconds)}"


def status(status: ClusterStatus) -> Lines:
    """Show every machine of the cluster and what they cost together."""
    others = account.not_ours(status.foreign)
    if not status.machines:
        return [f"  0 instances of cluster {status.cluster} in {status.region}.  Next: LaunchInstances()", *others]
    lines = columns([_machine(machine, status.at) for machine in status.machines])
    return [*lines, f"  {up(status)}", *others]


def _machine(machine: Machine, at: datetime) -> Sequence[str]:
    age = f"up {duration((at - machine.launched).total_seconds())}" if machine.launched and machine.is_billed else ""
    age = stopped.age(machine, at) if machine.is_stopped else age
    until = f"ends {units.clock(machine.expires, at)}" if machine.expires and machine.is_billed else ""
    price = units.unit_price(machine.per_hour) if machine.is_billed else ""
    price = f"disk {units.unit_price(machine.disk_per_hour)}" if machine.is_stopped else price
    return [machine.name, machine.state, machine.type, machine.zone, machine.address, age, until, price]


def up(status: ClusterStatus) -> str:
    """Say in one line what runs, what it costs and when it ends itself."""
    running = len(status.up)
    if not running:
        return f"0 up{_stopped(status)}."
    spent = "" if status.spent is None else f", {units.usd(status.spent)} so far"
    return f"{running} up, {units.rate(status.per_hour)}{spent}{_stopped(status)}.  {_end(status)}"


def _stopped(status: ClusterStatus) -> str:
    asleep = len(status.stopped)
    return f", {asleep} stopped (disks are still billed: {units.rate(status.stopped_per_hour)})" if asleep else ""


def _end(status: ClusterStatus) -> str:
    one = len(status.up) == 1
    if status.expires is None:
        return "They do not all end themselves: TerminateAll() does." if not one else "It does not end itself."
    return f"{'It ends itself' if one else 'They end themselves'} {units.ends(status.expires, status.at)}."


def leaving(status: ClusterStatus, command: str) -> Lines:
    """Say what runs on after the shell is gone; nothing when nothing does.

    :param command: what ends it from any other shell.
    """
    running = len(status.up)
    if not running:
        return stopped.left(status)
    one = running == 1
    end = "" if status.expires is None else f", {'it ends itself' if one else 'they end themselves'} "
    end += "" if status.expires is None else units.ends(status.expires, status.at)
    still = f"{units.count(running, 'instance')} still run{'s' if one else ''}: {units.rate(status.per_hour)}{end}."
    return [still, *stopped.left(status), f"TerminateAll from any shell:  {command}"]


def prompt(label: str, status: ClusterStatus | None) -> str:
    """Return the shell's prompt: ``aws [2 up $0.73/h]: ``."""
    if status is None:
        return f"{label} [...]: "
    running = len(status.up)
    price = f" {units.rate(status.per_hour)}" if running else ""
    asleep = len(status.stopped)
    return f"{label} [{running} up{price}{f', {asleep} stopped' if asleep else ''}]: "


def instances(results: Iterable[InstanceResult]) -> Lines:
    """Show what stopping or starting did to each instance."""
    found = list(results)
    if not found:
        return ["  No instance of this cluster."]
    lines = columns([[one.name, one.state, one.error] for one in found])
    if {one.state for one in found} == {"stopped"}:
        lines += stopped.kept(one.disk_per_hour for one in found)
    return lines


def terminated(report: TerminateReport) -> Lines:
    """Say that everything is gone, or what is not, thing by thing."""
    ended = [one.name for one in report.instances if one.state == "terminated"]
    gone = [f"{name} terminated" for name in ended] if len(ended) <= MANY else [f"{len(ended)} instances terminated"]
    kept = (("security group", report.group), ("key pair", report.key))
    gone += [f"{what} gone" for what, state in kept if state == "gone"]
    lines = [*([f"  {'   '.join(gone)}"] if gone else []), *account.not_ours(report.foreign)]
    if report.left:
        return lines
    if not report.instances and not gone:
        nothing = [*lines, "  There was nothing to terminate: 0 instances running."]
        return [*nothing, f"  {report.note}"] if report.note else nothing
    return [*lines, f"  0 instances running. {_total(report.spent, bool(report.instances))}".rstrip()]


def _total(spent: Decimal | None, any_instance: bool) -> str:
    if not any_instance:
        return ""
    return "What this cluster cost: price unknown." if spent is None else f"This cluster cost {units.usd(spent)}."


def dashboard(dashboard: Dashboard) -> Lines:
    """Say where a dashboard can be seen."""
    return [f"  {dashboard.url}   open until you leave"]


def settings(rows: Iterable[tuple[str, str, str, str]]) -> Lines:
    """Show every setting with its value and where that comes from."""
    return columns([[f"[{section}]", name, value.replace("\n", " "), origin] for section, name, value, origin in rows])


def of(record: object) -> Lines:
    """Return any record as its verb shows it; nothing for what no verb answers with."""
    now = datetime.now(UTC)
    if isinstance(record, tuple | list):
        return _several(record, now)
    kind = type(record).__name__
    if account.knows(kind):
        return account.of(record, now)
    if hosts.knows(kind):
        return hosts.of(record)
    if kind == "RecoverReport":
        return leftovers.recovered(record, now)  # type: ignore[arg-type]
    shows = {
        "ClusterStatus": status,
        "LaunchReport": launch,
        "InstallReport": install,
        "RunHandle": runs.started,
        "RunResult": runs.finished,
        "CancelReport": runs.cancelled,
        "RunRecord": runs.fetched,
        "TerminateReport": terminated,
        "Dashboard": dashboard,
    }
    return shows[kind](record) if kind in shows else []  # type: ignore[operator]


def _several(records: Sequence[Any], now: datetime) -> Lines:
    kinds = {type(record).__name__ for record in records}
    if kinds == {"RunSummary"}:
        return runs.runs(records, now)
    if kinds == {"InstanceResult"}:
        return instances(records)
    if kinds == {"Offer"}:
        return account.offers(records)
    return [line for record in records for line in of(record)]
