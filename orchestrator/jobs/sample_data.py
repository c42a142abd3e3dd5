"""Sample data of a job: its ``sample`` command, run on this computer in an environment of its own.

The environment is created when it is first needed, and shared by jobs with the same requirements.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.core import file_lock, text_file
from orchestrator.core.errors import StratusError, UsageError
from orchestrator.jobs import spec
from orchestrator.jobs.storage import data_items

INSTALL_TIMEOUT_S = 1800.0
COMMAND_TIMEOUT_S = 3600.0
_COMPLETE = "complete"

OnLine = Callable[[str], None]


@dataclass(frozen=True)
class SampleData:
    """Sample data on this computer.

    :param command: the command that creates it, in the job's folder.
    :param paths: the files and folders that it creates, which the job takes as its data.
    :param requirements: requirements file of the command; None if it needs the standard library only.
    """

    folder: Path
    command: str
    paths: tuple[Path, ...]
    requirements: Path | None

    @property
    def missing(self) -> tuple[Path, ...]:
        """Those that do not exist yet, or are empty."""
        return tuple(path for path in self.paths if not data_items.has_content(path))


def load(job: Path, env: Mapping[str, str]) -> SampleData:
    """Read what a job's file says about its sample data.

    :param job: the job's folder, or its .ini file.
    :raises UsageError: the job has no command for it.
    """
    file = job if job.suffix == ".ini" else job / "job.ini"
    options = spec.read_options(file, env)
    if not options.sample:
        raise UsageError("the job has no command that creates sample data", where=str(file), fix="sample = ... in it")
    sources = (line.partition("->")[0].strip() for line in options.data)
    paths = tuple(file.parent / source for source in sources if "://" not in source)
    requirements = options.sample_requirements or options.requirements
    return SampleData(file.parent, options.sample, paths, file.parent / requirements if requirements else None)


def create(sample: SampleData, environments: Path, on_line: OnLine) -> None:
    """Create sample data; what a failed command has written of data that was missing is removed again.

    :param environments: folder of the environments on this computer.
    :param on_line: called with every line of output.
    :raises StratusError: the packages cannot be installed, or the command fails.
    """
    # Absolute: the command starts in another folder.
    env = dict(os.environ)
    env["PATH"] = f"{_environment(sample.requirements, environments, on_line).absolute()}/bin:{env.get('PATH', '')}"
    missing = sample.missing
    try:
        status = _run(sample.command, sample.folder, env, on_line)
        if status or sample.missing:
            problem = f"exit status {status}" if status else f"it has not created {sample.missing[0]}"
            raise StratusError(f"{sample.command}: {problem}", where=str(sample.folder))
    except BaseException:
        # Half of the data would pass for all of it.
        for path in missing:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        raise


def _environment(requirements: Path | None, environments: Path, on_line: OnLine) -> Path:
    """Return a virtual environment with these packages; it is created if there is none."""
    text = text_file.read(requirements) if requirements else ""
    digest = hashlib.sha256(f"{sys.version_info[:2]} {text}".encode()).hexdigest()[:12]
    folder = environments / digest
    with file_lock.hold(environments / f"{digest}.lock", "installing the packages of the sample data"):
        if not (folder / _COMPLETE).exists():
            on_line(f"creating an environment for it (once): {folder}")
            # Without pip it takes a tenth of a second instead of ten.
            options = ["--clear"] if requirements else ["--clear", "--without-pip"]
            _check([sys.executable, "-m", "venv", *options, str(folder)])
            if requirements:
                pip = [str(folder / "bin/python"), "-m", "pip", "install", "--disable-pip-version-check", "--quiet"]
                _check([*pip, "-r", str(requirements)])
            (folder / _COMPLETE).touch()
    return folder


def _check(command: list[str]) -> None:
    """Run a command that prepares the environment.

    :raises StratusError: it fails; with the last line of its output.
    """
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=INSTALL_TIMEOUT_S)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no output"]
        raise StratusError(f"{lines[-1]} (exit status {done.returncode})", where=" ".join(command[1:4]))


def _run(command: str, folder: Path, env: Mapping[str, str], on_line: OnLine) -> int:
    """Run a shell command, pass on its output and return its exit status."""
    # A session of its own: nothing that the command has started is left when it is interrupted.
    process = subprocess.Popen(
        ["sh", "-c", command],
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    with _killed_at_the_end(process):
        assert process.stdout is not None
        for line in process.stdout:
            on_line(line.rstrip("\n"))
        return process.wait()


@contextlib.contextmanager
def _killed_at_the_end(process: subprocess.Popen[str]) -> Iterator[None]:
    def kill() -> None:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)

    timer = threading.Timer(COMMAND_TIMEOUT_S, kill)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        kill()
        process.wait()
