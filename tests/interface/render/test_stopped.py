"""Stopped VMs: shown with age and price, and reminded of, because they stay until they are terminated."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

from orchestrator.aws.ec2.state_changes import InstanceResult
from orchestrator.interface.render.billed import stopped
from tests.support.interface.example_machines import machine, status, stopped_machine
from tests.support.interface.rendered import NOW, rendered, texts


def test_a_stopped_vm_is_shown_with_its_age_and_the_price_of_its_disk() -> None:
    lines = rendered(status(stopped_machine("ml-0", 74), replace(machine("ml-1", "stopped"), disk_usd_per_hour=None)))

    assert "stopped 3 d 2 h" in lines[0]
    assert lines[0].endswith("disk $0.008/h")
    assert lines[1].endswith("disk price unknown")
    assert "up 12 min" not in "".join(lines)


def test_stopping_shows_what_a_month_costs_and_that_stopped_vms_stay() -> None:
    results = [InstanceResult(name, "i-1", "stopped", disk_usd_per_hour=Decimal("0.0082")) for name in ("ml-0", "ml-1")]

    assert rendered(results)[-2:] == [
        "  The disks stay and are billed: $11.97 a month. Stopped VMs have no timer: they stay until terminated.",
        "  StartAll() starts the VMs again; TerminateAll() terminates them.",
    ]
    assert "price unknown." in "".join(texts(stopped.kept([Decimal(1), None])))


def test_vms_that_were_stopped_or_running_before_are_named_as_such() -> None:
    stopped_before = InstanceResult("ml-0", "i-1", "stopped", disk_usd_per_hour=Decimal(1), is_unchanged=True)

    assert rendered([stopped_before, replace(stopped_before, name="ml-1", is_unchanged=False)])[:2] == [
        "  ml-0  already stopped",
        "  ml-1  stopped",
    ]
    assert rendered([InstanceResult("ml-0", "i-1", "running", is_unchanged=True)])[0] == "  ml-0  already running"


def test_after_a_start_the_automatic_shutdown_and_the_next_verb_are_shown() -> None:
    started = InstanceResult("ml-0", "i-1", "running", expires_at=NOW + timedelta(hours=8))
    last = rendered([started, replace(started, name="ml-1")])[-1]

    assert last.startswith("  They shut down automatically at ")
    assert last.endswith("(in 8 h).  Next: RunSingleVMComputing()")
    assert rendered([replace(started, expires_at=None)])[-1] == "  Next: RunSingleVMComputing()"
    assert "Next" not in rendered([replace(started, error="ssh: no answer")])[-1]


def test_the_shell_reminds_of_vms_stopped_for_longer_than_vms_may_run() -> None:
    vms = [machine("ml-0"), stopped_machine("ml-1", 74), stopped_machine("ml-2", 9), stopped_machine("ml-3", 7)]

    assert texts(stopped.reminder(status(*vms), 8)) == [
        "  ml-1, ml-2 have been stopped for 3 d 2 h (max_hours is 8 h): $11.97 a month for their disks, until you "
        "terminate them.",
        "    StartAll() starts them again; TerminateAll() terminates them.",
    ]
    assert stopped.reminder(status(*vms), 80) == []
    assert "has been stopped" in texts(stopped.reminder(status(stopped_machine("ml-1", 74)), 8))[0]


def test_vms_that_end_at_different_times_are_told_by_the_first_end() -> None:
    later = InstanceResult("ml-0", "i-0", "running", expires_at=NOW + timedelta(hours=8))
    first = InstanceResult("ml-1", "i-1", "running", expires_at=NOW + timedelta(hours=2))
    *_, last = rendered([later, first])

    assert last.startswith("  ml-1 shuts down automatically at ")
    assert last.endswith("(in 2 h), others later: Status() shows each.  Next: RunSingleVMComputing()")
