"""The scripts that run on the VMs, run here by a real sh, with a home folder of their own."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.core import remote_scripts
from orchestrator.install.upload import Upload, scan, stream_tar

MINUTE = 60


@dataclass(frozen=True)
class Vm:
    """A home folder, and scripts run in it as SSH would run them."""

    home: Path

    @property
    def env(self) -> dict[str, str]:
        """What a login has."""
        return {"HOME": str(self.home), "PATH": os.environ["PATH"]} | {
            name: value for name, value in os.environ.items() if name.startswith("PIP_")
        }

    def call(self, command: str, stdin: bytes = b"") -> str:
        """Run to the end and return what was said."""
        done = subprocess.run(
            ["sh", "-c", command], input=stdin, env=self.env, cwd=self.home, capture_output=True, timeout=MINUTE
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    def install(self, plan: list[list[str]], goods: Upload | None = None, **files: bytes) -> tuple[int, list[str]]:
        """Run a plan, answering its wishes for a parcel; return the exit status and all lines."""
        text = "".join(shlex.join(words) + "\n" for words in plan).encode()
        tools = remote_scripts.scripts(remote_scripts.INSTALL_SCRIPTS)
        command = ["sh", "-c", remote_scripts.bundle_command("install.sh")]
        with subprocess.Popen(command, env=self.env, cwd=self.home, stdin=-1, stdout=-1, stderr=-2) as process:
            assert process.stdin
            assert process.stdout
            process.stdin.write(remote_scripts.bundle(tools | {"plan": text} | files))
            process.stdin.flush()
            lines = []
            for line in process.stdout:
                lines.append(line.decode().rstrip("\n"))
                if lines[-1].startswith("@@want") and goods:
                    process.stdin.writelines(stream_tar(goods))
                    process.stdin.flush()
            process.stdin.close()
            return process.wait(MINUTE), lines

    def start(self, run: str, **commands: str) -> str:
        """Start tasks, role -> command."""
        content = {"run/job.json": b'{"run": "%s"}\n' % run.encode()}
        content |= remote_scripts.scripts(remote_scripts.RUN_SCRIPTS, folder="run/bin/") | remote_scripts.scripts(
            ("start.sh",)
        )
        for role, command in commands.items():
            env = f"STRATUS_RUN={run}\nSTRATUS_HOST=ml-0\n"
            content |= {f"run/task/{role}.cmd": command.encode(), f"run/task/{role}.env": env.encode()}
        words = (run, "jobs/job", "job", "docker")
        return self.call(remote_scripts.bundle_command("start.sh", *words), remote_scripts.bundle(content))

    def follow(self, run: str, seen: int = 0) -> list[str]:
        """Return the log from a line on, to the task's end."""
        lines = self.call(remote_scripts.inline_command("follow.sh", run, "main", str(seen))).splitlines()
        return [line for line in lines if line and line != "@@beat"]

    def cancel(self, run: str, *going: str) -> str:
        """End a run, of which these roles went on when that was decided."""
        return self.call(remote_scripts.inline_command("cancel.sh", f"stratus/runs/{run}", "all", *going))

    def ends(self, run: str) -> dict[str, str]:
        """Return how each task of a run ended."""
        lines = self.call(remote_scripts.inline_command("runs.sh", run)).splitlines()
        return {line.split()[2]: line.split()[4] for line in lines if line.startswith("@@run ")}


@pytest.fixture
def vm(tmp_path: Path) -> Vm:
    """A machine with nothing on it."""
    (tmp_path / "home").mkdir()
    return Vm(tmp_path / "home")


def states(lines: list[str]) -> list[str]:
    """Return the ends of the steps, without their times."""
    return [" ".join(line.split()[1:3]) for line in lines if line.startswith("@@step") and " start " not in line]


def until(fact: Callable[[], bool], *, deadline: float = 60) -> None:
    """Wait for a fact."""
    end = time.monotonic() + deadline
    while not fact():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.02)


def processes(mark: str) -> list[str]:
    """List the processes that carry a mark on their command line."""
    out = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return [line for line in out.splitlines() if mark in line and "ps -eo" not in line]


def test_a_second_install_changes_nothing_and_asks_for_nothing(vm: Vm, tmp_path: Path) -> None:
    """Every step checks before it acts; the parcel's bytes travel once."""
    job = tmp_path / "job"
    job.mkdir()
    (job / "run.py").write_bytes(b"print('hi')\n" + os.urandom(0))
    (job / "big").write_bytes(os.urandom(2_500_000))
    goods = scan("job.code", job, "jobs/job")
    plan = [
        ["python", "python.sh", "job", sys.executable, "no"],
        ["requirements", "requirements.sh", "job", "digest-1", "requirements.txt"],
        ["code", "parcel.sh", goods.name, goods.digest, goods.remote_path],
    ]
    first = vm.install(plan, goods, **{"requirements.txt": b""})
    second = vm.install(plan, goods, **{"requirements.txt": b""})

    assert (first[0], states(first[1])) == (0, ["python done", "requirements done", "code done"])
    assert (second[0], states(second[1])) == (0, ["python unchanged", "requirements unchanged", "code unchanged"])
    assert "@@want job.code" not in second[1]
    assert (vm.home / "stratus/jobs/job/big").read_bytes() == (job / "big").read_bytes()
    assert not list((vm.home / "stratus").glob(".bundle*"))


def test_a_failing_step_ends_the_install_and_its_words_are_kept(vm: Vm) -> None:
    """What comes after it is not tried."""
    plan = [["python", "python.sh", "job", "no-such-python", "no"], ["engine", "engine.sh"]]
    status, lines = vm.install(plan)

    assert status == 1
    assert states(lines) == ["python failed"]
    assert "no no-such-python on this host: set python in job.ini" in lines


def test_a_shared_environment_sees_the_packages_of_its_interpreter(vm: Vm) -> None:
    """Also when that interpreter is itself one of a virtual environment."""
    status, lines = vm.install([["python", "python.sh", "job", sys.executable, "yes"]])
    python = vm.home / "stratus/venvs/job/bin/python"

    assert status == 0, lines
    assert subprocess.run([python, "-c", "import pytest"], check=False).returncode == 0


def test_a_broken_transfer_leaves_the_old_folder(vm: Vm, tmp_path: Path) -> None:
    """Half a parcel is thrown away, and asked for again the next time."""
    (tmp_path / "job").mkdir()
    (tmp_path / "job/a").write_text("1")
    old = scan("p", tmp_path / "job", "jobs/job")
    vm.install([["code", "parcel.sh", "p", old.digest, "jobs/job"]], old)
    (tmp_path / "job/a").write_text("2")
    new = scan("p", tmp_path / "job", "jobs/job")
    plan = [["code", "parcel.sh", "p", new.digest, "jobs/job"]]
    text = shlex.join(plan[0]) + "\n"
    envelope = remote_scripts.bundle(remote_scripts.scripts(remote_scripts.INSTALL_SCRIPTS) | {"plan": text.encode()})
    cut = subprocess.run(
        ["sh", "-c", remote_scripts.bundle_command("install.sh")],
        input=envelope + b"9999\nhalf",
        env=vm.env,
        capture_output=True,
        timeout=MINUTE,
    )

    assert cut.returncode == 1
    assert (vm.home / "stratus/jobs/job/a").read_text() == "1"
    assert states(vm.install(plan, new)[1]) == ["code done"]
    assert (vm.home / "stratus/jobs/job/a").read_text() == "2"


def test_hostile_words_stay_words(vm: Vm, tmp_path: Path) -> None:
    """Nothing in a plan is ever run as a command."""
    evil = f"x; touch {tmp_path}/owned; $(touch {tmp_path}/owned) `touch {tmp_path}/owned` ' \" #"
    vm.install([["python", "python.sh", "job", evil, "no"]])

    assert not (tmp_path / "owned").exists()


def test_a_task_outlives_its_starter_and_its_log_can_be_joined_anywhere(vm: Vm) -> None:
    """The log is whole from any line on, and the exit status comes back."""
    said = vm.start("r1", main="for i in 1 2 3; do echo line $i; sleep 0.2; done; exit 7")

    assert said == "@@started main\n"
    assert vm.follow("r1") == ["line 1", "line 2", "line 3", "@@exit 7"]
    assert vm.follow("r1", seen=2) == ["line 3", "@@exit 7"]
    assert vm.ends("r1") == {"main": "7"}


def test_helpers_end_with_the_main_task(vm: Vm) -> None:
    """Also one that went into a session of its own."""
    vm.start("r2", main="sleep 0.5", worker="setsid sleep 71.25 & sleep 71.25")

    assert vm.follow("r2") == ["@@exit 0"]
    until(lambda: not processes("sleep 71.25"))
    assert vm.ends("r2") == {"main": "0", "worker": "cancelled"}


@pytest.mark.slow
def test_cancel_leaves_no_process_not_even_a_stubborn_stray(vm: Vm) -> None:
    """A process that ignores TERM in a session of its own is found by its environment and killed."""
    vm.start("r3", main="setsid sh -c 'trap \"\" TERM; sleep 72.5; sleep 72.5' & sleep 72.5")
    until(lambda: len(processes("sleep 72.5")) >= 3)

    assert vm.cancel("r3") == "@@left 0\n"
    assert processes("sleep 72.5") == []
    assert vm.follow("r3") == ["@@exit cancelled"]


@pytest.mark.parametrize(("status", "going", "ends"), [(3, ["main"], "cancelled"), (3, [], "3"), (0, ["main"], "0")])
def test_a_task_that_falls_as_its_run_is_cancelled(vm: Vm, status: int, going: list[str], ends: str) -> None:
    """Those of the other hosts end it before its own turn comes; what had failed or ended well before, stays so."""
    vm.start("run-9", main=f"exit {status}")
    until(lambda: vm.ends("run-9")["main"] == str(status))

    assert vm.cancel("run-9", *going) == "@@left 0\n"
    assert vm.ends("run-9") == {"main": ends}


def test_cancel_touches_no_other_run(vm: Vm) -> None:
    """Two runs on one host are strangers."""
    vm.start("r4", main="sleep 73.5")
    vm.start("r5", main="sleep 74.5")
    until(lambda: bool(processes("sleep 73.5") and processes("sleep 74.5")))
    vm.cancel("r4")

    assert processes("sleep 73.5") == []
    assert vm.ends("r5") == {"main": "-"}
    vm.cancel("r5")


def test_a_task_killed_with_its_wrapper_is_lost_not_done(vm: Vm) -> None:
    """No exit status is a failure."""
    vm.start("r6", main="sleep 75.5")
    pid = vm.home / "stratus/runs/r6/state/main.pid"
    until(lambda: pid.exists() and bool(pid.read_text().strip()) and bool(processes("sleep 75.5")))
    subprocess.run(["pkill", "-KILL", "-s", pid.read_text().strip()], check=True)

    assert vm.follow("r6") == ["@@exit lost"]


def test_starting_the_same_run_twice_starts_it_once(vm: Vm) -> None:
    """A retry after a lost answer is harmless."""
    vm.start("r7", main="echo once")

    assert vm.start("r7", main="echo once") == "@@exists\n"
    assert vm.follow("r7") == ["once", "@@exit 0"]


def test_a_run_that_nobody_installed_for_says_what_is_missing(vm: Vm) -> None:
    """Before anything was laid out."""
    content = {"run/job.json": b"{}"} | remote_scripts.scripts(("start.sh",))
    words = ("r8", "jobs/job", "job", "venv")

    assert (
        vm.call(remote_scripts.bundle_command("start.sh", *words), remote_scripts.bundle(content))
        == "@@missing packages of job\n"
    )
    assert not (vm.home / "stratus/runs").exists()
