"""Runs as text: where they began, how they ended, their receipts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from orchestrator.core.cost import Bill
from orchestrator.hosts.tunnels import Dashboard
from orchestrator.interface.render import units
from orchestrator.interface.render.failures import failures
from orchestrator.interface.render.registry import Document, document
from orchestrator.interface.render.units import columns, duration
from orchestrator.jobs.elastic import JoinReport
from orchestrator.jobs.record import RunRecord
from orchestrator.jobs.runner import CancelReport
from orchestrator.jobs.runs import RunHandle, RunResult, RunSummary

METRICS_SHOWN = 6

Lines = list[str]


def started(handle: RunHandle) -> Lines:
    """Say where a run began and how to get back to it."""
    board = "   dashboard: Dashboard()" if handle.has_dashboard else ""
    return [f"  {handle.job} on {_roles(handle.roles)}   run {handle.run_id}{board}"]


def _roles(roles: Mapping[str, Sequence[str]]) -> str:
    """Return ``ml-0 (scheduler), ml-0 ml-1 (workers)``; a plain list where every host does the same."""
    by_role: dict[str, list[str]] = {}
    for host, names in roles.items():
        for name in names:
            by_role.setdefault(name, []).append(host)
    by_role = {role: hosts for role, hosts in by_role.items() if role != "main" or len(by_role) == 1}
    # What agents of a mesh are to the machine, hosts are to the reader.
    if list(by_role) in (["main"], ["mesh"]):
        return _names(next(iter(by_role.values())))
    order = sorted(by_role.items(), key=lambda item: item[0] != "scheduler")
    return ", ".join(f"{_names(hosts)} ({role}{'s' if len(hosts) > 1 else ''})" for role, hosts in order)


def _names(hosts: Sequence[str]) -> str:
    return " ".join(hosts) if len(hosts) <= 6 else f"{hosts[0]} ... {hosts[-1]} ({len(hosts)} hosts)"


def finished(result: RunResult) -> Lines:
    """Say that a run ended well."""
    return [f"  {result.job} done in {duration(result.seconds)}.  Next: FetchResults()"]


def left_running(short: str) -> Lines:
    """Say that a run goes on without being watched."""
    return [f'  It runs on. Attach("{short}") comes back to it.']


def runs(found: Sequence[RunSummary], now: datetime) -> Lines:
    """Show all runs known on the cluster, oldest first."""
    if not found:
        return ["  No run here yet.  Next: RunSingleVMComputing()"]
    return columns([_run(run, now) for run in found])


def _run(run: RunSummary, now: datetime) -> Sequence[str]:
    began = units.clock(run.started_at, now) if run.started_at else ""
    took = run.seconds
    if took is None and run.started_at and run.state == "running":
        took = (now - run.started_at).total_seconds()
    where = _names(run.hosts) if run.multi else "".join(run.hosts[:1])
    return [run.run_id, run.state, run.job, began, "" if took is None else duration(max(0.0, took)), where]


def cancelled(report: CancelReport) -> Lines:
    """Say what a cancel left behind on each host, by name where it is anything."""
    lines = failures(report.failed)
    stuck = {host: left for host, left in report.left.items() if left}
    lines += [f"  {host}  {units.count(left, 'process', 'processes')} would not go" for host, left in stuck.items()]
    clean = len(report.left) - len(stuck)
    return [*lines, f"  {report.run_id} cancelled: no process left on {units.count(clean, 'host')}."]


def fetched(record: RunRecord) -> Lines:
    """Show a run's receipt: its files, the numbers it is about, its time and its cost."""
    files = [path.removeprefix("outputs/") for path in record.outputs]
    named = "  ".join(files[:4]) + (f"  and {len(files) - 4} more" if len(files) > 4 else "")
    lines = [f"  {record.folder}/   {named or 'no output files'}   {_transferred(record)}"]
    if record.state != "done":
        lines.append(f"  The run {_ENDED.get(record.state, 'is ' + record.state)}: these are the outputs it had.")
    lines += [f"    {line}" for line in metrics(record.metrics)]
    lines.append(f"    {_times(record)}     cost {units.usd(record.cost_usd)}{_bill(record)}")
    return [*lines, *failures(record.failed)]


_ENDED = {"running": "is still running", "failed": "failed", "cancelled": "was cancelled", "lost": "was lost"}


def _transferred(record: RunRecord) -> str:
    return f"{units.size(record.received_bytes)} in {duration(record.seconds)}"


def _bill(record: RunRecord) -> str:
    """Return what the cost is made of: ``  (122.6 s billed: machines $0.012, disks $0.001)``."""
    bill = record.bill
    if bill is None or bill.total is None:
        return ""
    spot = {"yes": " (spot)", "partly": " (partly spot)"}.get(bill.spot, "")
    parts = f"machines{spot} {units.usd(bill.vms_usd)}, disks {units.usd(bill.disks_usd)}"
    return f"  ({duration(bill.billed_seconds)} billed: {parts})"


_PHASES = ("launch", "install", "job")
_LAUNCH_PARTS = ("api", "pending", "boot", "ssh")


def _times(record: RunRecord) -> str:
    times = {name: float(seconds) for name, seconds in record.timings.items()}
    # What a launch consists of goes without saying once its whole is known.
    parts = _LAUNCH_PARTS if "launch" in times else ()
    rest = [name for name in times if name not in (*_PHASES, *parts)]
    order = [name for name in (*_PHASES[:-1], *rest, _PHASES[-1]) if name in times]
    return "time   " + ("  ".join(f"{name} {duration(times[name])}" for name in order) or "unknown")


def metrics(found: Mapping[str, Any]) -> Lines:
    """Return what a job says of itself: its ``headline``, else a few numbers, those of its ``summary`` first."""
    headline = found.get("headline")
    if isinstance(headline, str) and headline.strip():
        return [units.plain(line) for line in headline.splitlines()]
    summary = found.get("summary")
    chosen = summary if isinstance(summary, Mapping) else found
    scalars = [(name, _scalar(value)) for name, value in chosen.items() if _is_scalar(value)]
    shown = [f"{name.replace('_', ' ')} {value}" for name, value in scalars[:METRICS_SHOWN]]
    return ["   ".join(shown[start : start + 3]) for start in range(0, len(shown), 3)]


def _is_scalar(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _scalar(value: float) -> str:
    return units.number(value)


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
    }


@document.register(Bill)
def _(bill: Bill) -> Document:
    return {
        "seconds": bill.billed_seconds,
        "machines": document(bill.vms_usd),
        "disks": document(bill.disks_usd),
        "spot": bill.spot,
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
