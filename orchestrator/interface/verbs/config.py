"""What can be done with the config file itself: check it, show it, write one to start from."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.core.errors import UsageError
from orchestrator.interface.render import cluster, units

if TYPE_CHECKING:
    from orchestrator.interface.workspace import Desk

WHATS = ("check", "init", "show", "template", "reference")

Document = Callable[[object], None]


def carry_out(what: str, desk: Desk, document: Document) -> None:
    """Do one of :data:`WHATS`.

    :param document: takes what a program would want to know.
    :raises UsageError: there is no such thing to do, or it cannot be done here.
    """
    if what not in WHATS:
        from orchestrator.config import ini

        raise UsageError(f"config {what}: no such thing.{ini.suggest(what, WHATS)}", fix=", ".join(WHATS))
    {"check": check, "show": show, "init": init, "template": template, "reference": reference}[what](desk, document)


def check(desk: Desk, document: Document) -> None:
    """Say that config and job are in order, or all that is not."""
    settings = desk.settings()
    from orchestrator.jobs import spec as jobs_spec

    spec = jobs_spec.load(Path(settings.job.run), os.environ, runtime=settings.job.runtime)
    warnings = units.count(len(settings.warnings), "warning")
    desk.console.say(f"  {settings.path}: no mistakes, {warnings}.  Job {spec.name}: no mistakes.")
    document({"config": settings.path, "job": spec.name, "warnings": settings.warnings})


def show(desk: Desk, document: Document) -> None:
    """Show every setting and where it comes from."""
    from orchestrator.config import settings

    rows = settings.to_rows(desk.settings(files=False))
    desk.console.say(cluster.settings(rows))
    names = ("section", "option", "value", "origin")
    document([dict(zip(names, row, strict=True)) for row in rows])


def init(desk: Desk, document: Document) -> None:
    """Write a commented config file to start from; an existing one is never touched."""
    from orchestrator.config import settings

    path = desk.named or Path("config/config.ini")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(settings.template())
    except FileExistsError:
        fix = "stratus config check  looks it over"
        raise UsageError(f"{path} is there already; it stays as it is", fix=fix) from None
    desk.console.say(f"  {path} written.  Edit it, then: stratus config check")
    document({"config": path})


def template(desk: Desk, document: Document) -> None:
    """Print the commented config file."""
    from orchestrator.config import settings

    _print(desk, settings.template(), document)


def reference(desk: Desk, document: Document) -> None:
    """Print the reference page of all settings, in Markdown."""
    from orchestrator.config import settings

    _print(desk, settings.reference(), document)


def _print(desk: Desk, text: str, document: Document) -> None:
    if desk.console.document:
        document({"text": text})
    else:
        desk.console.write(text)
