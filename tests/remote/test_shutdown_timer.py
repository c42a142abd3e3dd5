"""Scripts of the automatic shutdown: timer at boot, extension over SSH, idle watcher; run by a real sh."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.aws.launch.time_limits import TimeLimits
from orchestrator.core import remote_scripts
from tests.support.waiting import wait_until


@dataclass(frozen=True)
class TimerHost:
    """A host that is a folder; its ``shutdown`` only records its arguments."""

    root: Path

    @classmethod
    def make(cls, root: Path, limits: TimeLimits) -> TimerHost:
        for file in limits.cloud_init_files:
            path = root / file["path"].lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(file["content"])
        (root / "bin").mkdir()
        (root / "home/ubuntu").mkdir(parents=True)
        vm = cls(root)
        vm.program("shutdown", f'echo "$*" >>"{root}/shutdowns"')
        vm.program("hostname", "echo 192.0.2.1")
        # A boot starts the idle watcher with it, which would outlive the test.
        vm.program("setsid", "exit 0")
        return vm

    def program(self, name: str, text: str) -> None:
        """Put a shell script on the host's PATH."""
        path = self.root / "bin" / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    @property
    def env(self) -> dict[str, str]:
        path = f"{self.root}/bin:{os.environ['PATH']}"
        return {"HOME": str(self.root / "home/ubuntu"), "PATH": path, "STRATUS_MINUTE": "1"}

    def boot(self) -> str:
        """Run the script of every boot, without the idle watcher; return its output."""
        return self.run(["sh", str(self.root / "var/lib/cloud/scripts/per-boot/stratus-expire")])

    def extend(self, *arguments: str) -> str:
        """Set the timer as over SSH; return the script's output."""
        return self.run(["sh", "-c", remote_scripts.inline_command("extend.sh", *arguments)])

    def run(self, argv: list[str]) -> str:
        completed = subprocess.run(argv, env=self.env, capture_output=True, text=True, timeout=30)
        assert completed.returncode == 0, completed.stderr
        return completed.stdout.strip()

    def watch(self, used: int = 0) -> subprocess.Popen[bytes]:
        """Start the idle watcher, with minutes that last a second."""
        return subprocess.Popen(
            ["sh", str(self.root / "var/lib/stratus/idle.sh"), str(used)], env=self.env, start_new_session=True
        )

    @property
    def shutdowns(self) -> list[str]:
        """The arguments of each call of ``shutdown``."""
        path = self.root / "shutdowns"
        return path.read_text().splitlines() if path.exists() else []

    def set_used(self, minutes: int) -> None:
        """Set the minutes that count as used."""
        (self.root / "var/lib/stratus/used").write_text(f"{minutes}\n")


def timer(output: str) -> list[int]:
    """Return the numbers of a script's output, the time of shutdown as minutes from now."""
    mark, epoch, *rest = output.split()
    assert mark == "@@until"
    return [round((int(epoch) - time.time()) / 60), *map(int, rest)]


def test_every_boot_sets_the_timer_again(tmp_path: Path) -> None:
    vm = TimerHost.make(tmp_path, TimeLimits(480))

    assert timer(vm.boot()) == [480, 0, 2, 0]
    assert timer(vm.boot()) == [480, 0, 4, 0]
    assert vm.shutdowns == ["-h +480", "-h +480"]


def test_a_budget_counts_over_all_boots_and_shuts_down_when_it_is_used_up(tmp_path: Path) -> None:
    vm = TimerHost.make(tmp_path, TimeLimits(480, budget_minutes=100))
    vm.boot()
    vm.set_used(60)
    vm.boot()
    vm.set_used(99)
    vm.boot()

    assert vm.shutdowns == ["-h +98", "-h +38", "-h now"]


def test_an_extension_counts_from_now_and_survives_a_reboot(tmp_path: Path) -> None:
    vm = TimerHost.make(tmp_path, TimeLimits(60))
    vm.boot()

    assert timer(vm.extend("600", "-", "-"))[0] == 600
    assert timer(vm.boot())[0] in (599, 600)
    assert vm.shutdowns[:2] == ["-h +60", "-h +600"]


def test_an_extension_is_limited_by_the_budget_unless_that_is_raised_too(tmp_path: Path) -> None:
    vm = TimerHost.make(tmp_path, TimeLimits(60, budget_minutes=100))
    vm.boot()

    assert timer(vm.extend("600", "-", "-"))[:2] == [98, 100]
    assert timer(vm.extend("600", "1000", "-"))[:2] == [600, 1000]
    vm.set_used(999)
    assert timer(vm.boot())[0] == 0
    assert vm.shutdowns == ["-h +60", "-h +98", "-h +600", "-h now"]


def test_the_idle_time_can_be_set_alone(tmp_path: Path) -> None:
    vm = TimerHost.make(tmp_path, TimeLimits(60))
    vm.boot()

    assert timer(vm.extend("-", "-", "30"))[3] == 30
    assert timer(vm.extend("-", "-", "0"))[3] == 0
    assert vm.shutdowns == ["-h +60"]


def test_setting_the_idle_time_right_after_a_start_does_not_shut_down(tmp_path: Path) -> None:
    """SSH may be up before the timer is set, while the shutdown time of the last boot is long past."""
    vm = TimerHost.make(tmp_path, TimeLimits(60))
    (tmp_path / "var/lib/stratus/until").write_text("1000000000\n")
    vm.extend("-", "-", "30")

    assert vm.shutdowns == []


@pytest.mark.parametrize("argument", ["x", "1;touch owned", "$(touch owned)", "1 2", ""])
def test_an_argument_that_is_not_a_number_changes_nothing(tmp_path: Path, argument: str) -> None:
    vm = TimerHost.make(tmp_path, TimeLimits(60))
    vm.boot()
    before = (tmp_path / "var/lib/stratus/limits").read_text()
    done = subprocess.run(
        ["sh", "-c", remote_scripts.inline_command("extend.sh", argument, "-", "-")], env=vm.env, cwd=tmp_path
    )

    assert done.returncode == 64
    assert vm.shutdowns == ["-h +60"]
    assert (tmp_path / "var/lib/stratus/limits").read_text() == before
    assert not list(tmp_path.rglob("owned"))


def test_a_host_without_a_timer_reports_that(tmp_path: Path) -> None:
    env = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    done = subprocess.run(
        ["sh", "-c", remote_scripts.inline_command("extend.sh", "1", "-", "-")], env=env, capture_output=True
    )

    assert done.stdout == b"@@none\n"


def test_an_idle_host_shuts_down_and_records_the_reason(tmp_path: Path) -> None:
    vm = TimerHost.make(tmp_path, TimeLimits(480, idle_minutes=2))
    with vm.watch(used=7) as watcher:
        wait_until(lambda: "-h now" in vm.shutdowns)
        watcher.kill()

    assert "2 min without a job" in (tmp_path / "var/lib/stratus/ended").read_text()
    assert 8 <= int((tmp_path / "var/lib/stratus/used").read_text()) <= 12


def test_a_host_with_a_job_is_in_use_until_the_job_ends(tmp_path: Path) -> None:
    vm = TimerHost.make(tmp_path, TimeLimits(480, idle_minutes=1))
    state = tmp_path / "home/ubuntu/stratus/runs/r1/state"
    state.mkdir(parents=True)
    (tmp_path / "task.sh").write_text("read forever")
    with subprocess.Popen(["sh", str(tmp_path / "task.sh")], stdin=subprocess.PIPE) as job:
        (state / "main.pid").write_text(f"{job.pid}\n")
        with vm.watch() as watcher:
            wait_until(lambda: (tmp_path / "var/lib/stratus/used").exists())
            time.sleep(3)
            busy = vm.shutdowns
            job.communicate(b"\n", timeout=10)
            wait_until(lambda: "-h now" in vm.shutdowns)
            watcher.kill()

    assert busy == []


def test_a_host_with_a_busy_gpu_is_in_use(tmp_path: Path) -> None:
    vm = TimerHost.make(tmp_path, TimeLimits(480, idle_minutes=1))
    vm.program("nvidia-smi", f'cat "{tmp_path}/utilization"')
    (tmp_path / "utilization").write_text("0\n97\n")
    with vm.watch() as watcher:
        time.sleep(3)
        busy = vm.shutdowns
        (tmp_path / "utilization").write_text("0\n3\n")
        wait_until(lambda: "-h now" in vm.shutdowns)
        watcher.kill()

    assert busy == []


def test_a_host_with_an_ssh_session_is_in_use(tmp_path: Path) -> None:
    """Only connections to the SSH port of its own address count, not others of this computer."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        vm = TimerHost.make(tmp_path, TimeLimits(480, idle_minutes=1, ssh_port=port))
        vm.program("hostname", "echo 127.0.0.1")
        with socket.create_connection(("127.0.0.1", port)) as session, vm.watch() as watcher:
            accepted, _ = server.accept()
            time.sleep(3)
            busy = vm.shutdowns
            accepted.close()
            session.close()
            wait_until(lambda: "-h now" in vm.shutdowns)
            watcher.kill()

    assert busy == []
