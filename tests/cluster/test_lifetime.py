"""How long machines live: the arithmetic that makes a timer of money, and the scripts that keep it on the machine."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.aws.launch.time_limits import BOOT_MINUTES, MIN_MINUTES, TimeLimits, budget_minutes, whole_minutes
from orchestrator.aws.pricing import price_table
from orchestrator.core import remote_scripts
from orchestrator.core.errors import UsageError
from tests.support.aws.values import PLAN

rates = st.decimals("0.001", "500", places=4)


# -- arithmetic


@given(cents=st.integers(1, 10_000_000), per_hour=rates)
def test_the_minutes_that_money_buys_never_cost_more_and_one_more_would(cents: int, per_hour: Decimal) -> None:
    dollars = cents / 100
    try:
        minutes = budget_minutes(dollars, per_hour, description="them")
    except UsageError:
        assert Decimal(str(dollars)) * 60 / per_hour < BOOT_MINUTES + MIN_MINUTES
        return

    assert per_hour * minutes / 60 <= Decimal(str(dollars)) < per_hour * (minutes + 1) / 60


def test_no_cap_is_no_limit_whatever_is_known_of_the_price() -> None:
    assert budget_minutes(0, None, description="them") == 0


def test_a_cap_on_an_unknown_price_is_refused_because_nobody_could_keep_it() -> None:
    with pytest.raises(UsageError, match=r"the price of 2 x x9\.large is unknown"):
        budget_minutes(5, None, description="2 x x9.large")


def test_a_cap_that_buys_next_to_nothing_names_the_least_that_makes_sense() -> None:
    with pytest.raises(UsageError, match=r"buys 4 min of 2 x big \(\$60.00/h\)") as caught:
        budget_minutes(4, Decimal(60), description="2 x big")
    assert "set max_dollars to 12.00 or more" in caught.value.fix
    assert budget_minutes(12, Decimal(60), description="2 x big") == 12


@given(st.floats(1 / 60, 720))
def test_hours_are_rounded_up_to_whole_minutes(hours: float) -> None:
    assert hours * 60 - 1e-6 <= whole_minutes(hours) < hours * 60 + 1


@given(count=st.integers(1, 60), cents=st.integers(1, 100_000))
def test_a_plan_never_costs_more_than_its_cap_even_if_it_is_forgotten(count: int, cents: int) -> None:
    plan = replace(PLAN, names=tuple(f"ml-{n}" for n in range(count)), max_dollars=cents / 100)
    try:
        hours = plan.hours
    except UsageError:
        return

    assert hours <= plan.max_hours
    assert plan.max_cost_usd is not None
    if plan.is_budget_limited:
        assert plan.max_cost_usd <= Decimal(str(plan.max_dollars)) + Decimal("1e-9")
    else:
        assert plan.max_cost_usd == plan.usd_per_hour * Decimal(8)  # type: ignore[operator]


def test_another_price_makes_another_timer() -> None:
    """A sibling type that costs twice as much lives half as long for the same money."""
    cheap = replace(PLAN, max_dollars=2.0)
    dear = replace(cheap, price=price_table.Price(Decimal("0.714") + cheap.disk_usd_per_hour, "x"))  # type: ignore[operator]

    assert cheap.is_budget_limited
    assert dear.is_budget_limited
    assert dear.hours == pytest.approx(cheap.hours / 2, abs=0.1)


# -- the scripts, by a real sh


@dataclass(frozen=True)
class Vm:
    """A machine that is a folder, with a shutdown that writes down what it was asked for."""

    root: Path

    @classmethod
    def make(cls, root: Path, lifetime: TimeLimits) -> Vm:
        for file in lifetime.cloud_init_files:
            path = root / file["path"].lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(file["content"])
        (root / "bin").mkdir()
        (root / "home/ubuntu").mkdir(parents=True)
        vm = cls(root)
        vm.program("shutdown", f'echo "$*" >>"{root}/asked"')
        vm.program("hostname", "echo 192.0.2.1")
        # Boots start the watcher by it, which would outlive the test.
        vm.program("setsid", "exit 0")
        return vm

    def program(self, name: str, text: str) -> None:
        """Put a stand-in on the machine's PATH."""
        path = self.root / "bin" / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    @property
    def env(self) -> dict[str, str]:
        path = f"{self.root}/bin:{os.environ['PATH']}"
        return {"HOME": str(self.root / "home/ubuntu"), "PATH": path, "STRATUS_MINUTE": "1"}

    def boot(self) -> str:
        """Do what cloud-init does at every boot, without the watcher."""
        return self.run(["sh", str(self.root / "var/lib/cloud/scripts/per-boot/stratus-expire")])

    def extend(self, *words: str) -> str:
        """Set the timer as SSH does."""
        return self.run(["sh", "-c", remote_scripts.inline_command("extend.sh", *words)])

    def run(self, argv: list[str]) -> str:
        done = subprocess.run(argv, env=self.env, capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def watch(self, used: int = 0) -> subprocess.Popen[bytes]:
        """Start the watcher, its minutes being seconds."""
        return subprocess.Popen(
            ["sh", str(self.root / "var/lib/stratus/idle.sh"), str(used)], env=self.env, start_new_session=True
        )

    @property
    def asked(self) -> list[str]:
        """What shutdown was asked for."""
        path = self.root / "asked"
        return path.read_text().splitlines() if path.exists() else []

    def used(self, minutes: int) -> None:
        """Have lived."""
        (self.root / "var/lib/stratus/used").write_text(f"{minutes}\n")


def until(fact: Callable[[], bool], *, deadline: float = 60) -> None:
    """Wait for a fact."""
    end = time.monotonic() + deadline
    while not fact():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.05)


def words(answer: str) -> list[int]:
    """Return the numbers of an answer, the end as minutes from now."""
    mark, epoch, *rest = answer.split()
    assert mark == "@@until"
    return [round((int(epoch) - time.time()) / 60), *map(int, rest)]


def test_every_boot_arms_the_timer_anew(tmp_path: Path) -> None:
    vm = Vm.make(tmp_path, TimeLimits(480))

    assert words(vm.boot()) == [480, 0, 2, 0]
    assert words(vm.boot()) == [480, 0, 4, 0]
    assert vm.asked == ["-h +480", "-h +480"]


def test_a_budget_is_spent_over_all_boots_and_ends_the_machine_when_it_is_gone(tmp_path: Path) -> None:
    vm = Vm.make(tmp_path, TimeLimits(480, budget_minutes=100))
    vm.boot()
    vm.used(60)
    vm.boot()
    vm.used(99)
    vm.boot()

    assert vm.asked == ["-h +98", "-h +38", "-h now"]


def test_an_extension_counts_from_now_and_outlives_a_reboot(tmp_path: Path) -> None:
    vm = Vm.make(tmp_path, TimeLimits(60))
    vm.boot()

    assert words(vm.extend("600", "-", "-"))[0] == 600
    assert words(vm.boot())[0] in (599, 600)
    assert vm.asked[:2] == ["-h +60", "-h +600"]


def test_an_extension_ends_at_the_budget_unless_that_is_raised_too(tmp_path: Path) -> None:
    vm = Vm.make(tmp_path, TimeLimits(60, budget_minutes=100))
    vm.boot()

    assert words(vm.extend("600", "-", "-"))[:2] == [98, 100]
    assert words(vm.extend("600", "1000", "-"))[:2] == [600, 1000]
    vm.used(999)
    assert words(vm.boot())[0] == 0
    assert vm.asked == ["-h +60", "-h +98", "-h +600", "-h now"]


def test_the_idle_time_can_be_set_alone(tmp_path: Path) -> None:
    vm = Vm.make(tmp_path, TimeLimits(60))
    vm.boot()

    assert words(vm.extend("-", "-", "30"))[3] == 30
    assert words(vm.extend("-", "-", "0"))[3] == 0
    assert vm.asked == ["-h +60"]


def test_the_idle_time_set_right_after_a_start_does_not_end_the_machine(tmp_path: Path) -> None:
    """SSH may be up before the timer is armed, and the end of the last boot is long past."""
    vm = Vm.make(tmp_path, TimeLimits(60))
    (tmp_path / "var/lib/stratus/until").write_text("1000000000\n")
    vm.extend("-", "-", "30")

    assert vm.asked == []


@pytest.mark.parametrize("word", ["x", "1;touch owned", "$(touch owned)", "1 2", ""])
def test_what_is_no_number_of_minutes_changes_nothing(tmp_path: Path, word: str) -> None:
    vm = Vm.make(tmp_path, TimeLimits(60))
    vm.boot()
    before = (tmp_path / "var/lib/stratus/limits").read_text()
    done = subprocess.run(
        ["sh", "-c", remote_scripts.inline_command("extend.sh", word, "-", "-")], env=vm.env, cwd=tmp_path
    )

    assert done.returncode == 64
    assert vm.asked == ["-h +60"]
    assert (tmp_path / "var/lib/stratus/limits").read_text() == before
    assert not list(tmp_path.rglob("owned"))


def test_a_machine_without_our_timer_says_so(tmp_path: Path) -> None:
    env = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    done = subprocess.run(
        ["sh", "-c", remote_scripts.inline_command("extend.sh", "1", "-", "-")], env=env, capture_output=True
    )

    assert done.stdout == b"@@none\n"


def test_a_machine_that_nobody_uses_ends_itself_and_says_why(tmp_path: Path) -> None:
    vm = Vm.make(tmp_path, TimeLimits(480, idle_minutes=2))
    with vm.watch(used=7) as watcher:
        until(lambda: "-h now" in vm.asked)
        watcher.kill()

    assert "2 min without a job" in (tmp_path / "var/lib/stratus/ended").read_text()
    assert 8 <= int((tmp_path / "var/lib/stratus/used").read_text()) <= 12


def test_a_machine_with_a_job_is_in_use_until_the_job_ends(tmp_path: Path) -> None:
    vm = Vm.make(tmp_path, TimeLimits(480, idle_minutes=1))
    state = tmp_path / "home/ubuntu/stratus/runs/r1/state"
    state.mkdir(parents=True)
    (tmp_path / "task.sh").write_text("read forever")
    with subprocess.Popen(["sh", str(tmp_path / "task.sh")], stdin=subprocess.PIPE) as job:
        (state / "main.pid").write_text(f"{job.pid}\n")
        with vm.watch() as watcher:
            until(lambda: (tmp_path / "var/lib/stratus/used").exists())
            time.sleep(3)
            busy = vm.asked
            job.communicate(b"\n", timeout=10)
            until(lambda: "-h now" in vm.asked)
            watcher.kill()

    assert busy == []


def test_a_machine_with_a_busy_gpu_is_in_use(tmp_path: Path) -> None:
    vm = Vm.make(tmp_path, TimeLimits(480, idle_minutes=1))
    vm.program("nvidia-smi", f'cat "{tmp_path}/utilization"')
    (tmp_path / "utilization").write_text("0\n97\n")
    with vm.watch() as watcher:
        time.sleep(3)
        busy = vm.asked
        (tmp_path / "utilization").write_text("0\n3\n")
        until(lambda: "-h now" in vm.asked)
        watcher.kill()

    assert busy == []


def test_a_machine_with_an_ssh_session_is_in_use(tmp_path: Path) -> None:
    """An established connection to the SSH port of its own address; others of this computer do not count."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        vm = Vm.make(tmp_path, TimeLimits(480, idle_minutes=1, ssh_port=port))
        vm.program("hostname", "echo 127.0.0.1")
        with socket.create_connection(("127.0.0.1", port)) as session, vm.watch() as watcher:
            accepted, _ = server.accept()
            time.sleep(3)
            busy = vm.asked
            accepted.close()
            session.close()
            until(lambda: "-h now" in vm.asked)
            watcher.kill()

    assert busy == []
