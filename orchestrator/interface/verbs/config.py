"""The verb on the config file: show it, check it, write one to start from."""

from __future__ import annotations

import os
import typing
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from orchestrator.core.errors import ConfigError, UsageError
from orchestrator.core.next_step import NextStep, join
from orchestrator.interface.render import units
from orchestrator.interface.render.styles import job_line, line
from orchestrator.interface.verbs.base import VerbGroup
from orchestrator.interface.verbs.parameters import JobPath, VerbParameter

if TYPE_CHECKING:
    from orchestrator.interface.workspace import Workspace

GROUP = VerbGroup("Config file and sample data")

ACTIONS = ("check", "init", "show", "template", "reference")

Row: typing.TypeAlias = tuple[str, str, str, str]
"""Section, option, value and origin of a setting."""

Action = Annotated[
    str,
    VerbParameter(metavar=f"{{{','.join(ACTIONS)}}}", positional=True, choices=ACTIONS, command_default="check"),
]
ConfigPath = Annotated[str | Path, VerbParameter(prompt_only=True)]


def _needs_cloud(options: dict[str, Any]) -> bool:
    # Settings may refer to the cloud that they are for; a fresh file does not.
    return options.get("what") in ("check", "show")


@GROUP.verb(
    "Config",
    "config",
    needs_cloud=_needs_cloud,
    examples=(NextStep("Config", "check"), NextStep("Config", "show")),
)
def config(workspace: Workspace, what: Action = "show", *, use: ConfigPath = "") -> object:
    """Show, check or create the config file.

    what  check, show (every setting and its origin), init, template or reference.
    use   path of another config file to use from now on.
    """
    if use:
        _check_exists(Path(use))
        workspace.use_config(Path(use))
        workspace.console.print(f"  Using {use} from now on.")
        return None
    if what not in ACTIONS:
        from orchestrator.config import ini

        actions_hint = join("  ", [NextStep("Config", action) for action in ACTIONS])
        raise UsageError(f"config {what}: no such action.{ini.suggest(what, ACTIONS)}", fix=actions_hint)
    actions: dict[str, Callable[[Workspace], object]] = {
        "check": check,
        "show": show,
        "init": init,
        "template": template,
        "reference": reference,
    }
    document = actions[what](workspace)
    # At the prompt everything is on the screen already.
    return document if workspace.console.document else None


def _check_exists(path: Path) -> None:
    if not path.is_file():
        from orchestrator.config import ini

        near = ini.suggest(path.name, sorted(other.name for other in path.parent.glob("*.ini")))
        raise UsageError(f"{path}: no such file.{near}")


def check(workspace: Workspace) -> object:
    """Report that config and job are valid, or all mistakes in them."""
    from orchestrator.config.access import Access
    from orchestrator.jobs import spec as jobs_spec

    try:
        # With its files, unlike show: this is the check that a launch would make.
        settings = workspace.settings()
        access = Access.of(settings.job)
        spec = jobs_spec.load(Path(settings.job.run), os.environ, runtime=settings.job.runtime, access=access)
    except ConfigError as error:
        raise ConfigError(error.problems, consequence="") from None
    workspace.show_warnings(settings)
    warnings = units.count(len(settings.warnings), "warning")
    workspace.console.print(f"  {settings.path}: no mistakes, {warnings}.  Job {spec.name}: no mistakes.")
    return {"config": settings.path, "job": spec.name, "warnings": settings.warnings}


def show(workspace: Workspace) -> object:
    """Show every setting and its origin."""
    from orchestrator.config import settings

    rows = [_effective(row, workspace.home) for row in settings.to_rows(workspace.settings(files=False))]
    # A value over several lines would break the table.
    cells = [[f"[{section}]", name, value.replace("\n", " "), origin] for section, name, value, origin in rows]
    workspace.console.print(units.columns(cells))
    return [dict(zip(("section", "option", "value", "origin"), row, strict=True)) for row in rows]


def _effective(row: Row, home: Path) -> Row:
    """Return the row of a setting; the owner id that is kept on this computer, if there is one, for an empty one."""
    from orchestrator.aws import owner_id

    section, name, value, _ = row
    local_id = owner_id.read(home).value if (section, name) == ("cluster", "owner_id") and not value else ""
    return (section, name, local_id, "this computer") if local_id else row


def init(workspace: Workspace) -> object:
    """Write a commented config file and a small job to start from; what exists is never touched."""
    from orchestrator.config import project

    path = workspace.named_config or Path("config/config.ini")
    try:
        new = project.write(path)
    except FileExistsError:
        fix = NextStep("Config", "check") + "  validates it"
        raise UsageError(f"{path} exists already and is not overwritten", fix=fix) from None
    folder = os.path.relpath(new.job)
    if new.is_job_kept:
        workspace.console.print(f"  {path} written. Its job {folder}/ existed already, and stays as it is.")
    else:
        workspace.console.print(f"  {path} and the job {folder}/ written. They run as they are.")
    rehearsal = f"{workspace.console.program.removesuffix(' --local')} --local launch"
    edited = line(f"  Next: {rehearsal}  (no AWS account needed).  After editing: ", NextStep("Config", "check"))
    workspace.console.print(edited)
    return {"config": path, "job": new.job}


def template(workspace: Workspace) -> object:
    """Print the commented config file."""
    from orchestrator.config import settings

    return _print(workspace, settings.template())


def reference(workspace: Workspace) -> object:
    """Print the reference page of all settings, in Markdown."""
    from orchestrator.config import settings

    return _print(workspace, settings.reference())


def _print(workspace: Workspace, text: str) -> object:
    # In a document the text is a value; printed as well, it would break the JSON.
    if not workspace.console.document:
        workspace.console.print_raw(text)
    return {"text": text}


SampleJob = Annotated[str, replace(typing.get_args(JobPath)[1], positional=True)]


def _needs_no_cloud(options: dict[str, Any]) -> bool:  # noqa: ARG001 - the signature of all conditions
    return False


@GROUP.verb("SampleData", "sample-data", needs_cloud=_needs_no_cloud, examples=(NextStep("SampleData"),))
def sample_data(workspace: Workspace, job: SampleJob = "") -> object:
    """Create a job's sample data on this computer.

    Its command is in job.ini. The packages that it needs are installed into an environment of its own, the first time.

    job  folder of the job, or its .ini file (default: [job] run in the config file).

    Costs  nothing.
    """
    from orchestrator.jobs import sample_data as samples

    sample = samples.load(Path(job or workspace.settings(files=False).job.run), os.environ)
    console = workspace.console
    if sample.paths and not sample.missing:
        console.print(f"  {sample.paths[0]} exists. Nothing to do.")
    else:
        console.print(f"  {sample.command}   in {sample.folder}")
        samples.create(sample, workspace.home / "environments", lambda text: console.print(job_line(text)))
        install = NextStep("InstallDeps", **({"job": job} if job else {}))
        console.print(line("  Created.  Next: ", install, ", or ", NextStep("LaunchInstances"), " if no VM is up"))
    return {"command": sample.command, "data": sample.paths} if console.document else None
