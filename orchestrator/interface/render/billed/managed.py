"""Text and JSON documents of managed resources: what is billed besides VMs."""

from __future__ import annotations

from datetime import datetime

from orchestrator.aws.managed.resources import ManagedEnd, ManagedEndReport, ManagedResource, ManagedSurvey
from orchestrator.core.next_step import NextStep
from orchestrator.interface.render import units
from orchestrator.interface.render.registry import Document, Lines, document
from orchestrator.interface.render.styles import line


def listed(survey: ManagedSurvey, now: datetime) -> Lines:
    """Return a row for each resource that is billed, and why some could not be looked up."""
    problems = [f"  {service} was not looked up: {problem}" for service, problem in survey.problems]
    end = line("    ", NextStep("TerminateAll", everywhere=True), " ends what other settings made.")
    ends = [end] if any(resource.origin for resource in survey.resources) else []
    return [*units.columns([_cells(resource, now) for resource in survey.resources]), *ends, *problems]


def _cells(resource: ManagedResource, now: datetime) -> list[str]:
    count = f"{resource.count} x {resource.type}" if resource.type else ""
    age = f"since {units.clock(resource.created_at, now)}" if resource.created_at else ""
    end = f"ends {units.clock(resource.ends_at, now)}" if resource.ends_at else ""
    state = f"{resource.state}, kept" if resource.is_kept else resource.state
    return [
        resource.kind,
        resource.name,
        state,
        _detail(resource, count or resource.detail),
        age,
        end,
        _price(resource),
    ]


def _detail(resource: ManagedResource, text: str) -> str:
    return ", ".join(filter(None, (text, resource.origin and f"of {resource.origin}")))


def _price(resource: ManagedResource) -> str:
    """Return the price per hour; per month of what is stored; none of a serverless endpoint."""
    if resource.type == "serverless":
        return "by requests"
    return units.month_price(resource.usd_per_hour) if resource.is_kept else units.unit_price(resource.usd_per_hour)


def left(survey: ManagedSurvey) -> Lines:
    """Return on exit which managed resources are still billed; nothing when there are none."""
    count = len(survey.resources)
    if not count:
        return []
    still = f"{units.count(count, 'managed resource')} {'is' if count == 1 else 'are'} still billed: "
    return [line(still + f"{units.rate(survey.usd_per_hour)}. ", NextStep("Status"), " lists them.")]


def kept(report: ManagedEndReport) -> Lines:
    """Return what was left on purpose, with its price, and how to end it."""
    if not report.kept_resources:
        return []
    rows = ["  Kept: " + ", ".join(filter(None, _facts(resource))) for resource in report.kept_resources]
    options = {"everywhere": True} if any(resource.origin for resource in report.kept_resources) else {}
    return [*rows, line("  ", NextStep("TerminateAll", kept=True, **options), " deletes what is kept as well.")]


def _facts(resource: ManagedResource) -> tuple[str, ...]:
    return (f"{resource.kind} {resource.name}", resource.full_detail, _price(resource))


def ended(report: ManagedEndReport) -> list[str]:
    """Return which managed resources have ended."""
    return [f"{end.resource.kind} {end.resource.name} ended" for end in report.ends if not end.error]


@document.register(ManagedSurvey)
def _(survey: ManagedSurvey) -> Document:
    return {
        "resources": document(survey.resources),
        "usd_per_hour": document(survey.usd_per_hour),
        "problem": survey.problem,
    }


@document.register(ManagedEndReport)
def _(report: ManagedEndReport) -> Document:
    return {"ends": document(report.ends), "left": document(report.remaining), "kept": document(report.kept_resources)}


@document.register(ManagedResource)
def _(resource: ManagedResource) -> Document:
    return {
        "kind": resource.kind,
        "name": resource.name,
        "state": resource.state,
        "type": resource.type,
        "count": resource.count,
        "usd_per_hour": document(resource.usd_per_hour),
        "created": document(resource.created_at),
        "ends": document(resource.ends_at),
        "kept": resource.is_kept,
        "detail": resource.full_detail,
    }


@document.register(ManagedEnd)
def _(end: ManagedEnd) -> Document:
    return {"resource": document(end.resource), "error": end.error}
