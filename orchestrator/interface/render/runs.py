"""Text and JSON documents of runs: start, outcome, list, results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from orchestrator.core.next_step import NextStep, Text
from orchestrator.hosts.tunnels import Dashboard
from orchestrator.interface.render import units
from orchestrator.interface.render.registry import Document, Lines, document, lines, rows
from orchestrator.interface.render.styles import failures, line, state
from orchestrator.interface.render.units import columns, duration
from orchestrator.jobs.elastic import JoinReport
from orchestrator.jobs.record import RunRecord
from orchestrator.jobs.runner import CancelReport
from orchestrator.jobs.runs import RunHandle, RunResult, RunSummary

METRICS_SHOWN = 6
FILES_SHOWN = 4
HOSTS_SHOWN = 6
OUTPUTS = "outputs/"


@lines.register(RunHandle)
def _(handle: RunHandle, _now: datetime) -> Lines:
    dashboard: tuple[Text, ...] = ("   dashboard: ", NextStep("Dashboard")) if handle.has_dashboard else ()
    return [line(f"  {handle.job} on {_roles(handle.roles)}   run {handle.run_id}", *dashboard)]


def _roles(roles: Mapping[str, Sequence[str]]) -> str:
    """Return ``ml-0 (scheduler), ml-0 ml-1 (workers)``; a plain list where every host does the same."""
    by_role: dict[str, list[str]] = {}
    for host, names in roles.items():
        for name in names:
            # Agents of a mesh are how hosts are connected, no role of the job.
            if name not in ("main", "mesh", "guard"):
                by_role.setdefault(name, []).append(host)
    if not by_role:
        return _names(list(roles))
    order = sorted(by_role.items(), key=lambda item: item[0] != "scheduler")
    return ", ".join(f"{_names(hosts)} ({role}{'s' if len(hosts) > 1 else ''})" for role, hosts in order)


def _names(hosts: Sequence[str]) -> str:
    return " ".join(hosts) if len(hosts) <= HOSTS_SHOWN else f"{hosts[0]} ... {hosts[-1]} ({len(hosts)} VMs)"


@lines.register(RunResult)
def _(result: RunResult, _now: datetime) -> Lines:
    return [line(*done(result), "  Next: ", NextStep("FetchResults"))]


def done(result: RunResult) -> Lines:
    """Return that a run has ended well."""
    return [line(f"  {result.job} ", state("done"), f" in {duration(result.seconds)}.")]


def left_running(short_id: str) -> Lines:
    """Return that a run continues, and how to watch it again."""
    return [line("  It keeps running. ", NextStep("Attach", *([short_id] if short_id else [])), " reconnects to it.")]


@rows.register(RunSummary)
def _(_first: RunSummary, summaries: Sequence[RunSummary], now: datetime) -> Lines:
    return runs(summaries, now)


def runs(summaries: Sequence[RunSummary], now: datetime) -> Lines:
    """Return all runs known on the cluster, oldest first."""
    if not summaries:
        return [line("  No runs yet.  Next: ", NextStep("RunSingleVMComputing"))]
    return columns([_run(summary, now) for summary in summaries])


def _run(run: RunSummary, now: datetime) -> Sequence[str]:
    began = units.clock(run.started_at, now) if run.started_at else ""
    seconds = run.seconds
    if seconds is None and run.started_at and run.state == "running":
        # A host reports no duration before the run has ended.
        seconds = (now - run.started_at).total_seconds()
    hosts = _names(run.hosts) if run.multi else "".join(run.hosts[:1])
    # The clocks of VM and reader may differ by a little.
    elapsed = "" if seconds is None else duration(max(0.0, seconds))
    return [run.run_id, state(run.state), run.job, began, elapsed, hosts]


@lines.register(CancelReport)
def _(report: CancelReport, _now: datetime) -> Lines:
    remaining = {host: count for host, count in report.left.items() if count}
    table = failures(report.failed)
    table += [
        f"  {host}  {units.count(count, 'process', 'processes')} could not be killed"
        for host, count in remaining.items()
    ]
    clean = len(report.left) - len(remaining)
    if report.ended_as and not table:
        return [f"  {report.run_id} had ended before ({report.ended_as}): there was nothing to cancel."]
    if report.kind:
        return table or [f"  {report.run_id} cancelled: its {report.kind} has ended."]
    return [*table, f"  {report.run_id} cancelled: no process left on {units.count(clean, 'VM')}."]


@lines.register(JoinReport)
def _(report: JoinReport, _now: datetime) -> Lines:
    names = " ".join(report.joined)
    return [*failures(report.failed), f"  {names or 'No VM'} joined {report.run_id}"]


@lines.register(Dashboard)
def _(dashboard: Dashboard, _now: datetime) -> Lines:
    return [f"  {dashboard.url}"]


@lines.register(RunRecord)
def _(record: RunRecord, _now: datetime) -> Lines:
    files = [path.removeprefix(OUTPUTS) for path in record.outputs]
    named = "  ".join(files[:FILES_SHOWN])
    named += f"  and {len(files) - FILES_SHOWN} more" if len(files) > FILES_SHOWN else ""
    received = f"{units.size(record.received_bytes)} in {duration(record.seconds)}"
    # With the folder of the outputs, so that folder and name together are a path.
    folder = f"{record.folder}/{OUTPUTS if files else ''}"
    table: Lines = [f"  {folder}   {named or 'no output files'}   {received}"]
    if record.state != "done":
        table.append(f"  The run {_OUTCOMES.get(record.state, 'is ' + record.state)}: these are its outputs so far.")
    table += [f"    {text}" for text in metrics(record.metrics, record.metrics_host)]
    table.append(f"    {_times(record)}     cost {units.usd(record.cost_usd)}{_bill(record)}")
    table += [f"    {problem}" for problem in record.problems]
    return [*table, *failures(record.failed)]


_OUTCOMES = {
    "running": "is still running",
    "failed": "failed",
    "timeout": "reached [job] max_hours",
    "cancelled": "was cancelled",
    "lost": "was lost",
}


def _bill(record: RunRecord) -> str:
    """Return what the cost consists of: ``  (2 VMs x 101 s: VMs $0.012, disks $0.001)``, ``  (1 instance x 60 s)``."""
    bill = record.bill
    if bill is None or bill.total is None or not record.hosts:
        return ""
    spot = {"yes": " (spot)", "partly": " (partly spot)"}.get(bill.spot, "")
    if bill.unit == "job":
        return f"  ({units.count(bill.count, 'job')}{spot}, {duration(bill.billed_seconds)} in all)"
    if bill.count:
        return f"  ({units.count(bill.count, bill.unit)}{spot} x {duration(bill.billed_seconds / bill.count)})"
    # billed_seconds is the sum over all VMs.
    per_vm = duration(bill.billed_seconds / len(record.hosts))
    parts = f"VMs{spot} {units.usd(bill.vms_usd)}, disks {units.usd(bill.disks_usd)}"
    parts += f", addresses {units.usd(bill.addresses_usd)}" if bill.addresses_usd else ""
    return f"  ({units.count(len(record.hosts), 'VM')} x {per_vm}: {parts})"


_PHASES = ("launch", "install", "job")
_LAUNCH_PARTS = ("api", "pending", "boot", "ssh")
_LABELS = {"api": "request"}


def _times(record: RunRecord) -> str:
    times = {name: float(seconds) for name, seconds in record.timings.items()}
    # The parts of a launch are left out once their sum is known.
    parts = _LAUNCH_PARTS if "launch" in times else ()
    rest = [name for name in times if name not in (*_PHASES, *parts)]
    order = [name for name in (*_PHASES[:-1], *rest, _PHASES[-1]) if name in times]
    return "time   " + ("  ".join(f"{_LABELS.get(name, name)} {duration(times[name])}" for name in order) or "unknown")


def metrics(values: Mapping[str, Any], host: str = "") -> list[str]:
    """Return a job's own ``headline``, else a few of its numbers, those of its ``summary`` first.

    :param host: the one that they are of, if others have their own; named before them.
    """
    texts = _metrics(values)
    return [f"{host}: {texts[0]}", *texts[1:]] if host and texts else texts


def _metrics(values: Mapping[str, Any]) -> list[str]:
    # Metrics are a file that the job wrote: any JSON may be in it.
    headline = values.get("headline")
    if isinstance(headline, str) and headline.strip():
        return headline.strip("\n").split("\n")
    summary = values.get("summary")
    candidates = summary if isinstance(summary, Mapping) else values
    numbers = [(name, value) for name, value in candidates.items() if _is_number(value)]
    shown = [f"{name.replace('_', ' ')} {units.number(value)}" for name, value in numbers[:METRICS_SHOWN]]
    return ["   ".join(shown[start : start + 3]) for start in range(0, len(shown), 3)]


def _is_number(value: object) -> bool:
    # bool is an int in Python, and no measurement.
    return isinstance(value, int | float) and not isinstance(value, bool)


@document.register(RunHandle)
def _(handle: RunHandle) -> Document:
    return {
        "run": handle.run_id,
        "job": handle.job,
        "multi": handle.multi,
        "roles": document(handle.roles),
        "dashboard": handle.has_dashboard,
        "folder": document(handle.folder),
        "short": handle.short_id,
    }


@document.register(RunResult)
def _(result: RunResult) -> Document:
    return {
        "run": result.run_id,
        "job": result.job,
        "seconds": result.seconds,
    }


@document.register(CancelReport)
def _(report: CancelReport) -> Document:
    return {
        "run": report.run_id,
        "left": document(report.left),
        "failed": document(report.failed),
        "ended_as": report.ended_as,
    }


@document.register(RunSummary)
def _(summary: RunSummary) -> Document:
    return {
        "run": summary.run_id,
        "job": summary.job,
        "multi": summary.multi,
        "hosts": document(summary.hosts),
        "state": summary.state,
        "started": document(summary.started_at),
        "seconds": summary.seconds,
    }


@document.register(RunRecord)
def _(record: RunRecord) -> Document:
    return {
        "run": record.run_id,
        "job": record.job,
        "folder": document(record.folder),
        "state": record.state,
        "hosts": document(record.hosts),
        "outputs": document(record.outputs),
        "bytes": record.received_bytes,
        "seconds": record.seconds,
        "metrics": document(record.metrics),
        "seconds_by_phase": document(record.timings),
        "usd": document(record.cost_usd),
        "failed": document(record.failed),
        "bill": document(record.bill),
        "problems": document(record.problems),
        "metrics_host": record.metrics_host,
    }


@document.register(JoinReport)
def _(report: JoinReport) -> Document:
    return {
        "run": report.run_id,
        "joined": document(report.joined),
        "failed": document(report.failed),
    }


@document.register(Dashboard)
def _(dashboard: Dashboard) -> Document:
    return {
        "url": dashboard.url,
    }
