"""Installs as text."""

from __future__ import annotations

from orchestrator.core.errors import HostError
from orchestrator.install.installer import HostInstall, InstallReport, StepResult
from tests.support.interface.rendered import rendered

DONE = HostInstall("ml-0", (StepResult("python", "unchanged", 0.1), StepResult("requirements", "done", 21.4)), 22.0)
UNCHANGED = HostInstall("ml-0", (StepResult("python", "unchanged", 0.1),), 0.4)
NEXT = "  Next: RunSingleVMComputing() or RunMultiVMComputing()"


def test_an_install_shows_each_step_and_a_second_one_has_nothing_to_do() -> None:
    assert rendered(InstallReport((DONE,), {}, 22.6)) == [
        "  ml-0  done  python   requirements 21.4 s",
        f"  1 step applied, 0 failed, 22.6 s.{NEXT}",
    ]
    assert rendered(InstallReport((UNCHANGED,), {}, 0.4)) == [
        "  ml-0  unchanged  python",
        f"  Nothing to do, 0.4 s.{NEXT}",
    ]


def test_an_install_that_failed_somewhere_has_no_next_step() -> None:
    lines = rendered(InstallReport((DONE,), {"ml-1": HostError("disk full", where="ml-1")}, 22.6))

    assert lines[1:] == ["  ml-1  failed  disk full", "  1 step applied, 1 failed, 22.6 s."]


def test_an_install_on_many_hosts_is_summed_up() -> None:
    assert rendered(InstallReport((DONE,) * 30, {}, 22.6)) == [f"  30 steps applied on 30 VMs, 0 failed, 22.6 s.{NEXT}"]
