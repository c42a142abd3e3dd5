"""Runs one host's part of a run in a training container of SageMaker; standard library only.

    python training_host.py CODE-FOLDER ML-FOLDER         ML-FOLDER: /opt/ml

CODE-FOLDER is the channel `code`: run.tar.gz holds the run as on a VM (workdir, task, bin ...), what each host gets
alone (own/HOST) and run.json. The layout on a VM is made in ML-FOLDER/stratus, the tasks of this host are started, and
the lines of its main task are printed. Every container of a job has to end with 0: one without a main task does when
its helpers have ended. Results: outputs of the first host in ML-FOLDER/model; logs, and outputs of other hosts, in
ML-FOLDER/output/data/HOST. ML-FOLDER/output/failure is the reason of a failure that SageMaker reports.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

from training_environment import Environment, print_line
from training_files import RunError, fail, link, move_content, replace_placeholders, resolve, set_variable, unpack

GRACE_S = 100.0  # SageMaker sends SIGKILL 120 s after SIGTERM; the results have to be moved as well
POLL_S = 0.05
PIPED_EPOCHS = 1000
TAIL_LINES = 8


def session_members(sessions: set[int]) -> list[int]:
    """Return the processes of some sessions, by /proc: images may lack the program ps."""
    members = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            # The name of the program, in brackets, may contain blanks: "pid (name) state ppid pgrp session".
            fields = stat.read_text(errors="replace").rpartition(")")[2].split()
            if int(fields[3]) in sessions and fields[0] != "Z":
                members.append(int(stat.parent.name))
    return members


def command_line(pid: int) -> str:
    """Return the command line of a process; empty if it has ended."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""


class Host:
    """This container's part of the run.

    :ivar stopping: True once SageMaker has sent SIGTERM.
    """

    def __init__(self, code: Path, ml: Path) -> None:
        self.code, self.ml = code, ml
        self.resources: dict[str, Any] = json.loads((ml / "input/config/resourceconfig.json").read_text())
        self.name: str = self.resources["current_host"]
        self.root = ml / "stratus"
        self.stopping = False
        self.tasks: list[subprocess.Popen[bytes]] = []
        self.env = dict(os.environ)
        self.run: dict[str, Any] = {}
        self.folder = self.root / "none"
        self.environment = Environment(self.root, self.folder, self.run, self.env)
        self.printed = 0

    def prepare(self) -> None:
        """Make the layout of a VM.

        :raises RunError: something of it cannot be made.
        """
        fresh = self.root / "new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        os.umask(0o077)
        unpack(self.code / "run.tar.gz", fresh)
        self.run = json.loads((fresh / "run.json").read_text())
        self.folder = self.root / "runs" / self.run["run"]
        # A spot interruption starts the container again, on another disk; a retry may do so on the same one.
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        fresh.rename(self.folder)
        own = self.folder / "own" / self.name
        if not own.is_dir():
            raise RunError(f"the run has no task for {self.name}: it was planned for other hosts")
        move_content(own, self.folder)
        shutil.rmtree(self.folder / "own")
        for name in ("log", "state", "home", "workdir"):
            (self.folder / name).mkdir(exist_ok=True)
        # The job's files are for all users, as its program may start others.
        os.umask(0o022)
        self.link_channels()
        addresses = resolve(self.run["hosts"])
        placeholders = {self.run["hosts"][name]: address for name, address in addresses.items()}
        replace_placeholders(self.folder, placeholders)

    def link_channels(self) -> None:
        """Link the channels into the working directory: folders, or pipes, which are made when an epoch begins."""
        modes = json.loads((self.ml / "input/config/inputdataconfig.json").read_text())
        for channel, name in self.run["links"].items():
            is_piped = modes.get(channel, {}).get("TrainingInputMode") == "Pipe"
            for ending in [f"_{epoch}" for epoch in range(PIPED_EPOCHS)] if is_piped else [""]:
                link(self.ml / "input/data" / f"{channel}{ending}", self.folder / "workdir" / f"{name}{ending}")

    def set_environment(self) -> None:
        """Set the variables of all tasks: those of SageMaker's own toolkit among them, for programs that use them."""
        hyperparameters = self.hyperparameters()
        options = [word for name, value in hyperparameters.items() for word in (f"--{name}", value)]
        self.env.update(
            HOME=str(self.folder / "home"),
            SM_MODEL_DIR=str(self.ml / "model"),
            SM_OUTPUT_DATA_DIR=str(self.ml / "output/data"),
            SM_HOSTS=json.dumps(self.resources["hosts"]),
            SM_CURRENT_HOST=self.name,
        )
        set_variable(self.folder, "STRATUS_HYPERPARAMETERS", shlex.join(options))
        for channel in (self.ml / "input/data").glob("*"):
            self.env["SM_CHANNEL_" + re.sub(r"\W", "_", channel.name).upper()] = str(channel)
        for name, value in hyperparameters.items():
            self.env["SM_HP_" + re.sub(r"\W", "_", name).upper()] = value
        checkpoints = self.run.get("checkpoints")
        if checkpoints:
            link(self.ml / "checkpoints", self.folder / "workdir" / checkpoints)
            (self.folder / "checkpoints.dir").write_text(checkpoints + "\n")
        self.bring_ps()

    def hyperparameters(self) -> dict[str, str]:
        """Return the hyper-parameters without those that SageMaker adds; values of a tuning job are quoted."""
        try:
            values = json.loads((self.ml / "input/config/hyperparameters.json").read_text())
        except (OSError, ValueError):
            return {}
        return {name: str(value).strip('"') for name, value in values.items() if not name.startswith("_")}

    def bring_ps(self) -> None:
        """Bring a program ps for the mesh's scripts to an image without it."""
        if shutil.which("ps"):
            return
        bin_folder = self.folder / "programs"
        bin_folder.mkdir()
        script = f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(__file__)} ps "$4"\n'
        (bin_folder / "ps").write_text(script)
        (bin_folder / "ps").chmod(0o755)
        self.env["PATH"] = f"{bin_folder}{os.pathsep}{self.env.get('PATH', os.defpath)}"

    def install(self) -> None:
        """Install what the job needs besides the image.

        :raises RunError: a step failed; its output was printed.
        """
        self.environment = Environment(self.root, self.folder, self.run, self.env)
        self.environment.install()

    def start(self) -> None:
        """Start the tasks, each in a session of its own, as on a VM."""
        for file in sorted((self.folder / "task").glob("*.cmd")):
            command = ["sh", str(self.folder / "bin/task.sh"), str(self.folder), file.stem, str(self.environment.venv)]
            null = subprocess.DEVNULL
            self.tasks.append(
                subprocess.Popen(command, env=self.env, stdin=null, stdout=null, stderr=null, start_new_session=True)
            )

    @property
    def has_main(self) -> bool:
        """True if the exit status of the job's own command counts here."""
        return (self.folder / "task/main.cmd").exists()

    def wait(self) -> None:
        """Print the lines of the main task until all tasks have ended, or have to."""
        signalled_at = None
        while any(task.poll() is None for task in self.tasks):
            self.print_new_lines()
            if self.stopping and signalled_at is None:
                signalled_at = time.monotonic()
                self.signal(signal.SIGTERM)
            if signalled_at is not None and time.monotonic() > signalled_at + GRACE_S:
                self.signal(signal.SIGKILL)
                break
            time.sleep(POLL_S)
        self.print_new_lines()

    def signal(self, number: int) -> None:
        """Signal the processes of all tasks; the shells around them stay, which record their exit status."""
        own = f"sh {self.folder}/"
        if os.readlink("/proc/self") != str(os.getpid()):
            # The process table is that of another namespace of process ids: the groups are all that is known.
            for task in self.tasks:
                with contextlib.suppress(OSError):
                    os.killpg(task.pid, number)
            return
        for pid in session_members({task.pid for task in self.tasks}):
            if number == signal.SIGKILL or not command_line(pid).startswith(own):
                with contextlib.suppress(OSError):
                    os.kill(pid, number)

    def print_new_lines(self) -> None:
        """Print what the main task has written since the last call."""
        with contextlib.suppress(FileNotFoundError), open(self.folder / "log/main.log", "rb") as log:
            log.seek(self.printed)
            while chunk := log.read(1 << 16):
                self.printed += len(chunk)
                sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()

    def exit_status(self) -> int:
        """Return the status of the main task; 0 on a host without one, whose helpers end with the job."""
        if not self.has_main:
            return 0
        try:
            text = (self.folder / "state/main.rc").read_text().strip()
            return int(text)
        except (OSError, ValueError):
            return 143 if self.stopping else 1

    def last_lines(self) -> list[str]:
        """Return the last lines of the main task."""
        with contextlib.suppress(OSError):
            text = (self.folder / "log/main.log").read_text(errors="replace")
            return [line for line in text.splitlines() if line.strip()][-TAIL_LINES:]
        return []

    def collect(self, *, ok: bool) -> None:
        """Move outputs and logs to where SageMaker uploads them from."""
        own = self.ml / "output/data" / self.name
        is_first = self.name == next(iter(self.run["hosts"]))
        # Of a failed job SageMaker uploads no model.
        target = self.ml / "model" if is_first and (ok or self.stopping) else own / "outputs"
        if self.has_main:
            for output, name in self.run["outputs"].items():
                source = self.folder / "workdir" / output
                if source.is_dir():
                    move_content(source, target / name)
                elif source.exists():
                    target.mkdir(parents=True, exist_ok=True)
                    shutil.move(str(source), str(target / source.name))
        move_content(self.folder / "log", own / "logs")
        if is_first:
            self.write_versions(own)

    def write_versions(self, folder: Path) -> None:
        """Write the packages that the job could import, as pip freeze does."""
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            (folder / "versions.txt").write_bytes(self.environment.versions())


def main(code: Path, ml: Path) -> int:
    """Run this host's part; return the exit status of the container."""
    host = Host(code, ml)

    def stop(_number: int, _frame: FrameType | None) -> None:
        host.stopping = True

    signal.signal(signal.SIGTERM, stop)
    try:
        host.prepare()
        host.set_environment()
        host.install()
    except (RunError, OSError, subprocess.SubprocessError) as error:
        print_line(str(error))
        fail(ml, f"{host.name}: {error}")
        return 1
    host.start()
    host.wait()
    status = host.exit_status()
    if status and not host.stopping:
        fail(ml, "\n".join([f"{host.run['job']} on {host.name} failed (exit {status})", *host.last_lines()]))
    host.collect(ok=not status)
    return status


def print_members(session: str) -> int:
    """Stand in for `ps -o pid= -s SESSION`."""
    print("\n".join(map(str, session_members({int(session)}))))
    return 0


if __name__ == "__main__":
    if sys.argv[1] == "ps":
        sys.exit(print_members(sys.argv[2]))
    sys.exit(main(Path(sys.argv[1]).absolute(), Path(sys.argv[2])))
