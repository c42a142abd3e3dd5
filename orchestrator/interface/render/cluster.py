"""Records as text. Pure: every function takes a record and returns lines; nothing here prints or asks anything.

Lines are written for the shell (``Next: InstallDeps()``); :mod:`orchestrator.interface.verbs.jobs` rewords them for the
command line.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from orchestrator.aws.ec2.state_changes import InstanceResult
from orchestrator.cluster.status import ClusterStatus, InstanceStatus
from orchestrator.cluster.terminate import TerminateReport
from orchestrator.hosts.tunnels import Dashboard
from orchestrator.interface.render import account, hosts, install, launch, runs, stopped, units
from orchestrator.interface.render.registry import Document, document
from orchestrator.interface.render.units import columns, duration

MANY = 20
"""More hosts than this are summed up instead of listed."""

Lines = list[str]


def status(status: ClusterStatus) -> Lines:
    """Show every machine of the cluster and what they cost together."""
    others = account.not_ours(status.other_owners)
    if not status.instances:
        return [f"  0 instances of cluster {status.cluster} in {status.region}.  Next: LaunchInstances()", *others]
    lines = columns([_machine(machine, status.at) for machine in status.instances])
    return [*lines, f"  {up(status)}", *others]


def _machine(machine: InstanceStatus, at: datetime) -> Sequence[str]:
    age = (
        f"up {duration((at - machine.launched_at).total_seconds())}"
        if machine.launched_at and machine.is_billed
        else ""
    )
    age = stopped.age(machine, at) if machine.is_stopped else age
    until = f"ends {units.clock(machine.expires_at, at)}" if machine.expires_at and machine.is_billed else ""
    price = units.unit_price(machine.usd_per_hour) if machine.is_billed else ""
    price = f"disk {units.unit_price(machine.disk_usd_per_hour)}" if machine.is_stopped else price
    return [machine.name, machine.state, machine.type, machine.zone, machine.address, age, until, price]


def up(status: ClusterStatus) -> str:
    """Say in one line what runs, what it costs and when it ends itself."""
    running = len(status.up)
    if not running:
        return f"0 up{_stopped(status)}."
    spent = "" if status.spent_usd is None else f", {units.usd(status.spent_usd)} so far"
    return f"{running} up, {units.rate(status.usd_per_hour)}{spent}{_stopped(status)}.  {_end(status)}"


def _stopped(status: ClusterStatus) -> str:
    asleep = len(status.stopped)
    return f", {asleep} stopped (disks are still billed: {units.rate(status.stopped_usd_per_hour)})" if asleep else ""


def _end(status: ClusterStatus) -> str:
    one = len(status.up) == 1
    if status.expires_at is None:
        return "They do not all end themselves: TerminateAll() does." if not one else "It does not end itself."
    return f"{'It ends itself' if one else 'They end themselves'} {units.ends(status.expires_at, status.at)}."


def leaving(status: ClusterStatus, command: str) -> Lines:
    """Say what runs on after the shell is gone; nothing when nothing does.

    :param command: what ends it from any other shell.
    """
    running = len(status.up)
    if not running:
        return stopped.left(status)
    one = running == 1
    end = "" if status.expires_at is None else f", {'it ends itself' if one else 'they end themselves'} "
    end += "" if status.expires_at is None else units.ends(status.expires_at, status.at)
    still = f"{units.count(running, 'instance')} still run{'s' if one else ''}: {units.rate(status.usd_per_hour)}{end}."
    return [still, *stopped.left(status), f"TerminateAll from any shell:  {command}"]


def prompt(label: str, status: ClusterStatus | None) -> str:
    """Return the shell's prompt: ``aws [2 up $0.73/h]: ``."""
    if status is None:
        return f"{label} [...]: "
    running = len(status.up)
    price = f" {units.rate(status.usd_per_hour)}" if running else ""
    asleep = len(status.stopped)
    return f"{label} [{running} up{price}{f', {asleep} stopped' if asleep else ''}]: "


def instances(results: Iterable[InstanceResult]) -> Lines:
    """Show what stopping or starting did to each instance."""
    found = list(results)
    if not found:
        return ["  No instance of this cluster."]
    lines = columns([[one.name, one.state, one.error] for one in found])
    if {one.state for one in found} == {"stopped"}:
        lines += stopped.kept(one.disk_usd_per_hour for one in found)
    return lines


def terminated(report: TerminateReport) -> Lines:
    """Say that everything is gone, or what is not, thing by thing."""
    ended = [one.name for one in report.instances if one.state == "terminated"]
    gone = [f"{name} terminated" for name in ended] if len(ended) <= MANY else [f"{len(ended)} instances terminated"]
    kept = (("security group", report.group_state), ("key pair", report.key_state))
    gone += [f"{what} gone" for what, state in kept if state == "gone"]
    lines = [*([f"  {'   '.join(gone)}"] if gone else []), *account.not_ours(report.other_owners)]
    if report.remaining:
        return lines
    if not report.instances and not gone:
        nothing = [*lines, "  There was nothing to terminate: 0 instances running."]
        return [*nothing, f"  {report.caveat}"] if report.caveat else nothing
    return [*lines, f"  0 instances running. {_total(report.spent_usd, bool(report.instances))}".rstrip()]


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
        return launch.recovered(record, now)  # type: ignore[arg-type]
    shows = {
        "ClusterStatus": status,
        "LaunchReport": launch.launch,
        "InstallReport": install.install,
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
    if kinds == {"Offering"}:
        return account.offers(records)
    return [line for record in records for line in of(record)]


@document.register(ClusterStatus)
def _(status: ClusterStatus) -> Document:
    return {
        "cluster": status.cluster,
        "region": status.region,
        "owner": status.owner,
        "machines": document(status.instances),
        "at": document(status.at),
        "foreign": document(status.other_owners),
        "usd_per_hour": document(status.usd_per_hour),
        "usd_per_hour_stopped": document(status.stopped_usd_per_hour),
        "usd_spent": document(status.spent_usd),
        "expires": document(status.expires_at),
    }


@document.register(InstanceStatus)
def _(instance: InstanceStatus) -> Document:
    return {
        "name": instance.name,
        "id": instance.id,
        "type": instance.type,
        "state": instance.state,
        "zone": instance.zone,
        "address": instance.address,
        "launched": document(instance.launched_at),
        "expires": document(instance.expires_at),
        "usd_per_hour": document(instance.usd_per_hour),
        "usd_per_hour_disk_each": document(instance.disk_usd_per_hour),
        "spot": instance.is_spot,
        "stopped": document(instance.stopped_at),
    }


@document.register(TerminateReport)
def _(report: TerminateReport) -> Document:
    return {
        "instances": document(report.instances),
        "group": report.group_state,
        "key": report.key_state,
        "usd_spent": document(report.spent_usd),
        "unsure": document(report.unconfirmed),
        "note": report.caveat,
        "foreign": document(report.other_owners),
        "left": document(report.remaining),
    }


@document.register(InstanceResult)
def _(result: InstanceResult) -> Document:
    return {
        "name": result.name,
        "id": result.id,
        "state": result.state,
        "error": result.error,
        "usd_per_hour_disk_each": document(result.disk_usd_per_hour),
    }
