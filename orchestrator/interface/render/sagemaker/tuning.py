"""Texts and documents of tuning jobs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from orchestrator.aws.sagemaker.tuning_request import TuningRange
from orchestrator.core.next_step import Text
from orchestrator.interface.render import units
from orchestrator.interface.render.registry import Document, Lines, document, lines, rows
from orchestrator.interface.render.styles import Styled, line
from orchestrator.services.managed.tuning import TuningPlan
from orchestrator.services.managed.tuning_runs import TuningOutcome, TuningTrial


def plan_lines(plan: TuningPlan) -> Lines:
    """Return what a tuning job is, and its price."""
    request, definition = plan.request, plan.definition
    training = request.training
    ranges = "   ".join(f"{item.name} {_values(item)}" for item in request.ranges)
    most = units.usd(plan.max_cost_usd) if plan.max_cost_usd is not None else units.UNKNOWN
    return [
        line(
            _heading("Tune"),
            f"{request.count} jobs, {request.parallel} at a time, of {training.count} x {training.instance_type}",
            f"   {request.strategy}, {request.goal.lower()} {request.metric}",
        ),
        line(_heading("Over"), ranges),
        line(_heading("Image"), training.image),
        line(_heading("Price"), f"{units.unit_price(definition.usd_per_hour)} for each job"),
        line("         at most ", Styled(most, "money"), " if every job runs to its limit of time"),
    ]


def _values(item: TuningRange) -> str:
    """Return ``adam, sgd``, ``1 to 4 (integers)`` or ``0.001 to 0.1 (decimals, log)``."""
    if item.values:
        return ", ".join(item.values)
    kind = "integers" if item.kind == "Integer" else "decimals"
    scaling = "" if item.scaling == "Auto" else f", {item.scaling.lower()}"
    return f"{' to '.join(item.bounds)} ({kind}{scaling})"


def _heading(word: str) -> str:
    return Styled(f"  {word:<6} ", "heading")


def started(plan: TuningPlan) -> Lines:
    """Return the names of a tuning job that was started."""
    return [line(f"  {plan.request.name}   run {plan.definition.run_id}")]


# Widths of the columns while training jobs end one by one.
_WIDEST = ["000", "Completed", "-0.1234567", "<$0.01", ""]


def trial_line(trial: TuningTrial) -> Text:
    """Return a training job that has ended, in a line."""
    return units.columns([_WIDEST, _cells(trial)])[1]


def _cells(trial: TuningTrial) -> list[str]:
    values = " ".join(f"{name}={value}" for name, value in trial.hyperparameters.items())
    value = "" if trial.value is None else f"{trial.value:g}"
    reason = f"  {trial.reason}" if trial.reason else ""
    best = "best  " if trial.is_best else ""
    return [_short(trial.name), trial.state, value, units.usd(trial.usd), f"{best}{values}{reason}"]


def _short(name: str) -> str:
    # <tuning>-001-1a2b3c4d
    return name.rsplit("-", 2)[-2] if name.count("-") > 1 else name


def table(outcome: TuningOutcome) -> Lines:
    """Return the training jobs of a tuning job, best first, and their cost."""
    ranked = sorted(outcome.trials, key=lambda trial: (not trial.is_best, trial.name))
    failed = sum(trial.state == "Failed" for trial in ranked)
    failures = f", {failed} failed" if failed else ""
    total = f"  {outcome.name}  {outcome.state}: {len(ranked)} jobs{failures}, {units.usd(outcome.usd)} in all."
    return [*units.columns([_cells(trial) for trial in ranked]), total]


@lines.register(TuningTrial)
def _(trial: TuningTrial, _now: datetime) -> Lines:
    return [trial_line(trial)]


@rows.register(TuningTrial)
def _(_first: TuningTrial, trials: Sequence[TuningTrial], _now: datetime) -> Lines:
    return units.columns([_cells(trial) for trial in trials])


@document.register(TuningTrial)
def _(trial: TuningTrial) -> Document:
    return {
        "job": trial.name,
        "state": trial.state,
        "value": trial.value,
        "hyperparameters": trial.hyperparameters,
        "seconds": trial.seconds,
        "usd": document(trial.usd),
        "reason": trial.reason,
        "best": trial.is_best,
    }
