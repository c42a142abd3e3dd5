"""Text and JSON documents of installs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from orchestrator.core.next_step import NextStep, Text
from orchestrator.install.installer import HostInstall, InstallReport, StepResult
from orchestrator.interface.render import units
from orchestrator.interface.render.registry import Document, Lines, document, lines
from orchestrator.interface.render.styles import failures, line, state
from orchestrator.interface.render.units import columns, duration

MANY = 20
"""More hosts than this are summed up instead of listed."""


def _next(job: str) -> tuple[Text, ...]:
    argument = (job,) if job else ()
    single, multi = (NextStep(verb, *argument) for verb in ("RunSingleVMComputing", "RunMultiVMComputing"))
    return ("  Next: ", single, " or ", multi)


@lines.register(InstallReport)
def _(report: InstallReport, _now: datetime) -> Lines:
    # All rows of 128 hosts would say the same.
    many = len(report.hosts) > MANY
    table = [] if many else columns([_installed(host) for host in report.hosts])
    summary = f"  {_summary(report, many)}, {duration(report.seconds)}."
    return [*table, *failures(report.failed), line(summary, *(() if report.failed else _next(report.job)))]


def _summary(report: InstallReport, many: bool) -> str:
    if not report.changed and not report.failed:
        return "Nothing to do"
    hosts = f" on {len(report.hosts)} VMs" if many else ""
    return f"{units.count(report.changed, 'step')} applied{hosts}, {len(report.failed)} failed"


def _installed(host: HostInstall) -> Sequence[str]:
    times = [f"{step.name}{_duration(step)} " for step in host.steps]
    return [host.host, state("done") if host.changed else "unchanged", *times]


def _duration(step: StepResult) -> str:
    return "" if step.state == "unchanged" else f" {duration(step.seconds)}"


@document.register(InstallReport)
def _(report: InstallReport) -> Document:
    return {
        "hosts": document(report.hosts),
        "failed": document(report.failed),
        "seconds": report.seconds,
        "changed": report.changed,
    }


@document.register(HostInstall)
def _(host: HostInstall) -> Document:
    return {
        "host": host.host,
        "steps": document(host.steps),
        "seconds": host.seconds,
        "image": host.image,
    }


@document.register(StepResult)
def _(step: StepResult) -> Document:
    return {
        "name": step.name,
        "state": step.state,
        "seconds": step.seconds,
    }
