"""Text and JSON documents of a cluster's state: status, stopping and starting, terminating."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from orchestrator.aws.ec2.state_changes import InstanceResult
from orchestrator.cluster.elsewhere import OtherCluster
from orchestrator.cluster.inventory import SameRoleOwner
from orchestrator.cluster.status import ClusterStatus, InstanceStatus
from orchestrator.cluster.terminate import TerminateReport
from orchestrator.core.cost import UNKNOWN, Amount
from orchestrator.core.next_step import Message, NextStep, Text
from orchestrator.hosts.tunnels import OpenTunnel
from orchestrator.interface.render import units
from orchestrator.interface.render.billed import managed, stopped
from orchestrator.interface.render.hosts import disk_warnings
from orchestrator.interface.render.registry import Document, Lines, document, lines, rows
from orchestrator.interface.render.styles import line, state
from orchestrator.interface.render.units import columns, duration

MANY = 20
"""More instances than this are summed up instead of listed."""


@lines.register(ClusterStatus)
def _(status: ClusterStatus, _now: datetime) -> Lines:
    # Shown without instances of one's own, too: they share the name, but TerminateAll() leaves them.
    problem = [f"  {status.owner_id_problem}"] if status.owner_id_problem else []
    others = [
        *managed.listed(status.managed, status.at),
        *_not_yours(status.other_owners),
        *same_role(status.same_role),
        *other_settings(status.elsewhere),
        *problem,
    ]
    if not status.instances:
        return [_no_instances(status), *others]
    machines = columns([cells(machine, status.at) for machine in status.instances])
    tunnels = columns([_tunnel(tunnel) for tunnel in status.tunnels])
    return [*machines, line("  ", up(status)), *disk_warnings(status.full_disks, status.at), *tunnels, *others]


def _tunnel(tunnel: OpenTunnel) -> Sequence[str]:
    target = tunnel.purpose or f"port {tunnel.remote_port}"
    return ["tunnel", f"{tunnel.address}:{tunnel.port}", f"{target} on {tunnel.host}", f"process {tunnel.pid}"]


def _no_instances(status: ClusterStatus) -> Message:
    none = f"  0 VMs of cluster {status.cluster} in {status.region}."
    # With an endpoint, say, a launch is not what comes next.
    return line(none) if status.managed.resources else line(none + "  Next: ", NextStep("LaunchInstances"))


def cells(machine: InstanceStatus, at: datetime) -> Sequence[str]:
    """Return a VM's row: name, state, type, zone, address, age, end, price."""
    age = stopped.age(machine, at) if machine.is_stopped else _uptime(machine, at)
    until = f"shuts down {units.clock(machine.expires_at, at)}" if machine.expires_at and machine.is_billed else ""
    price = units.unit_price(machine.usd_per_hour) if machine.is_billed else ""
    # A stopped instance is not free: AWS bills its disk until it is terminated.
    price = f"disk {units.unit_price(machine.disk_usd_per_hour)}" if machine.is_stopped else price
    return [machine.name, state(machine.state), machine.type, machine.zone, machine.address, age, until, price]


def _uptime(machine: InstanceStatus, at: datetime) -> str:
    # Of an instance that is no longer billed the age is of no interest.
    if not machine.launched_at or not machine.is_billed:
        return ""
    return f"up {duration((at - machine.launched_at).total_seconds())}"


def _not_yours(foreign: Sequence[str]) -> Lines:
    """Return a line on instances in a cluster of this name that belong to other owners; none when there are none."""
    listed = ", ".join(foreign[:MANY]) + (f" and {len(foreign) - MANY} more" if len(foreign) > MANY else "")
    return [f"  Not yours, never touched: {listed}."] if foreign else []


def same_role(owners: Sequence[SameRoleOwner]) -> Lines:
    """Return lines on instances that others, or other computers, launched with the caller's role."""
    lines: Lines = [f"  Launched with your role from elsewhere, not touched: {owner.summary}" for owner in owners]
    return [*lines, *(line("    ", fix) for fix in how_to_end_same_role(owners))]


def how_to_end_same_role(owners: Sequence[SameRoleOwner]) -> list[Text]:
    """Return how to terminate the instances of other owners behind the caller's role, a line for each owner."""
    return [
        NextStep("TerminateAll", owner=owner.owner) + " terminates them" + _how_to_own(owner.owner) for owner in owners
    ]


def _how_to_own(owner: str) -> str:
    is_id = not owner.startswith("arn:")
    return f"; [cluster] owner_id = {owner} in the config makes them yours" if is_id else ""


def other_settings(others: Sequence[OtherCluster]) -> Lines:
    """Return a line on each cluster of other settings with instances of this computer, and how to terminate them."""
    if not others:
        return []
    how = line("    ", NextStep("TerminateAll", everywhere=True), " terminates them as well.")
    return [*(f"  Launched from here under other settings: {other.summary}" for other in others), how]


def up(status: ClusterStatus) -> Text:
    """Return in one line what runs, its price, and when it shuts down."""
    running = len(status.up)
    if not running:
        return f"0 up{_stopped(status)}."
    known = status.spent != UNKNOWN
    spent = f", {units.amount(status.spent)} so far" if known else ""
    return line(f"{running} up, {units.rate(status.usd_per_hour)}{spent}{_stopped(status)}.  ", _end(status))


def _stopped(status: ClusterStatus) -> str:
    count = len(status.stopped)
    return f", {count} stopped (disks are still billed: {units.rate(status.stopped_usd_per_hour)})" if count else ""


def _end(status: ClusterStatus) -> Text:
    is_single = len(status.up) == 1
    if status.expires_at is None:
        which = "It does not shut" if is_single else "Not all of them shut"
        return line(
            f"{which} down automatically: ", NextStep("TerminateAll"), f" terminates {'it' if is_single else 'them'}."
        )
    idle = f", or after {status.idle_minutes} min without use" if status.idle_minutes else ""
    end = units.ends(status.expires_at, status.at)
    return f"{'It shuts' if is_single else 'They shut'} down automatically {end}{idle}."


def leaving(status: ClusterStatus, command: str) -> Lines:
    """Return on exit what keeps running, with its price; nothing when nothing does.

    :param command: command that terminates it from any other shell.
    """
    running = len(status.up)
    if not running:
        return [*stopped.left(status), *managed.left(status.managed)]
    still = f"{units.count(running, 'VM')} {'is' if running == 1 else 'are'} still running:"
    lines: Lines = [line(f"{still} {units.rate(status.usd_per_hour)}. ", _end(status))]
    return [*lines, *stopped.left(status), *managed.left(status.managed), f"To terminate from any shell:  {command}"]


def prompt(label: str, status: ClusterStatus | None) -> str:
    """Return the shell's prompt: ``aws [2 up $0.73/h]: ``."""
    if status is None:
        return f"{label} [...]: "
    # The prompt is drawn once per input: it has to fit before anything that is typed.
    running, stopped_count = len(status.up), len(status.stopped)
    managed_count = len(status.managed.resources)
    price = f" {units.rate(status.billed_usd_per_hour)}" if running or managed_count else ""
    others = sum(other.count for other in status.elsewhere)
    price = f", {managed_count} managed{price}" if managed_count else price
    rest = f"{f', {stopped_count} stopped' if stopped_count else ''}{f', {others} elsewhere' if others else ''}"
    return f"{label} [{running} up{price}{rest}]: "


@rows.register(InstanceResult)
def _(_first: InstanceResult, results: Sequence[InstanceResult], now: datetime) -> Lines:
    return instances(results, now)


def instances(results: Sequence[InstanceResult], now: datetime) -> Lines:
    """Return what stopping or starting did to each instance."""
    if not results:
        return ["  No VMs in this cluster."]
    table = columns([[result.name, _changed(result), result.error] for result in results])
    # Not after a failure: what is still running has another price.
    if {result.state for result in results} == {"stopped"}:
        table += stopped.kept(result.disk_usd_per_hour for result in results)
    if {result.state for result in results} == {"running"} and not any(result.error for result in results):
        table.append(_after_start(results, now))
    return table


def _changed(result: InstanceResult) -> str:
    return f"already {result.state}" if result.is_unchanged else state(result.state)


def _after_start(results: Sequence[InstanceResult], now: datetime) -> Text:
    ends = sorted((result.expires_at, result.name) for result in results if result.expires_at)
    run = NextStep("RunSingleVMComputing")
    if len(ends) < len(results):
        return line("  Next: ", run)
    # The first end is the one that a run on all of them has to be over by.
    first, name = ends[0]
    shutdown = f"down automatically {units.ends(first, now)}"
    if first == ends[-1][0]:
        return line(f"  {'It shuts' if len(results) == 1 else 'They shut'} {shutdown}.  Next: ", run)
    return line(f"  {name} shuts {shutdown}, others later: ", NextStep("Status"), " shows each.  Next: ", run)


@lines.register(TerminateReport)
def _(report: TerminateReport, _now: datetime) -> Lines:
    gone = _gone(report)
    listed: Lines = [f"  {'   '.join(gone)}"] if gone else []
    listed += _not_yours(report.other_owners)
    listed += [] if report.may_be_own else same_role(report.same_role)
    listed += _not_fetched(report.not_fetched, report.started_in)
    listed += _unfinished(report.unfinished_uploads)
    listed += managed.kept(report.managed)
    # Never "0 VMs" while one may remain.
    if report.remaining:
        return listed
    if report.untouched:
        return [*listed, *_untouched(report)]
    if not report.instances and not gone:
        note = [f"  {report.caveat}"] if report.caveat else []
        return [*listed, "  There was nothing to terminate: 0 VMs running.", *note]
    return [*listed, f"  0 VMs running. {_total(report.spent, bool(report.instances))}".rstrip()]


def _unfinished(urls: Sequence[str]) -> Lines:
    """Return which uploads to S3 were not completed."""
    if not urls:
        return []
    more = f" and {len(urls) - MANY} more" if len(urls) > MANY else ""
    text = f"  Uploads not complete, whose parts S3 bills: {' '.join(urls[:MANY])}{more}. "
    return [line(text, NextStep("AbortUploads"), " drops them.")]


def _not_fetched(run_ids: Sequence[str], started_in: Mapping[str, str]) -> list[str]:
    """Return which results were on the terminated instances only."""
    text = f"  Not fetched: {_short(run_ids, started_in)}. Their results were on the VMs and are deleted."
    return [text] if run_ids else []


def not_fetched_yet(run_ids: Sequence[str], started_in: Mapping[str, str]) -> Lines:
    """Return which results are on instances that are about to be terminated only.

    :param started_in: run id -> folder, of those that were started in another one.
    """
    if not run_ids:
        return []
    fetch = NextStep("FetchResults", run_ids[-1].rsplit("-", 1)[-1])
    return [line(f"  Not fetched: {_short(run_ids, started_in)}. The results would be deleted; ", fetch, " fetches.")]


def ended_by_stop(run_ids: Sequence[str], started_in: Mapping[str, str]) -> Lines:
    """Return which runs stopping the instances has ended.

    :param started_in: run id -> folder, of those that were started in another one.
    """
    fetch = NextStep("FetchResults", run_ids[-1].rsplit("-", 1)[-1])
    after = line(" fetches what it had written, after ", NextStep("StartAll"), ".")
    return [line(f"  Ended with the VMs, if still running: {_short(run_ids, started_in)}. ", fetch, after)]


def _short(run_ids: Sequence[str], started_in: Mapping[str, str]) -> str:
    # The end of an id is what verbs take, and what was shown when the run began.
    folders = {run_id: f" (started in {folder})" for run_id, folder in started_in.items()}
    return ", ".join(run_id.rsplit("-", 1)[-1] + folders.get(run_id, "") for run_id in run_ids)


def _untouched(report: TerminateReport) -> Lines:
    """Return which instances were left as they are, and the cost of those that were terminated."""
    names = [result.name for result in report.instances if result.state == "terminated"]
    ended = " ".join(names) if len(names) <= MANY else f"{len(names)} terminated VMs"
    cost = [f"  {ended} cost {units.amount(report.spent)}."] if names else []
    left = f"  Left as they are: {' '.join(report.untouched[:MANY])}.  "
    return [*cost, line(left, NextStep("Status"), " shows them.")]


def _gone(report: TerminateReport) -> list[str]:
    names = [result.name for result in report.instances if result.state == "terminated"]
    gone = [f"{name} terminated" for name in names] if len(names) <= MANY else [f"{len(names)} VMs terminated"]
    gone += managed.ended(report.managed)
    # Only what was there and is gone: not what a launch never came to create.
    resources = (("security group", report.group_state), ("key pair", report.key_state))
    return gone + [f"{resource} gone" for resource, outcome in resources if outcome == "gone"]


def _total(spent: Amount, any_instance: bool) -> str:
    if not any_instance:
        return ""
    return "Cost of this cluster: price unknown." if spent == UNKNOWN else f"This cluster cost {units.amount(spent)}."


# Keys are a contract with scripts: some bear older words (machines, foreign) than the fields.
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
        "usd_spent_range": document(status.spent),
        "elsewhere": document(status.elsewhere),
        "owner_id": status.owner_id,
        "same_role": document(status.same_role),
        "managed": document(status.managed),
        "tunnels": document(status.tunnels),
        "full_disks": document(status.full_disks),
    }


@document.register(OpenTunnel)
def _(tunnel: OpenTunnel) -> Document:
    return {
        "host": tunnel.host,
        "remote_port": tunnel.remote_port,
        "purpose": tunnel.purpose,
        "address": tunnel.address,
        "port": tunnel.port,
        "pid": tunnel.pid,
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
        "usd_spent_range": document(instance.spent),
        "idle_minutes": instance.idle_minutes,
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
        "untouched": document(report.untouched),
        "usd_spent_range": document(report.spent),
        "elsewhere": document(report.elsewhere),
        "not_fetched": document(report.not_fetched),
        "started_in": document(report.started_in),
        "same_role": document(report.same_role),
        "unfinished_uploads": document(report.unfinished_uploads),
        "managed": document(report.managed),
    }


@document.register(SameRoleOwner)
def _(owner: SameRoleOwner) -> Document:
    return {
        "owner": owner.owner,
        "session": owner.session,
        "machines": document(owner.instances),
        "usd_per_hour": document(owner.usd_per_hour),
    }


@document.register(OtherCluster)
def _(other: OtherCluster) -> Document:
    return {
        "cluster": other.cluster,
        "owner": other.owner,
        "account": other.account,
        "region": other.region,
        "machines": document(other.instances),
        "may_come": other.unconfirmed_count,
        "usd_per_hour": document(other.usd_per_hour),
        "problem": other.problem,
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
