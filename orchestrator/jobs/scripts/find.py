"""Resolve the text that names a job: a folder, an .ini file, a script with arguments, or a command."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeAlias

from orchestrator.config import ini
from orchestrator.core.errors import UsageError
from orchestrator.core.next_step import NextStep, Text
from orchestrator.jobs.scripts import notebook_file
from orchestrator.jobs.scripts.script_job import ScriptJob

INTERPRETERS = {".py": "python", ".sh": "bash", ".R": "Rscript", ".r": "Rscript", ".jl": "julia"}
"""Suffix of a script -> program that runs it."""

NOTEBOOK = ".ipynb"
NOTEBOOK_PACKAGES = ("nbclient", "ipykernel")
RUN_NOTEBOOK = 'python "$STRATUS_FOLDER/bin/run_notebook.py"'
"""Executes a notebook; a file of every run."""

PROGRAMS = ("python", "bash", "sh", "Rscript", "julia", "torchrun", "accelerate", "deepspeed", "make")
"""Programs that a command may begin with; anything else is taken for a misspelled script."""

_ON_VMS = ("RunSingleVMComputing", "RunMultiVMComputing", "RunExperiment", "InstallDeps")
SHOWN = 3
MAIN_SCRIPTS = ("main.py", "train.py")
_CALLED = re.compile(r"predict|serve|inference|setup|conftest|test_.*|_.*")

Again: TypeAlias = Callable[[str], NextStep]
RUN_SINGLE = partial(NextStep, "RunSingleVMComputing")


def find(text: str, again: Again = RUN_SINGLE) -> Path | ScriptJob | None:
    """Return the job that a text names, None for an empty one.

    A script, or a notebook, runs in its own folder, a command (``python -m trainer``) in the present one.

    :param again: returns the verb as it was typed, with another job.
    :return: a folder or .ini file as a path, else a script.
    :raises UsageError: there is no such job.
    """
    text = text.strip()
    if not text:
        return None
    if "\n" in text:
        raise UsageError("a command is one line", where=text.splitlines()[0])
    path = _local(text)
    if _exists(path) and path.is_dir():
        return _folder(path, again)
    if path.suffix == ".ini":
        return path
    script, arguments = _split(text)
    if script is None:
        return _command(text, again)
    packages: tuple[str, ...] = ()
    if script.suffix == NOTEBOOK:
        # With an operator of the shell, not all of them are the notebook's.
        parameters = [] if re.search(r"[|&;<>]", arguments) else _words(arguments)
        notebook_file.check(script, parameters, again(f"{script} -p year 2024"))
        packages = NOTEBOOK_PACKAGES
    _check_paths(script.parent, arguments)
    return ScriptJob(text, script.parent, " ".join(filter(None, [_start(script), arguments])), packages)


def _local(text: str) -> Path:
    """Return a path of this computer; ``~`` is the home folder."""
    try:
        return Path(text).expanduser()
    # No user of that name; a NUL in it.
    except (RuntimeError, ValueError):
        return Path(text)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False  # longer than a file name can be


def _words(text: str) -> list[str]:
    """Return the words of a shell command.

    :raises UsageError: a quotation mark lacks its counterpart.
    """
    try:
        return shlex.split(text)
    except ValueError as error:
        raise UsageError(f"{text}: {str(error).lower()}") from None


def _folder(path: Path, again: Again) -> Path:
    """Return a job's folder; one with scripts alone is none."""
    if not (path / "job.ini").is_file():
        names = [script.name for script in own_scripts(path)]
        usual = usual_script(path)
        fix = again(str(path / usual)) + "  takes a script in it" if usual else ""
        listed = f"name one of its scripts: {', '.join(names[:SHOWN])}{' ...' if len(names) > SHOWN else ''}"
        raise UsageError("a folder without a job.ini", where=str(path), fix=fix or (listed if names else ""))
    return path


def own_scripts(folder: Path) -> list[Path]:
    """Return the scripts of a folder that a run may begin with: not those that Stratus, Python or pytest call."""
    return [path for path in sorted(folder.glob("*.py")) if not _CALLED.fullmatch(path.stem)]


def usual_script(folder: Path) -> str:
    """Return the name of a folder's main script, or of its only one; empty if its names do not tell."""
    names = [path.name for path in own_scripts(folder)]
    usual = [name for name in names if name in MAIN_SCRIPTS]
    # Alphabetically train.py comes last.
    return usual[-1] if usual else names[0] if len(names) == 1 else ""


def _split(text: str) -> tuple[Path | None, str]:
    """Return the script that a text begins with, and its arguments; None if it begins with none."""
    quoted = re.match(r"""(["'])(.+?)\1(?:\s+(.*))?$""", text)
    candidates = [(quoted[2], quoted[3] or "")] if quoted else list(_prefixes(text))
    for name, arguments in candidates:
        path = _local(name)
        if _exists(path) and path.is_file():
            return path, arguments.strip()
    return None, text


def _prefixes(text: str) -> Iterator[tuple[str, str]]:
    """Yield (beginning, rest) at every blank, the longest beginning first: a path may have blanks in it."""
    yield text, ""
    for match in reversed(list(re.finditer(r"\s+", text))):
        yield text[: match.start()], text[match.end() :]


def _start(script: Path) -> str:
    """Return the command that starts a script in its own folder."""
    # ./ before a name that begins with a dash, which would be an option.
    name = f"{'./' * script.name.startswith('-')}{shlex.quote(script.name)}"
    if script.suffix == NOTEBOOK:
        return f"{RUN_NOTEBOOK} {name}"
    if program := INTERPRETERS.get(script.suffix):
        return f"{program} {name}"
    if os.access(script, os.X_OK):
        return f"./{name.removeprefix('./')}"
    known = ", ".join((*INTERPRETERS, NOTEBOOK))
    raise UsageError(f"neither executable nor one of {known}", where=str(script), fix=f"chmod +x {script}")


def _command(text: str, again: Again) -> ScriptJob:
    """Return a command that runs in the present folder."""
    arguments = _words(text)
    # Variables for this command alone come before its program.
    while len(arguments) > 1 and re.match(r"[A-Za-z_]\w*=", arguments[0]):
        arguments.pop(0)
    program = arguments.pop(0)
    # python3.11, too.
    if re.sub(r"[0-9.]+$", "", program) not in PROGRAMS:
        raise _missing(program, text, again)
    script = next((word for word in arguments if not word.startswith("-")), "")
    if Path(script).suffix in INTERPRETERS and "-m" not in arguments and "-c" not in arguments:
        if not _exists(Path(script)):
            raise _missing(script, text, again)
        if not Path(script).resolve().is_relative_to(Path.cwd()):
            fix = again(script) + " uploads its own folder"
            raise UsageError("a command uploads the present folder, and this script is outside", where=script, fix=fix)
    return ScriptJob(text, Path(), text)


def _missing(name: str, text: str, again: Again) -> UsageError:
    """Return the error for a script that does not exist, with what it may have been."""
    folder = _local(name).parent
    entries = sorted(folder.iterdir()) if _exists(folder) and folder.is_dir() else []
    is_notebook = Path(name).suffix == NOTEBOOK
    suffixes = (NOTEBOOK,) if is_notebook else (*INTERPRETERS, NOTEBOOK)
    known = [
        entry.name
        for entry in entries
        if entry.suffix in suffixes or (not is_notebook and (entry / "job.ini").is_file())
    ]
    # Without their suffixes, which all scripts have in common.
    stems = {Path(entry).stem: entry for entry in known}
    near = stems.get(ini.nearest(Path(name).stem, stems), "")
    shown = f"{', '.join(known[:SHOWN])}{' ...' if len(known) > SHOWN else ''}"
    advice = f" Did you mean {near}?" if near else f" In {folder.resolve()}: {shown}." if known else ""
    where = "here" if folder == Path() else f"in {folder}"
    kind = "notebook" if is_notebook else "script or job"
    fix = _instead(text, str(folder / near) if near else "", again)
    return UsageError(f"{Path(name).name}: no such {kind} {where}.{advice}", fix=fix)


def _instead(text: str, near: str, again: Again) -> Text:
    """Return what to type instead: RunCommand is for VMs, and no help to a user of another verb."""
    if " " in text and NOTEBOOK not in text and again(text).verb in _ON_VMS:
        return NextStep("RunCommand", text) + "  runs any command on every VM"
    return again(near) if near and again(text).verb not in _ON_VMS else ""


def _check_paths(folder: Path, arguments: str) -> None:
    """Refuse paths that exist on this computer only: an argument's path is relative to the script's folder.

    :raises UsageError: there is one.
    """
    for word in _words(arguments):
        value = word.partition("=")[2] if word.startswith("-") else word
        path = _local(value)
        if not value or not _exists(path) or (not path.is_absolute() and _exists(folder / path)):
            continue
        if path.resolve().is_relative_to(folder.resolve()):
            inside = path.resolve().relative_to(folder.resolve())
            raise UsageError(f"{value}: paths are relative to the script's folder: write {inside}")
        if not path.is_absolute():
            raise UsageError(f"{value}: not uploaded, it is outside the script's folder {folder.resolve()}")
