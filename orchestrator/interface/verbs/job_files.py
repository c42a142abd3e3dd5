"""Scripts in the place of a job: the size of their upload, and the verb that writes a job.ini for one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from orchestrator.core.errors import ConfigError, UsageError
from orchestrator.core.next_step import Message, NextStep
from orchestrator.interface.render import units
from orchestrator.interface.render.styles import line
from orchestrator.interface.verbs.base import VerbGroup
from orchestrator.interface.verbs.parameters import VerbParameter

if TYPE_CHECKING:
    from orchestrator.interface.workspace import Workspace
    from orchestrator.jobs.scripts.script_job import JobSource, ScriptJob

GROUP = VerbGroup("Job files")

LARGE_BYTES, MANY_FILES = 256 << 20, 20_000
"""A larger upload is confirmed: minutes on most lines, and copied for every run."""

NAMES_SHOWN = 3
RUN_SINGLE = partial(NextStep, "RunSingleVMComputing")
ACTIONS = ("init", "show")

Action = Annotated[str, VerbParameter(metavar="{init,show}", positional=True, choices=ACTIONS)]
Script = Annotated[str, VerbParameter(metavar="SCRIPT", positional=True, completes="job")]


def confirm_upload(workspace: Workspace, source: JobSource | None, *, ask: bool = True) -> None:
    """Show what is large about the folder of a script, and ask whether to upload it.

    :param source: the job; only a script's folder was not prepared for it.
    :param ask: False: only show it, because another question follows.
    :raises UsageError: the answer was no, or no question can be asked.
    """
    from orchestrator.install import upload
    from orchestrator.jobs.scripts.script_job import EXCLUDED, OUTPUTS, ScriptJob

    if not isinstance(source, ScriptJob):
        return
    size = upload.measure(source.folder, (*OUTPUTS, *EXCLUDED))
    if size.total_bytes <= LARGE_BYTES and size.files <= MANY_FILES:
        return
    largest = sorted(size.by_name.items(), key=lambda item: -item[1])[:NAMES_SHOWN]
    named = ", ".join(f"{name} {units.size(count)}" for name, count in largest)
    total = f"{units.size(size.total_bytes)} in {units.count(size.files, 'file')}"
    workspace.console.print(f"  {source.folder.resolve()} is uploaded with the script: {total} ({named}).")
    if ask and not workspace.assume_yes and not _is_confirmed(workspace):
        fix = NextStep("Job", "init", source.text) + "  writes a job.ini; list names under exclude or data there"
        raise UsageError("Nothing was uploaded.", fix=fix)


def own_script_step(again: Callable[[str], NextStep] = RUN_SINGLE) -> Message:
    """Return the way to run a script without a job.ini, with one of the present folder if its name tells which.

    :param again: returns the verb as it was typed, with a script.
    """
    from orchestrator.jobs.scripts import find as scripts

    name = scripts.usual_script(Path()) or "your_script.py"
    return again(name) + " runs a script of your own, without the job of the config file"


@contextmanager
def offering_own_script(job: str, again: Callable[[str], NextStep] = RUN_SINGLE) -> Iterator[None]:
    """Name the way to run a script if the job of the config file has mistakes: in a fresh one it is the example.

    :param job: as it was named; empty for the one of the config file.
    :param again: returns the verb as it was typed, with a script.
    """
    try:
        yield
    except ConfigError as error:
        error.fix = error.fix or ("" if job else own_script_step(again))
        raise


def refuse_job_as_host(hosts: Sequence[str]) -> None:
    """Refuse a job where names of VMs belong.

    :raises UsageError: one of them is a path or a script.
    """
    from orchestrator.jobs.scripts.find import INTERPRETERS

    for name in hosts:
        if "/" in name or Path(name).suffix in (".ini", *INTERPRETERS):
            fix = NextStep("InstallDeps", job=name)
            raise UsageError(f"{name}: not the name of a VM; a job has to be named as such", fix=fix)


def _is_confirmed(workspace: Workspace) -> bool:
    if not workspace.console.is_interactive:
        return False
    try:
        return workspace.console.ask("  Upload all of it? [y/N] ", "n") in ("y", "yes")
    except (KeyboardInterrupt, EOFError):
        return False


def _needs_no_cloud(options: dict[str, object]) -> bool:  # noqa: ARG001 - the signature of all conditions
    return False


@GROUP.verb(
    "Job",
    "job",
    needs_cloud=_needs_no_cloud,
    examples=(NextStep("Job", "init", "train.py --epochs 3"), NextStep("Job", "show", "train.py")),
)
def job(workspace: Workspace, what: Action, script: Script = "") -> object:
    """Write the job.ini that a script stands for, or show it.

    An existing job.ini is never touched.

    what    init writes it beside the script, show prints it.
    script  the script and its arguments, or a command.
    """
    from orchestrator.jobs.scripts import find as scripts
    from orchestrator.jobs.scripts.script_job import ScriptJob

    if what not in ACTIONS:
        from orchestrator.config import ini

        raise UsageError(f"job {what}: no such action.{ini.suggest(what, ACTIONS)}", fix=", ".join(ACTIONS))
    source = scripts.find(script)
    if not isinstance(source, ScriptJob):
        message = f"{source} has a job.ini already" if source else "which script?"
        raise UsageError(message, fix=NextStep("Job", what, "train.py"))
    document = _write(workspace, source) if what == "init" else _show(workspace, source)
    return document if workspace.console.document else None


def _show(workspace: Workspace, source: ScriptJob) -> object:
    if not workspace.console.document:
        workspace.console.print_raw(source.job_file())
    return {"text": source.job_file()}


def _write(workspace: Workspace, source: ScriptJob) -> object:
    path, text = source.folder / "job.ini", source.job_file()
    run = NextStep("RunSingleVMComputing", str(source.folder) if source.folder != Path() else ".")
    try:
        # Exclusive: between a check and the writing another process could create it.
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(f"{path} exists already and is not overwritten", fix=run + "  runs it") from None
    except OSError as error:
        raise UsageError(f"cannot be written: {error.strerror}", where=str(path)) from error
    workspace.console.print(line(f"  {path} written.  Next: ", run))
    return {"job": path}
