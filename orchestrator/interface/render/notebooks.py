"""Text and JSON documents of web pages that run on hosts: JupyterLab and TensorBoard."""

from __future__ import annotations

from datetime import datetime

from orchestrator.core.next_step import NextStep
from orchestrator.interface.render.registry import Document, Lines, document, lines
from orchestrator.interface.render.styles import line
from orchestrator.services.notebooks import NotebookPage, NotebookStop
from orchestrator.services.tensorboard import TensorBoardPage, TensorBoardStop


@lines.register(NotebookPage)
def _(page: NotebookPage, _now: datetime) -> Lines:
    return [
        f"  JupyterLab on {page.host}: {page.url}",
        line("  It continues on the VM.  ", NextStep("StopJupyter", page.host), "  ends it"),
    ]


@lines.register(NotebookStop)
def _(stop: NotebookStop, _now: datetime) -> Lines:
    return [f"  JupyterLab on {stop.host} {'ended' if stop.ran else 'was not running'}"]


@document.register(NotebookPage)
def _(page: NotebookPage) -> Document:
    return {"host": page.host, "url": page.url}


@document.register(NotebookStop)
def _(stop: NotebookStop) -> Document:
    return {"host": stop.host, "ran": stop.ran}


@lines.register(TensorBoardPage)
def _(page: TensorBoardPage, _now: datetime) -> Lines:
    return [
        f"  TensorBoard of {page.logs} on {page.host}: {page.url}",
        line("  It continues on the VM.  ", NextStep("StopTensorBoard", host=page.host), "  ends it"),
    ]


@lines.register(TensorBoardStop)
def _(stop: TensorBoardStop, _now: datetime) -> Lines:
    return [f"  TensorBoard on {stop.host} {'ended' if stop.count else 'was not running'}"]


@document.register(TensorBoardPage)
def _(page: TensorBoardPage) -> Document:
    return {"host": page.host, "logs": page.logs, "url": page.url}


@document.register(TensorBoardStop)
def _(stop: TensorBoardStop) -> Document:
    return {"host": stop.host, "count": stop.count}
