"""Text and JSON documents of installs."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.install.installer import HostInstall, InstallReport, StepResult
from orchestrator.interface.render import units
from orchestrator.interface.render.failures import failures
from orchestrator.interface.render.registry import Document, document
from orchestrator.interface.render.units import columns, duration

MANY = 20
"""More hosts than this are summed up instead of listed."""

Lines = list[str]


def install(report: InstallReport) -> Lines:
    """Show what an install did on every host, step by step."""
    many = len(report.hosts) > MANY
    lines = [] if many else columns([_installed(host) for host in report.hosts])
    lines += failures(report.failed)
    if not report.changed and not report.failed:
        return [*lines, f"  Nothing to do, {duration(report.seconds)}.  {AFTER_INSTALL}"]
    hosts = f" on {len(report.hosts)} hosts" if many else ""
    did = f"{units.count(report.changed, 'step')} changed something{hosts}, {len(report.failed)} failed"
    return [*lines, f"  {did}, {duration(report.seconds)}.  {'' if report.failed else AFTER_INSTALL}".rstrip()]


AFTER_INSTALL = "Next: RunSingleVMComputing() or RunMultiVMComputing()"


def _installed(host: HostInstall) -> Sequence[str]:
    times = [f"{step.name}{_took(step.state, step.seconds)} " for step in host.steps]
    return [host.host, "done" if host.changed else "unchanged", *times]


def _took(state: str, seconds: float) -> str:
    return "" if state == "unchanged" else f" {duration(seconds)}"


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
