"""Text and JSON document of the runs of this computer."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from orchestrator.core.next_step import NextStep
from orchestrator.interface.render import units
from orchestrator.interface.render.registry import Document, Lines, document, lines, rows
from orchestrator.interface.render.runs import metrics
from orchestrator.interface.render.styles import line, state
from orchestrator.interface.render.units import columns
from orchestrator.jobs.record import PastRun


@lines.register(PastRun)
def _(run: PastRun, now: datetime) -> Lines:
    return past_runs([run], now)


@rows.register(PastRun)
def _(_first: PastRun, runs: Sequence[PastRun], now: datetime) -> Lines:
    return past_runs(runs, now)


def past_runs(runs: Sequence[PastRun], now: datetime) -> Lines:
    """Return the runs of this computer, oldest first."""
    if not runs:
        return [line("  No run was started or fetched here yet.  Next: ", NextStep("Runs"))]
    return columns([_past_run(run, now) for run in runs])


def _past_run(run: PastRun, now: datetime) -> Sequence[str]:
    began = units.clock(run.started_at, now) if run.started_at else ""
    took = "" if run.seconds is None else units.duration(run.seconds)
    cost = "" if run.cost_usd is None else units.usd(run.cost_usd)
    return [
        run.run_id,
        state(run.state) + (", partly fetched" if run.is_partial else ""),
        run.job,
        began,
        took,
        cost,
        next(iter(metrics(run.metrics, run.metrics_host)), ""),
    ]


@document.register(PastRun)
def _(run: PastRun) -> Document:
    return {
        "run": run.run_id,
        "job": run.job,
        "state": run.state,
        "started": document(run.started_at),
        "seconds": run.seconds,
        "hosts": document(run.hosts),
        "usd": document(run.cost_usd),
        "folder": document(run.folder),
        "metrics": document(run.metrics),
        "metrics_host": run.metrics_host,
    }
