"""Text and JSON documents of endpoints, predictions and batch transforms."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from orchestrator.aws.sagemaker.hosting.requests import ASYNCHRONOUS, Fleet
from orchestrator.core.next_step import NextStep
from orchestrator.interface.render import units
from orchestrator.interface.render.registry import Document, Lines, document, lines
from orchestrator.interface.render.styles import Styled, line
from orchestrator.services.hosting.endpoints import EndpointEnd, EndpointStatus, Prediction
from orchestrator.services.hosting.planning import DeployPlan, ScalingPlan
from orchestrator.services.hosting.transforms import TransformPlan, TransformResult

MAX_SHOWN, MAX_VALUES = 20, 8


def plan_lines(plan: DeployPlan) -> Lines:
    """Return what an endpoint is, and its price."""
    request, fleet = plan.request, plan.request.fleet
    return [
        line(
            _heading("Update" if plan.is_change else "Deploy"),
            f"run {plan.model.short_id} of {plan.model.job.name} as {request.name}",
        ),
        line(_heading("On"), f"{_capacity(fleet)}, {fleet.mode}"),
        line(_heading("Image"), request.image),
        line(_heading("Role"), f"{request.role_arn.rpartition('/')[2]}   bucket {plan.model.bucket}"),
        *_price(plan.usd_per_hour, plan.price_source, is_serverless=fleet.is_serverless),
        *_end(plan),
    ]


def scaling_lines(plan: ScalingPlan) -> Lines:
    """Return the bounds of a scaling, and their prices."""
    scaling, target = plan.scaling, f"{plan.scaling.target:g}"
    unit = "waiting requests" if plan.mode == ASYNCHRONOUS else "requests per minute"
    least, most = scaling.minimum, scaling.maximum
    price: Lines = [line(_heading("Price"), Styled(units.UNKNOWN, "bad"))]
    if plan.usd_per_hour is not None:
        shown = f"   ({plan.price_source})" if plan.price_source else ""
        bounds = f"{units.unit_price(plan.usd_per_hour * least)} to {units.unit_price(plan.usd_per_hour * most)}"
        price = [line(_heading("Price"), Styled(bounds, "money"), shown)]
    return [
        line(_heading("Scale"), f"{plan.name}: {least} to {units.count(most, 'instance')} of {plan.type}"),
        line(_heading("Aim"), f"{target} {unit} for each instance"),
        *price,
    ]


def _heading(word: str) -> str:
    return Styled(f"  {word:<6} ", "heading")


def _capacity(fleet: Fleet) -> str:
    if fleet.is_serverless:
        return f"{fleet.memory_mb} MB, up to {units.count(fleet.concurrency, 'request')} at the same time"
    return f"{fleet.count} x {fleet.instance_type}"


def _price(usd_per_hour: Decimal | None, source: str, *, is_serverless: bool = False) -> Lines:
    if is_serverless:
        return [line(_heading("Price"), "by requests: nothing while there are none")]
    if usd_per_hour is None:
        return [line(_heading("Price"), Styled(units.UNKNOWN, "bad"))]
    shown = f"   ({source})" if source else ""
    return [line(_heading("Price"), Styled(units.unit_price(usd_per_hour), "money"), shown)]


def _end(plan: DeployPlan) -> Lines:
    if plan.max_hours:
        return [f"         AWS deletes it after {units.duration(plan.max_hours * 3600)}, also if this computer is off."]
    if plan.is_change or plan.request.fleet.is_serverless:
        return []
    return [
        line(
            "         It is billed until ",
            NextStep("DeleteEndpoint"),
            " or ",
            NextStep("TerminateAll"),
            "; nothing else ends it. max_hours sets a limit.",
        )
    ]


@lines.register(EndpointStatus)
def _(status: EndpointStatus, now: datetime) -> Lines:
    reason = [f"    {status.reason}"] if status.reason else []
    return [*endpoint_lines([status], now), *reason]


def endpoint_lines(statuses: Sequence[EndpointStatus], now: datetime) -> Lines:
    """Return a row for each endpoint."""
    if not statuses:
        return [line("  no endpoints. ", NextStep("Deploy"), " creates one.")]
    rows = units.columns([_cells(status) for status in statuses])
    return [text for row, status in zip(rows, statuses, strict=True) for text in (row, *_details(status, now))]


def _cells(status: EndpointStatus) -> list[str]:
    size = f"{status.count} x {status.type}" if status.type else "serverless"
    price = units.unit_price(status.usd_per_hour) if status.type else "by requests"
    return [status.name, status.state, size, price]


def _details(status: EndpointStatus, now: datetime) -> Lines:
    """Return a second line: with all of them in one, a row is wider than a terminal."""
    parts = [
        status.mode if status.type else "",
        f"scales {status.scaling[0]} to {status.scaling[1]}" if status.scaling else "",
        f"since {units.clock(status.created_at, now)}" if status.created_at else "",
        f"ends {units.clock(status.ends_at, now)}" if status.ends_at else "",
    ]
    shown = "   ".join(part for part in parts if part)
    return [f"    {shown}"] if shown else []


@document.register(EndpointStatus)
def _(status: EndpointStatus) -> Document:
    return {
        "name": status.name,
        "mode": status.mode,
        "state": status.state,
        "type": status.type,
        "count": status.count,
        "usd_per_hour": document(status.usd_per_hour),
        "created": document(status.created_at),
        "ends": document(status.ends_at),
        "scaling": list(status.scaling) if status.scaling else None,
        "reason": status.reason,
    }


@lines.register(EndpointEnd)
def _(end: EndpointEnd, _now: datetime) -> Lines:
    return [f"  {end.name} is deleted."]


@document.register(EndpointEnd)
def _(end: EndpointEnd) -> Document:
    return {"deleted": end.name}


def prediction_lines(prediction: Prediction, out: str) -> Lines:
    """Return an answer, its first lines if it is long."""
    size = units.count(len(prediction.content.body), "byte")
    if out:
        return [f"  {size} of {prediction.content.content_type} in {out}"]
    value = prediction.value
    if isinstance(value, dict) and value and all(hasattr(item, "shape") for item in value.values()):
        return list(units.columns([[name, str(item.dtype), str(item.shape)] for name, item in value.items()]))
    if hasattr(value, "shape"):
        return [f"  {value.dtype} {value.shape}: {_first_values(value)}"]
    if isinstance(value, bytes):
        return [f"  {size} of {prediction.content.content_type}; out = FILE writes them"]
    return _text_lines(value)


def _first_values(array: Any) -> str:
    values = ", ".join(str(value) for value in array.ravel()[:MAX_VALUES].tolist())
    return values if array.size <= MAX_VALUES else f"{values} ...; out = FILE writes all"


def _text_lines(value: Any) -> Lines:
    rows = value if isinstance(value, list) else str(value).splitlines()
    shown: Lines = [f"  {row}" for row in rows[:MAX_SHOWN]]
    return [*shown, f"  ... and {len(rows) - MAX_SHOWN:,} more"] if len(rows) > MAX_SHOWN else shown


def transform_plan_lines(plan: TransformPlan) -> Lines:
    """Return what a batch transform is, and its price."""
    request = plan.request
    objects = "1,000 or more objects" if plan.objects == 1000 else units.count(plan.objects, "object")
    return [
        line(_heading("Model"), f"run {plan.model.short_id} of {plan.model.job.name}"),
        line(_heading("Input"), f"{objects}, {request.content_type}, {request.input_url}"),
        line(_heading("Output"), f"{request.output_url}/"),
        line(_heading("On"), f"{request.count} x {request.instance_type}"),
        *_price(plan.usd_per_hour, plan.price_source),
        line(
            f"         It is stopped after {units.duration(plan.limit_s)}, by this computer: AWS has no limit for it."
        ),
    ]


@lines.register(TransformResult)
def _(result: TransformResult, _now: datetime) -> Lines:
    seconds = f" in {units.duration(result.seconds)}" if result.seconds is not None else ""
    usd = f", {units.usd(result.cost_usd)}" if result.cost_usd is not None else ""
    done = f"  {result.name}: {units.count(result.objects, 'object')}{seconds}{usd}"
    return [done, line("  ", NextStep("Download", result.output_url, "predictions"), "  fetches the predictions")]


@document.register(TransformResult)
def _(result: TransformResult) -> Document:
    return {
        "name": result.name,
        "state": result.state,
        "output": result.output_url,
        "objects": result.objects,
        "seconds": result.seconds,
        "cost_usd": document(result.cost_usd),
    }
