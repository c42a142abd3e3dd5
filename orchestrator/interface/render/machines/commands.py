"""Text and JSON documents of commands on hosts; a module of their own, as they need nothing else of hosts."""

from __future__ import annotations

from datetime import datetime

from orchestrator.hosts.commands import CommandOutput, CommandReport
from orchestrator.interface.render.registry import Document, Lines, document, lines
from orchestrator.interface.render.styles import failures


@lines.register(CommandReport)
def _(report: CommandReport, _now: datetime) -> Lines:
    return [*(f"  {host.host}  {_exit(host)}" for host in report.hosts if host.exit_status), *failures(report.failed)]


def _exit(host: CommandOutput) -> str:
    # Negative as in Python's subprocess: the signal's number.
    return "killed by a signal" if host.exit_status < 0 else f"exit {host.exit_status}"


@document.register(CommandReport)
def _(report: CommandReport) -> Document:
    return {
        "command": report.command,
        "hosts": document(report.hosts),
        "failed": document(report.failed),
    }


@document.register(CommandOutput)
def _(result: CommandOutput) -> Document:
    return {
        "host": result.host,
        "status": result.exit_status,
        "lines": document(result.lines),
        "seconds": result.seconds,
    }
