"""Verbs on notebooks: JupyterLab on a VM."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

from orchestrator.core.next_step import NextStep
from orchestrator.interface.verbs.base import VerbGroup
from orchestrator.interface.verbs.interaction import interruptible, show
from orchestrator.interface.verbs.parameters import VerbParameter

if TYPE_CHECKING:
    from orchestrator.interface.workspace import Workspace
    from orchestrator.services.notebooks import NotebookPage, NotebookStop

GROUP = VerbGroup("Notebooks")

JUPYTER = NextStep("Jupyter")

Host = Annotated[str, VerbParameter(metavar="HOST", positional=True, also_option=True, completes="host")]


@GROUP.verb("Jupyter", "jupyter", stays_open=True, examples=(JUPYTER, NextStep("Jupyter", "ml-1")))
def jupyter(workspace: Workspace, host: Host = "") -> NotebookPage:
    """Open JupyterLab on a VM, through a tunnel.

    Installs and starts it there if it does not run. It continues without this computer, as do its kernels: again, the
    verb opens a new tunnel to it. Kernels have the packages of the jobs that are installed. The tunnel stays open until
    you exit the shell; as a command, until Ctrl-C.

    host  its name (default: the first).

    Costs  nothing beyond the VM's time.
    """
    again = NextStep("Jupyter", *([host] if host else []))
    with interruptible(workspace, "The VM continues without this computer.", again + "  opens it"):
        page = workspace.session().notebooks.open(host)
    # The tunnel outlives this verb, but not the session.
    workspace.close_later(page.close)
    show(workspace, page)
    if workspace.console.is_interactive:
        from orchestrator.interface import browser

        if file := browser.open_page(page.url, f"JupyterLab on {page.host}"):
            workspace.close_later(partial(file.unlink, missing_ok=True))
    return page


@GROUP.verb("StopJupyter", "jupyter", flag="--stop", examples=(NextStep("StopJupyter"),))
def stop_jupyter(workspace: Workspace, host: Host = "") -> NotebookStop:
    """End JupyterLab on a VM, and its kernels.

    What was not saved is lost.

    host  its name (default: the first).
    """
    return show(workspace, workspace.session().notebooks.stop(host))
