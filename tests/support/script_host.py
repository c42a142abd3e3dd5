"""Scripts of the VMs, run on this computer by a real sh in a home folder of their own."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.core import remote_scripts
from orchestrator.core.clock import REAL_CLOCK
from orchestrator.core.host import Host
from orchestrator.install.parcel import Parcel, change_files
from orchestrator.install.requests import HostRequests
from orchestrator.install.upload import Upload

TIMEOUT_S = 60
HOST = Host("vm", "127.0.0.1", "127.0.0.1", 22, "ubuntu", Path("key"), "", "i-0")


@dataclass(frozen=True)
class ScriptHost:
    """A home folder in which scripts run as SSH would run them, or a login over SSH.

    :param shell: runs the command that follows.
    """

    home: Path
    shell: tuple[str, ...] = field(default=("sh", "-c"), kw_only=True)

    @property
    def env(self) -> dict[str, str]:
        """Environment of a login."""
        return {"HOME": str(self.home), "PATH": os.environ["PATH"]} | {
            name: value for name, value in os.environ.items() if name.startswith("PIP_")
        }

    def run(self, command: str, stdin: bytes = b"") -> str:
        """Run a command to its end and return its standard output."""
        done = subprocess.run(
            [*self.shell, command], input=stdin, env=self.env, cwd=self.home, capture_output=True, timeout=TIMEOUT_S
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    def install(self, plan: list[list[str]], upload: Upload | None = None, **files: bytes) -> tuple[int, list[str]]:
        """Run an installation plan, sending the upload on request; return the exit status and all lines."""
        text = "".join(shlex.join(step) + "\n" for step in plan).encode()
        scripts = remote_scripts.scripts(remote_scripts.INSTALL_SCRIPTS)
        command = [*self.shell, remote_scripts.bundle_command("install.sh")]
        with subprocess.Popen(command, env=self.env, cwd=self.home, stdin=-1, stdout=-1, stderr=-2) as process:
            assert process.stdin
            assert process.stdout
            changes = remote_scripts.bundle_copies(change_files(upload) if upload else ())
            process.stdin.write(remote_scripts.bundle(scripts | {"plan": text} | files, changes))
            process.stdin.flush()
            lines = []
            parcels = {upload.name: Parcel(upload, self.home.parent)} if upload else {}
            requests = HostRequests(HOST, parcels, {}, None, REAL_CLOCK, lambda event: None)
            for line in process.stdout:
                lines.append(line.decode().rstrip("\n"))
                if upload:
                    process.stdin.writelines(requests.respond(lines[-1]) or ())
                    process.stdin.flush()
            process.stdin.close()
            return process.wait(TIMEOUT_S), lines

    def converse(
        self, bundle: bytes, respond: Callable[[str], Iterable[bytes] | None], env: dict[str, str]
    ) -> list[str]:
        """Run an installation, answering its requests; return all lines.

        :param env: further variables of the login.
        """
        command = [*self.shell, remote_scripts.bundle_command("install.sh")]
        lines = []
        with subprocess.Popen(command, env=self.env | env, cwd=self.home, stdin=-1, stdout=-1, stderr=-2) as process:
            assert process.stdin
            assert process.stdout
            process.stdin.write(bundle)
            process.stdin.flush()
            for line in process.stdout:
                lines.append(line.decode().rstrip("\n"))
                process.stdin.writelines(respond(lines[-1]) or ())
                process.stdin.flush()
        return lines

    def start(self, run: str, files: Mapping[str, str] | None = None, **commands: str) -> str:
        """Start tasks, role -> command.

        :param files: further files of the run.
        """
        content = remote_scripts.scripts(("start.sh",)) | run_content(run, files or {}, commands)
        command = remote_scripts.bundle_command("start.sh", run, *START_ARGS)
        return self.run(command, remote_scripts.bundle(content))

    def follow(self, run: str, seen: int = 0) -> list[str]:
        """Return the log after the lines seen, until the task ends."""
        lines = self.run(remote_scripts.inline_command("follow.sh", run, "main", str(seen), "@@")).splitlines()
        return [line for line in lines if line and line != "@@ beat" and not line.startswith("@@ times ")]

    def cancel(self, run: str, *running: str) -> str:
        """Cancel a run whose given roles were running when the cancel was requested."""
        return self.run(remote_scripts.inline_command("cancel.sh", f"stratus/runs/{run}", "all", *running))

    def exit_statuses(self, run: str) -> dict[str, str]:
        """Return the exit status of each task of a run, by role."""
        lines = self.run(remote_scripts.inline_command("runs.sh", run)).splitlines()
        return {line.split()[2]: line.split()[4] for line in lines if line.startswith("@@run ")}


START_ARGS = ("jobs/job", "job", "docker")
"""Code, name and runtime of the runs."""


def run_content(run: str, files: Mapping[str, str], commands: Mapping[str, str]) -> dict[str, bytes]:
    """Return the files of a run in a bundle.

    :param commands: role -> command.
    """
    content = {"run/job.json": b'{"run": "%s"}\n' % run.encode()}
    content |= remote_scripts.scripts(remote_scripts.RUN_SCRIPTS, folder="run/bin/")
    content |= {f"run/{name}": text.encode() for name, text in files.items()}
    for role, command in commands.items():
        env = f"STRATUS_RUN={run}\nSTRATUS_HOST=ml-0\n"
        content |= {f"run/task/{role}.cmd": command.encode(), f"run/task/{role}.env": env.encode()}
    return content


def states(lines: list[str]) -> list[str]:
    """Return the outcomes of the steps, without their durations."""
    return [" ".join(line.split()[1:3]) for line in lines if line.startswith("@@step") and " start " not in line]


def processes(mark: str) -> list[str]:
    """Return the command lines of processes that contain a mark."""
    out = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return [line for line in out.splitlines() if mark in line and "ps -eo" not in line]
