"""Two installs on one host at the same time, and an install whose caller is gone."""

from __future__ import annotations

import shlex
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from orchestrator.core import remote_scripts
from tests.support.script_host import ScriptHost, states
from tests.support.waiting import wait_until

TIMEOUT_S = 60
# Prints more than a pipe holds: it would block, or be killed, if its output went to a caller that is gone.
SLOW = b"""
case $1 in
check) [ -e "$HOME/installed" ] ;;
apply)
    echo downloading
    until [ -e "$HOME/go" ]; do sleep 0.05; done
    yes 0123456789abcdef | head -n 9999
    : >"$HOME/installed"
    ;;
esac
"""


@dataclass
class Caller:
    """One install, and the lines that it has printed so far."""

    process: subprocess.Popen[bytes]
    lines: list[str] = field(default_factory=list)

    def read(self) -> None:
        """Collect lines until the output ends."""
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(line.decode().rstrip("\n"))


@pytest.fixture
def vm(tmp_path: Path) -> ScriptHost:
    """A home folder."""
    (tmp_path / "home").mkdir()
    return ScriptHost(tmp_path / "home")


@contextmanager
def calling(vm: ScriptHost, *steps: str, lock: str = "") -> Iterator[Caller]:
    """Start an install of steps that all take until the file ``go`` is there.

    :param lock: name of what is done one at a time; empty for installs.
    """
    plan = "".join(shlex.join([step, "slow.sh"]) + "\n" for step in steps).encode()
    scripts = remote_scripts.scripts(remote_scripts.INSTALL_SCRIPTS) | {"steps/slow.sh": SLOW, "plan": plan}
    scripts |= {"lock": f"{lock}\n".encode()} if lock else {}
    command = ["sh", "-c", remote_scripts.bundle_command("install.sh")]
    env = vm.env | {"STRATUS_BEAT": "0.1"}
    with subprocess.Popen(command, env=env, cwd=vm.home, stdin=-1, stdout=-1, stderr=-2) as process:
        assert process.stdin
        process.stdin.write(remote_scripts.bundle(scripts))
        process.stdin.flush()
        try:
            yield Caller(process)
        finally:
            # Of a test that failed: the steps wait for it.
            (vm.home / "go").touch()


def read_in_background(caller: Caller) -> None:
    """Collect a caller's lines in a thread."""
    threading.Thread(target=caller.read, daemon=True).start()


def test_a_second_install_shows_the_first_one_and_then_checks(vm: ScriptHost) -> None:
    """The heartbeat does not wait for the lock."""
    with calling(vm, "numbers") as first:
        read_in_background(first)
        wait_until(lambda: "downloading" in first.lines)
        with calling(vm, "numbers") as second:
            read_in_background(second)
            wait_until(lambda: "@@other downloading" in second.lines and "@@beat" in second.lines)
            assert states(second.lines) == []
            (vm.home / "go").touch()
            assert first.process.wait(TIMEOUT_S) == second.process.wait(TIMEOUT_S) == 0
            wait_until(lambda: bool(states(second.lines)))
        wait_until(lambda: bool(states(first.lines)))

    assert states(first.lines) == ["numbers done"]
    assert states(second.lines) == ["numbers unchanged"]
    assert any(line.startswith("@@other @@step numbers done") for line in second.lines)
    assert not any("downloading" in line for line in second.lines if not line.startswith("@@other"))


def test_what_has_a_lock_of_its_own_waits_for_no_install(vm: ScriptHost) -> None:
    """Such as a file that is sent."""
    with calling(vm, "numbers") as first:
        read_in_background(first)
        wait_until(lambda: "downloading" in first.lines)
        with calling(vm, "numbers", lock="send-1") as second:
            read_in_background(second)
            wait_until(lambda: "downloading" in second.lines)
            assert not any(line.startswith("@@other") for line in second.lines)
            (vm.home / "go").touch()
            assert first.process.wait(TIMEOUT_S) == second.process.wait(TIMEOUT_S) == 0
            wait_until(lambda: bool(states(second.lines)))
        wait_until(lambda: bool(states(first.lines)))


def test_an_install_continues_without_its_caller(vm: ScriptHost) -> None:
    """Its output would fill the pipe, or end in SIGPIPE."""
    with calling(vm, "numbers") as caller:
        assert caller.process.stdin
        assert caller.process.stdout
        while b"downloading" not in caller.process.stdout.readline():
            pass
        caller.process.stdin.close()
        caller.process.stdout.close()
        (vm.home / "go").touch()
        assert caller.process.wait(TIMEOUT_S) == 0

    assert (vm.home / "installed").exists()
    assert "@@step numbers done" in (vm.home / "stratus/state/install.log").read_text()
    assert list((vm.home / "stratus").glob(".bundle.*")) == []


def test_a_step_that_is_only_checked_is_reported(vm: ScriptHost) -> None:
    with calling(vm, "numbers?", "more?") as caller:
        caller.read()

    assert caller.process.returncode == 0
    assert states(caller.lines) == ["numbers missing", "more missing"]
    assert not (vm.home / "installed").exists()
