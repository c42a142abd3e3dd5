"""Scripts of the automatic shutdown: timer at boot, extension over SSH, idle watcher; run by a real sh."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from orchestrator.aws.launch.time_limits import TimeLimits
from orchestrator.core import remote_scripts
from tests.support.timer_host import TimerHost
from tests.support.waiting import wait_until


def timer(output: str) -> list[int]:
    """Return the numbers of a script's output, the time of shutdown as minutes from now."""
    mark, epoch, *rest = output.split()
    assert mark == "@@until"
    return [round((int(epoch) - time.time()) / 60), *map(int, rest)]


def test_a_reboot_does_not_move_the_end(tmp_path: Path) -> None:
    vm = TimerHost.make(tmp_path, TimeLimits(480))

    assert timer(vm.boot()) == [480, 0, 2, 0]
    assert timer(vm.reboot(after_minutes=100)) == [380, 0, 4, 0]
    assert timer(vm.reboot(after_minutes=360))[0] == 20
    # Once, so that StartAll() can move the end of a VM that was stopped near it.
    assert timer(vm.reboot(after_minutes=25))[0] == 10
    assert timer(vm.reboot(after_minutes=11))[0] == 0
    # Six minutes later than idle.sh: logins are blocked in the last five before a scheduled shutdown.
    assert vm.shutdowns == ["-h +486", "-h +386", "-h +26", "-h +16", "-h now"]


def test_a_start_after_a_stop_begins_anew_and_one_before_the_end_does_not(tmp_path: Path) -> None:
    """StartAll() moves the end over SSH; until then a VM keeps the one it had, if that is still to come."""
    vm = TimerHost.make(tmp_path, TimeLimits(60))
    vm.boot()
    vm.pass_time(30)
    early = timer(vm.boot())[0]
    vm.pass_time(600)
    late = timer(vm.boot())[0]

    assert (early, late) == (30, 60)


@pytest.mark.parametrize("minutes_off", [2, 12])
def test_a_vm_stopped_at_its_end_leaves_time_to_move_the_end_once(tmp_path: Path, minutes_off: int) -> None:
    """Otherwise it would terminate before StartAll() reaches it; further reboots gain nothing."""
    vm = TimerHost.make(tmp_path, TimeLimits(60))
    vm.boot()
    vm.pass_time(55)
    vm.state("seen").touch()
    vm.pass_time(minutes_off)
    first = timer(vm.boot())[0]
    second = timer(vm.reboot(after_minutes=4))[0]
    last = timer(vm.reboot(after_minutes=7))[0]
    moved = timer(vm.extend("60", "-", "-"))[0]

    assert (first, second, last, moved) == (10, 6, 0, 60)
    assert vm.shutdowns[-2:] == ["-h now", "-h +66"]


def test_the_time_after_a_boot_is_no_longer_than_the_limit_and_needs_a_disk(tmp_path: Path) -> None:
    vm = TimerHost.make(tmp_path, TimeLimits(5))
    vm.boot()
    short = timer(vm.reboot(after_minutes=6))[0]
    full = TimerHost.make(tmp_path / "full", TimeLimits(60))
    full.boot()
    full.program("touch", "exit 1")

    assert short == 5
    assert timer(full.reboot(after_minutes=61))[0] == 0


def test_a_wrong_clock_at_boot_does_not_move_the_end_by_years(tmp_path: Path) -> None:
    vm = TimerHost.make(tmp_path, TimeLimits(60))
    vm.boot()
    vm.pass_time(-60 * 24 * 365)

    assert timer(vm.boot())[0] == 60


def test_an_extension_cancels_the_shutdown_that_may_block_logins(tmp_path: Path) -> None:
    vm = TimerHost.make(tmp_path, TimeLimits(60))
    vm.boot()
    vm.extend("120", "-", "-")

    assert vm.calls == ["-c", "-h +66", "-c", "-h +126"]


@pytest.mark.parametrize("limits", [None, "", "minutes=\x00\n", "rm -rf /\n"])
def test_without_its_limits_a_vm_keeps_its_end(tmp_path: Path, limits: str | None) -> None:
    vm = TimerHost.make(tmp_path, TimeLimits(60))
    vm.boot()
    vm.state("limits").unlink()
    if limits is not None:
        vm.state("limits").write_text(limits)

    assert timer(vm.reboot(after_minutes=20))[0] == 40


def test_a_folder_that_cannot_be_written_changes_nothing_about_the_end(tmp_path: Path) -> None:
    """As on a full disk: neither the new end nor the minutes used can be written."""
    vm = TimerHost.make(tmp_path, TimeLimits(480, budget_minutes=100))
    vm.boot()
    vm.program("mv", "exit 1")

    assert timer(vm.reboot(after_minutes=50))[0] == 48


@pytest.mark.slow
def test_the_watcher_shuts_down_at_the_end_whatever_became_of_the_scheduled_shutdown(tmp_path: Path) -> None:
    vm = TimerHost.make(tmp_path, TimeLimits(480))
    uptime_s = int(float(Path("/proc/uptime").read_text().split()[0]))
    with vm.watch(end=uptime_s + 2) as watcher:
        wait_until(lambda: "-h now" in vm.shutdowns)
        watcher.kill()

    assert "its time is over" in vm.state("ended").read_text()


def test_an_extension_moves_the_end_of_the_watcher(tmp_path: Path) -> None:
    vm = TimerHost.make(tmp_path, TimeLimits(480))
    uptime_s = int(float(Path("/proc/uptime").read_text().split()[0]))
    vm.boot()
    with vm.watch(end=uptime_s + 1) as watcher:
        wait_until(lambda: vm.state("used").read_text() > "1\n")
        watcher.kill()

    assert "-h now" not in vm.shutdowns
    assert int((vm.root / "run/stratus/end").read_text()) >= uptime_s + 480 * 60


def test_an_extension_on_a_full_disk_survives_a_reboot(tmp_path: Path) -> None:
    """No new file can be written there; the block of an old one can."""
    vm = TimerHost.make(tmp_path, TimeLimits(60))
    vm.boot()
    vm.program("mv", "exit 1")

    assert timer(vm.extend("600", "-", "45")) == [600, 0, 2, 45]
    assert timer(vm.reboot(after_minutes=20)) == [580, 0, 4, 45]


def test_a_clock_that_is_set_leaves_the_time_that_is_left(tmp_path: Path) -> None:
    """The end is a moment of the clock for a reboot, but not for the watcher."""
    vm = TimerHost.make(tmp_path, TimeLimits(60))
    vm.boot()
    before = int(vm.state("until").read_text())
    vm.program("date", 'if [ "$*" = +%s ]; then echo $(($(/bin/date +%s) + 3600)); else exec /bin/date "$@"; fi')
    with vm.watch() as watcher:
        wait_until(lambda: int(vm.state("until").read_text() or 0) != before)
        watcher.kill()

    assert abs(int(vm.state("until").read_text()) - before - 3600) <= 3
    assert timer(vm.reboot(after_minutes=0))[0] == 120  # as this computer's clock has it


def test_a_watcher_that_is_started_again_continues_the_count_of_minutes(tmp_path: Path) -> None:
    vm = TimerHost.make(tmp_path, TimeLimits(480))
    vm.set_used(50)
    with vm.watch(used=2) as watcher:
        wait_until(lambda: int(vm.state("used").read_text() or 0) != 50)
        watcher.kill()

    assert int(vm.state("used").read_text()) >= 51


def test_a_budget_counts_over_all_boots_and_shuts_down_when_it_is_used_up(tmp_path: Path) -> None:
    vm = TimerHost.make(tmp_path, TimeLimits(480, budget_minutes=100))
    vm.boot()
    vm.set_used(60)
    vm.boot()
    vm.set_used(99)
    vm.boot()

    assert vm.shutdowns == ["-h +104", "-h +44", "-h now"]


def test_an_extension_counts_from_now_and_survives_a_reboot(tmp_path: Path) -> None:
    vm = TimerHost.make(tmp_path, TimeLimits(60))
    vm.boot()

    assert timer(vm.extend("600", "-", "-"))[0] == 600
    assert timer(vm.boot())[0] in (599, 600)
    assert vm.shutdowns[:2] == ["-h +66", "-h +606"]


def test_an_extension_is_limited_by_the_budget_unless_that_is_raised_too(tmp_path: Path) -> None:
    vm = TimerHost.make(tmp_path, TimeLimits(60, budget_minutes=100))
    vm.boot()

    assert timer(vm.extend("600", "-", "-"))[:2] == [98, 100]
    assert timer(vm.extend("600", "1000", "-"))[:2] == [600, 1000]
    vm.set_used(999)
    assert timer(vm.boot())[0] == 0
    assert vm.shutdowns == ["-h +66", "-h +104", "-h +606", "-h now"]


def test_the_idle_time_can_be_set_alone(tmp_path: Path) -> None:
    vm = TimerHost.make(tmp_path, TimeLimits(60))
    vm.boot()

    assert timer(vm.extend("-", "-", "30"))[3] == 30
    assert timer(vm.extend("-", "-", "0"))[3] == 0
    assert vm.shutdowns == ["-h +66"]


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
    assert vm.shutdowns == ["-h +66"]
    assert (tmp_path / "var/lib/stratus/limits").read_text() == before
    assert not list(tmp_path.rglob("owned"))


def test_a_host_without_a_timer_reports_that(tmp_path: Path) -> None:
    env = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    done = subprocess.run(
        ["sh", "-c", remote_scripts.inline_command("extend.sh", "1", "-", "-")], env=env, capture_output=True
    )

    assert done.stdout == b"@@none\n"
