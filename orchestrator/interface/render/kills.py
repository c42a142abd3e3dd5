"""Text and JSON documents of cancelled processes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from orchestrator.interface.render import units
from orchestrator.interface.render.registry import Document, Lines, document, lines
from orchestrator.interface.render.styles import failures
from orchestrator.interface.render.units import columns
from orchestrator.jobs.kill import HostKill, KillReport


@lines.register(KillReport)
def _(report: KillReport, _now: datetime) -> Lines:
    table = columns([_killed(host) for host in report.hosts])
    table += [f"  {host.host}  {process}" for host in report.hosts for process in host.stuck]
    left = units.count(sum(host.left for host in report.hosts), "process", "processes")
    return [*table, *failures(report.failed), f"  {left} left on {units.count(len(report.hosts), 'VM')}."]


def _killed(host: HostKill) -> Sequence[str]:
    cancelled = f"cancelled {', '.join(host.runs)}" if host.runs else "no processes were running"
    return [host.host, f"{host.left} left", cancelled]


@document.register(KillReport)
def _(report: KillReport) -> Document:
    return {
        "hosts": document(report.hosts),
        "failed": document(report.failed),
    }


@document.register(HostKill)
def _(host: HostKill) -> Document:
    return {
        "host": host.host,
        "runs": document(host.runs),
        "left": host.left,
        "stuck": document(host.stuck),
    }
