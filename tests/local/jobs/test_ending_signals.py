"""SIGTERM and a closed terminal: real processes clean up as Ctrl-C does, say so, and exit with the signal's code."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.interface.shell_process import ESCAPES, ShellProcess, pexpect
from tests.support.localcloud.iam_enforcement import as_user
from tests.support.paths import ROOT
from tests.support.project import Project
from tests.support.waiting import wait_until

SLOW = """
import pathlib, time
pathlib.Path("outputs").mkdir()
pathlib.Path("outputs/so-far.txt").write_text("half")
print("rea" + "dy", flush=True)
time.sleep(300)
"""
TIMEOUT_S = 120.0


@pytest.fixture
def project(cloud: dict[str, str], tmp_path: Path) -> Iterator[Project]:
    """A project with a job that goes on; its cluster is terminated afterwards."""
    project = Project(tmp_path, "ending", cloud)
    project.job("single = python slow.py\noutputs = outputs\n", slow__py=SLOW)
    yield project
    with project.session("cleaner") as session:
        assert session.cluster.terminate().remaining == ()


def arguments(project: Project) -> list[str]:
    return [sys.executable, "-m", "orchestrator", "--config", str(project.config), "experiment", "--yes"]


def environment(project: Project) -> dict[str, str]:
    keep = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    own = {"STRATUS_HOME": str(project.folder / "home"), "PYTHONPATH": str(ROOT), "TERM": "xterm"}
    return keep | own | as_user(project.env)


def assert_nothing_is_up(project: Project) -> None:
    with project.session("checker") as session:
        assert session.cluster.status().instances == ()


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("repeated", [False, True])
def test_an_experiment_that_gets_a_signal_terminates_its_vms(
    project: Project, signum: signal.Signals, repeated: bool
) -> None:
    log = project.folder / "log"
    with (
        log.open("wb") as output,
        subprocess.Popen(
            arguments(project), cwd=project.folder, env=environment(project), stdout=output, stderr=output
        ) as process,
    ):
        wait_until(lambda: "ready" in log.read_text(), timeout_s=TIMEOUT_S)
        process.send_signal(signum)
        for phase in ("interrupted", "terminate") if repeated else ():
            wait_until(lambda phase=phase: phase in log.read_text() or process.poll() is not None)  # type: ignore[misc]
            process.send_signal(signum)
        code = process.wait(TIMEOUT_S)

    text = log.read_text()
    assert code == 128 + signum, text
    assert "Interrupted. ending-0 ending-1 are terminated." in text
    if signum == signal.SIGHUP or not repeated:
        (fetched,) = project.folder.glob("runs/*/outputs/so-far.txt")
        assert f"What the run had written is in runs/{fetched.parts[-3]}/." in text
    assert_nothing_is_up(project)


@pytest.mark.slow
def test_an_experiment_whose_terminal_is_closed_terminates_its_vms(project: Project) -> None:
    process_id, terminal = pty.fork()
    if not process_id:
        os.chdir(project.folder)
        os.execve(sys.executable, arguments(project), environment(project))
    read_until(terminal, b"ready")
    os.close(terminal)

    assert exit_code(process_id) == 128 + signal.SIGHUP
    assert len(list(project.folder.glob("runs/*/outputs/so-far.txt"))) == 1
    assert_nothing_is_up(project)


def test_a_signal_at_the_prompt_ends_the_shell_as_the_end_of_the_input_does(tmp_path: Path) -> None:
    shell = shell_with_two_vms(tmp_path)

    shell.child.kill(signal.SIGTERM)
    shell.child.expect(pexpect.EOF)

    assert "2 VMs are still running" in ESCAPES.sub("", shell.child.before)
    shell.child.close()
    assert shell.child.exitstatus == 128 + signal.SIGTERM


def test_a_closed_terminal_ends_the_shell(tmp_path: Path) -> None:
    shell = shell_with_two_vms(tmp_path)

    os.close(shell.child.child_fd)

    assert exit_code(shell.child.pid) == 128 + signal.SIGHUP
    # Without it the child's descriptor would be closed a second time.
    shell.child.closed = shell.child.ptyproc.closed = True


def shell_with_two_vms(folder: Path) -> ShellProcess:
    """Return a shell at its prompt."""
    from tests.support.interface.command_line import have_two_vms, make_workplace

    have_two_vms(make_workplace(folder))
    shell = ShellProcess(folder)
    shell.until(r"2 up \$0\.73/h\]:\s*$")
    return shell


def read_until(terminal: int, text: bytes) -> None:
    seen, deadline = b"", time.monotonic() + TIMEOUT_S
    while text not in seen:
        assert time.monotonic() < deadline, seen
        seen += os.read(terminal, 65536)


def exit_code(process_id: int) -> int:
    """Wait for the end of a child process and return its exit code."""
    codes: list[int] = []

    def has_ended() -> bool:
        ended_id, status = os.waitpid(process_id, os.WNOHANG)
        codes.extend([os.waitstatus_to_exitcode(status)] if ended_id else [])
        return bool(ended_id)

    wait_until(has_ended, timeout_s=TIMEOUT_S)
    return codes[0]
