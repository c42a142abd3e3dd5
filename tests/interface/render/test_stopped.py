"""Stopped machines: nothing ends them, so they are shown with their age and price, and reminded of."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from orchestrator.aws.ec2 import instances
from orchestrator.aws.ec2.state_changes import InstanceResult
from orchestrator.interface.render import cluster, stopped
from tests.interface.render.test_cluster import NOW, machine, status


def asleep(name: str, hours: float) -> Any:
    """A machine that was stopped so many hours ago."""
    return replace(machine(name, "stopped"), stopped_at=NOW - timedelta(hours=hours))


def test_a_stopped_machine_is_shown_with_its_age_and_the_price_of_its_disk() -> None:
    lines = cluster.status(status(asleep("ml-0", 74), replace(machine("ml-1", "stopped"), disk_usd_per_hour=None)))

    assert "stopped 3 d 2 h" in lines[0]
    assert lines[0].endswith("disk $0.008/h")
    assert lines[1].endswith("disk price unknown")
    assert "up 12 min" not in "".join(lines)


def test_who_stops_machines_is_told_what_a_month_costs_and_that_nothing_ends_them() -> None:
    done = [InstanceResult(name, "i-1", "stopped", disk_usd_per_hour=Decimal("0.0082")) for name in ("ml-0", "ml-1")]

    assert cluster.instances(done)[-2:] == [
        "  The disks stay, and are billed: $11.97 a month. A stopped VM has no timer: nothing ends it.",
        "  StartAll() brings the VMs back; TerminateAll() ends it all.",
    ]
    assert "price unknown." in "".join(stopped.kept([Decimal(1), None]))


def test_the_shell_reminds_of_machines_stopped_for_longer_than_they_may_run() -> None:
    found = status(machine("ml-0"), asleep("ml-1", 74), asleep("ml-2", 9), asleep("ml-3", 7))
    lines = stopped.reminder(found, 8)

    assert lines == [
        "  ml-1, ml-2 have been stopped for 3 d 2 h (max_hours is 8 h): $11.97 a month for their disks, and nothing "
        "ends them by itself.",
        "    StartAll() brings them back; TerminateAll() ends them.",
    ]
    assert stopped.reminder(found, 80) == []
    assert "has been stopped" in stopped.reminder(status(asleep("ml-1", 74)), 8)[0]


@pytest.mark.parametrize(
    ("state", "reason", "when"),
    [
        ("stopped", "User initiated (2026-11-20 14:12:07 GMT)", datetime(2026, 11, 20, 14, 12, 7, tzinfo=UTC)),
        ("stopping", "User initiated (2026-11-20 14:12:07 UTC)", datetime(2026, 11, 20, 14, 12, 7, tzinfo=UTC)),
        ("stopped", "Server.ScheduledStop: Stopped due to a scheduled retirement", None),
        ("stopped", "", None),
        ("running", "User initiated (2026-11-20 14:12:07 GMT)", None),
    ],
)
def test_since_when_a_machine_is_stopped_is_read_from_its_reason(
    state: str, reason: str, when: datetime | None
) -> None:
    facts: Any = {
        "InstanceId": "i-1",
        "InstanceType": "c7i.2xlarge",
        "State": {"Code": 80, "Name": state},
        "LaunchTime": NOW,
        "Placement": {},
        "StateTransitionReason": reason,
    }

    assert instances.from_response(facts).stopped_at == when
