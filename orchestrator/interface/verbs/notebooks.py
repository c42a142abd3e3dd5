"""Verbs on notebooks and pages: JupyterLab, notebooks that run unattended, TensorBoard, and the log of a run."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from orchestrator.core.errors import JobFailed, UsageError
from orchestrator.core.next_step import NextStep, join
from orchestrator.interface.verbs.base import VerbGroup
from orchestrator.interface.verbs.follow import LogPrinter
from orchestrator.interface.verbs.interaction import interruptible, show, show_open
from orchestrator.interface.verbs.jobs import fetch, outcome_exit_code, run_job
from orchestrator.interface.verbs.parameters import HostName, RunId, VerbParameter

if TYPE_CHECKING:
    from orchestrator.interface.workspace import Workspace
    from orchestrator.jobs.record import RunRecord
    from orchestrator.jobs.runner import CancelReport
    from orchestrator.jobs.runs import RunHandle
    from orchestrator.services.notebooks import NotebookPage, NotebookStop
    from orchestrator.services.tensorboard import TensorBoardPage, TensorBoardStop

GROUP = VerbGroup("Notebooks and pages")

JUPYTER = NextStep("Jupyter")
EXECUTE = NextStep("Jupyter", "analysis.ipynb -p year 2024")
NOTEBOOK = re.compile(r"\.ipynb(?=[\"']?(\s|$))")

TENSORBOARD = NextStep("TensorBoard", "outputs/logs")

Logs = Annotated[str, VerbParameter(metavar="FOLDER", positional=True)]
RunOption = Annotated[str, VerbParameter(metavar="RUN", completes="run")]
Host = Annotated[str, VerbParameter(metavar="HOST", positional=True, also_option=True, completes="host")]
HostOrNotebook = Annotated[
    str, VerbParameter(metavar="HOST|NOTEBOOK", positional=True, also_option=True, completes="host")
]
Kernel = Annotated[str, VerbParameter(metavar="JOB")]
Parameters = Annotated[Mapping[str, Any] | None, VerbParameter(prompt_only=True)]


def _exit_code(answer: object, options: dict[str, Any]) -> int:
    from orchestrator.jobs.record import RunRecord
    from orchestrator.services.notebooks import NotebookPage

    return 0 if isinstance(answer, NotebookPage | RunRecord) else outcome_exit_code(answer, options)


@GROUP.verb(
    "Jupyter",
    "jupyter",
    stays_open=True,
    exit_code=_exit_code,
    examples=(JUPYTER, NextStep("Jupyter", "ml-1"), EXECUTE),
)
def jupyter(
    workspace: Workspace,
    host: HostOrNotebook = "",
    *,
    on: HostName = "",
    kernel: Kernel = "",
    parameters: Parameters = None,
    detach: bool = False,
) -> NotebookPage | RunRecord | RunHandle | CancelReport | None:
    """Open JupyterLab on a VM, or execute a notebook there.

    JupyterLab is installed and started if it does not run. It continues without this computer, as do its kernels:
    again, the verb opens it, through the same tunnel if that is open. Kernels have the packages of the jobs that are
    installed. The tunnel stays open until you exit the shell; as a command, until Ctrl-C.

    A notebook runs from its first cell to its last as RunSingleVMComputing() runs a script; the executed copy is
    fetched at its end, also after a cell that failed.

    host        a VM's name (default: the first), or a notebook; -p NAME VALUE after its name sets a parameter.
    on          the VM that executes the notebook (default: the first).
    kernel      job whose packages a new notebook has (default: that of the config file); "own" has JupyterLab's.
    parameters  of the notebook, as of papermill: {"year": 2024}.
    detach      start the notebook and return at once; Attach() shows it, FetchResults() fetches the copy.

    Costs  nothing beyond the VM's time.
    """
    _check_options(host, on=on, kernel=kernel, parameters=parameters, detach=detach)
    if NOTEBOOK.search(host):
        _check_notebook(host)
        return _execute(workspace, host + _arguments(parameters or {}), on, detach=detach)
    _refuse_path(host)
    return _open_lab(workspace, host or on, kernel)


def _check_options(host: str, *, on: str, kernel: str, parameters: Mapping[str, Any] | None, detach: bool) -> None:
    """Refuse options of the one use with the other.

    :raises UsageError: one of them does not fit, or a parameter cannot be one.
    """
    if NOTEBOOK.search(host):
        if kernel:
            raise UsageError("kernel is for JupyterLab; a notebook runs with the packages beside it", fix=EXECUTE)
    elif host and on and host != on:
        raise UsageError(f"{host} and {on}: which VM?", fix=NextStep("Jupyter", on))
    elif parameters or detach:
        name = "parameters" if parameters else "detach"
        raise UsageError(f"{name} is for a notebook that is executed; none was named", fix=EXECUTE)
    if parameters is not None and not isinstance(parameters, Mapping):
        raise UsageError(f"parameters = {parameters!r}: a dictionary, such as {{'year': 2024}}", fix=EXECUTE)
    if parameters:
        from orchestrator.jobs.scripts import notebook_file

        notebook_file.check_parameters(parameters, EXECUTE)


def _check_notebook(text: str) -> None:
    """Refuse what cannot be executed, before anything is installed or uploaded.

    :param text: a notebook and its parameters.
    :raises UsageError: there is no such notebook, or it is none, or an argument is no parameter.
    """
    from orchestrator.jobs.scripts import find as scripts

    name = _name(text)
    # os.path: raises no error for a text that cannot be a path.
    path = os.path.expanduser(name)
    if os.path.isdir(path):
        raise UsageError("a folder, not a notebook", where=name, fix=_notebook_in(path))
    # Quoted, because a name with blanks would be taken for a command.
    scripts.find(text if os.path.isfile(path) else shlex.quote(name), partial(NextStep, "Jupyter"))


def _refuse_path(host: str) -> None:
    """Refuse a script, or a path, where the name of a VM belongs.

    :raises UsageError: it is one.
    """
    if "/" in host and os.path.isdir(host):
        raise UsageError("a folder, not a VM or a notebook", where=host, fix=_notebook_in(host))
    if os.path.isfile(host):
        from orchestrator.jobs.scripts.find import INTERPRETERS

        is_script = os.path.splitext(host)[1] in INTERPRETERS
        fix = NextStep("RunSingleVMComputing", host) + "  runs a script" if is_script else EXECUTE
        raise UsageError("not a notebook", where=host, fix=fix)


def _notebook_in(folder: str) -> NextStep:
    """Return how to execute the first notebook of a folder, or an example."""
    first = next(iter(sorted(Path(folder).glob("*.ipynb"))), None)
    return NextStep("Jupyter", str(first)) if first else EXECUTE


def _name(text: str) -> str:
    """Return the notebook that a text begins with."""
    match = NOTEBOOK.search(text)
    assert match
    return text[: match.end()].strip().strip("\"'")


def _arguments(parameters: Mapping[str, Any]) -> str:
    """Return parameters as arguments: Python literals, which the host evaluates as such."""
    return "".join(f" -p {name} {shlex.quote(repr(value))}" for name, value in parameters.items())


def _execute(
    workspace: Workspace, notebook: str, host: str, *, detach: bool
) -> RunRecord | RunHandle | CancelReport | None:
    from orchestrator.jobs.runs import RunResult

    try:
        outcome = run_job(
            workspace, notebook, multi=False, names=(host,) if host else (), detach=detach, is_fetched=True
        )
    except JobFailed as error:
        if copy := _executed_copy(error.run_id, notebook):
            error.fix = join("\n  ", filter(None, [f"the executed copy: {copy}", error.fix]))
        raise
    return fetch(workspace, outcome.run_id) if isinstance(outcome, RunResult) else outcome


def _executed_copy(run_id: str, notebook: str) -> Path | None:
    """Return the fetched copy of a notebook; None if there is none."""
    path = Path("runs", run_id, "outputs", Path(_name(notebook)).name)
    return path if run_id and path.is_file() else None


def _open_lab(workspace: Workspace, host: str, kernel: str) -> NotebookPage:
    again = NextStep("Jupyter", *([host] if host else []))
    with interruptible(workspace, "The VM continues without this computer.", again + "  opens it"):
        page = _opened(workspace, host, kernel)
    show_open(workspace, page)
    if workspace.console.is_interactive:
        from orchestrator.interface import browser

        if file := browser.open_page(page.url, f"JupyterLab on {page.host}"):
            workspace.close_later(partial(file.unlink, missing_ok=True))
    return page


def _opened(workspace: Workspace, host: str, kernel: str) -> NotebookPage:
    try:
        return workspace.session().notebooks.open(host, kernel)
    except UsageError as error:
        # A VM and a folder may have the same name.
        if host and os.path.isdir(host):
            error.fix = _notebook_in(host) + "  executes a notebook in the folder"
        raise


@GROUP.verb("StopJupyter", "jupyter", flag="--stop", examples=(NextStep("StopJupyter"),))
def stop_jupyter(workspace: Workspace, host: Host = "") -> NotebookStop:
    """End JupyterLab on a VM, and its kernels.

    What was not saved is lost.

    host  its name (default: the first).
    """
    return show(workspace, workspace.session().notebooks.stop(host))


@GROUP.verb(
    "TensorBoard",
    "tensorboard",
    stays_open=True,
    examples=(TENSORBOARD, NextStep("TensorBoard", "outputs/logs", run="k3", host="ml-1")),
)
def tensorboard(workspace: Workspace, logs: Logs = "", *, run: RunOption = "", host: HostName = "") -> TensorBoardPage:
    """Show a run's logs in TensorBoard, through a tunnel.

    TensorBoard is installed and started on the VM if it does not run. It continues there without this computer, on the
    VM's loopback address. The tunnel stays open until you exit the shell; as a command, until Ctrl-C.

    logs  folder in the run's working directory (default: outputs), or an absolute path on the VM.
    run   its id, or the end of it (default: the newest on the VM).
    host  its name (default: the first).

    Costs  nothing beyond the VM's time.
    """
    logs = logs or "outputs"
    if logs.startswith("-") or any(not letter.isprintable() for letter in logs):
        raise UsageError(f"{logs!r}: not a folder on a VM", fix=TENSORBOARD)
    if ".." in logs.split("/") and not logs.startswith(("/", "~/")):
        raise UsageError(f"{logs}: outside of the run's working directory", fix=TENSORBOARD)
    if run and not run.replace("-", "").isalnum():
        raise UsageError(f"{run!r}: not the id of a run", fix=NextStep("Runs") + "  lists them")
    again = NextStep("TensorBoard", logs)
    with interruptible(workspace, "The VM continues without this computer.", again + "  opens it"):
        session = workspace.session()
        if run:
            session.runs.check_on_vms(run)
        page = session.tensorboard.open(logs, host, run)
    return show_open(workspace, page)


@GROUP.verb("StopTensorBoard", "tensorboard", flag="--stop", examples=(NextStep("StopTensorBoard"),))
def stop_tensorboard(workspace: Workspace, *, host: HostName = "") -> TensorBoardStop:
    """End TensorBoard on a VM.

    host  its name (default: the first).
    """
    return show(workspace, workspace.session().tensorboard.stop(host))


@GROUP.verb("Screen", "screen", document=None, examples=(NextStep("Screen"), NextStep("Screen", "k3")))
def screen(workspace: Workspace, run: RunId = "", *, host: HostName = "") -> None:
    """Show the log of a run as it comes; Ctrl-C leaves it.

    All its tasks: workers and schedulers, too. The run continues in any case; Attach() shows the main task alone, and
    offers to cancel.

    run   its id, or the end of it (default: the newest).
    host  only this host's log.
    """
    printer = LogPrinter(workspace.console, with_host=not host)
    print_line = printer.listener()
    try:
        for name, text in workspace.session().runs.logs(run, host=host, follow=True):
            print_line(name, text)
    except KeyboardInterrupt:
        printer.pause()
        again = NextStep("Screen", *([run] if run else []))
        workspace.console.print(["", "  Left; the run continues. " + again + " shows it again."])
