"""Text of plans of training jobs."""

from __future__ import annotations

from orchestrator.interface.render import units
from orchestrator.interface.render.registry import Lines
from orchestrator.interface.render.styles import Styled, line
from orchestrator.jobs.managed import options as managed_options
from orchestrator.services.sagemaker import TrainingPlan


def plan_lines(plan: TrainingPlan) -> Lines:
    """Return what a training job is, and its price."""
    request = plan.request
    market = " spot" if request.max_wait_s else ""
    data = f", data from {units.count(len(plan.links), 'channel')}" if plan.links else ""
    bucket = f"{plan.bucket}{' (will be created)' if plan.creates_bucket else ''}"
    return [
        line(_heading("Train"), f"{plan.job.name} on {request.count} x {request.instance_type}{market}{data}"),
        line(_heading("Runs"), _command(plan)),
        line(_heading("Image"), request.image),
        line(_heading("Role"), f"{request.role_arn.rpartition('/')[2]}   bucket {bucket}"),
        *_price(plan),
    ]


def _command(plan: TrainingPlan) -> str:
    """Return the job's command with its hyper-parameters."""
    options = plan.job.options
    command = (options.multi if plan.layout.multi else options.single) or options.single or options.multi
    variable, values = managed_options.VARIABLE, managed_options.as_options(plan.request.hyperparameters)
    for name in (f"${{{variable}}}", f"${variable}"):
        if name in command:
            return command.replace(name, values)
    return " ".join(filter(None, [command, values]))


def _heading(word: str) -> str:
    return Styled(f"  {word:<6} ", "heading")


def _price(plan: TrainingPlan) -> Lines:
    request, source = plan.request, f"   ({plan.price_source})" if plan.price_source else ""
    limit = f"it is stopped after {units.duration(request.max_runtime_s)}"
    if plan.usd_per_hour is None:
        return [line(_heading("Price"), Styled(units.UNKNOWN, "bad"), f"   {limit}")]
    most = Styled(units.usd(plan.max_cost_usd), "money")
    spot = ["  Spot instances cost less; what they saved is told at the end."] if request.max_wait_s else []
    extension = f"{units.duration(request.keep_alive_s)} more for the next job: {units.usd(plan.keep_usd)}"
    keep = [f"  Its instances are kept for up to {extension}."] if request.keep_alive_s else []
    price = line(_heading("Price"), Styled(units.unit_price(plan.usd_per_hour), "money"), source)
    return [price, line("         at most ", most, f" ({limit})"), *spot, *keep]
