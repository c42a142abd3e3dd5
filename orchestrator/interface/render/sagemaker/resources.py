"""Text and JSON documents of managed resources: what SageMaker bills besides VMs."""

from __future__ import annotations

from datetime import datetime

from orchestrator.aws.sagemaker.managed import ManagedEnd, ManagedEndReport, ManagedResource, ManagedSurvey
from orchestrator.core.next_step import NextStep
from orchestrator.interface.render import units
from orchestrator.interface.render.registry import Document, Lines, document
from orchestrator.interface.render.styles import line


def listed(survey: ManagedSurvey, now: datetime) -> Lines:
    """Return a row for each resource that is billed, and why some could not be looked up."""
    problem = [f"  SageMaker was not looked up: {survey.problem}"] if survey.problem else []
    return [*units.columns([_cells(resource, now) for resource in survey.resources]), *problem]


def _cells(resource: ManagedResource, now: datetime) -> list[str]:
    count = f"{resource.count} x {resource.type}" if resource.type else ""
    age = f"since {units.clock(resource.created_at, now)}" if resource.created_at else ""
    end = f"ends {units.clock(resource.ends_at, now)}" if resource.ends_at else ""
    return [resource.kind, resource.name, resource.state, count, age, end, units.unit_price(resource.usd_per_hour)]


def left(survey: ManagedSurvey) -> Lines:
    """Return on exit what SageMaker still bills; nothing when there is nothing."""
    count = len(survey.resources)
    if not count:
        return []
    still = f"{units.count(count, 'resource')} of SageMaker {'is' if count == 1 else 'are'} still billed: "
    return [line(still + f"{units.rate(survey.usd_per_hour)}. ", NextStep("Status"), " lists them.")]


def ended(report: ManagedEndReport) -> list[str]:
    """Return which managed resources have ended."""
    return [f"{end.resource.kind} {end.resource.name} ended" for end in report.ends if not end.error]


@document.register(ManagedSurvey)
def _(survey: ManagedSurvey) -> Document:
    return {"resources": document(survey.resources), "problem": survey.problem}


@document.register(ManagedEndReport)
def _(report: ManagedEndReport) -> Document:
    return {"ends": document(report.ends), "left": document(report.remaining)}


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
    }


@document.register(ManagedEnd)
def _(end: ManagedEnd) -> Document:
    return {"resource": document(end.resource), "error": end.error}
