"""Instances read from responses of EC2 and from tags."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from orchestrator.aws.ec2 import instances


def test_a_disk_survives_its_tag() -> None:
    disk = instances.Disk("gp3", 75, 4000, 250)

    assert instances.Disk.from_tag(disk.tag_value) == disk
    assert instances.Disk.from_tag("") is None
    assert instances.Disk.from_tag("gp3:75") is None
    assert instances.Disk.from_tag("gp3:x:0:0") is None


def test_an_instance_with_invalid_tags_is_listed_under_its_id() -> None:
    facts = {
        "InstanceId": "i-1",
        "InstanceType": "c7i.2xlarge",
        "State": {"Name": "running"},
        "Placement": {},
        "LaunchTime": datetime(2026, 11, 20, tzinfo=UTC),
        "AmiLaunchIndex": 7,
        "Tags": [
            {"Key": "stratus:hosts", "Value": "ml-[0-1]"},
            {"Key": "stratus:expires", "Value": "soon"},
            {"Key": "stratus:hours", "Value": ""},
            {"Key": "stratus:disk", "Value": "?"},
        ],
    }
    found = instances.from_response(facts)  # type: ignore[arg-type]

    assert (found.name, found.expires_at, found.max_hours, found.disk, found.host_key) == ("i-1", None, 0.0, None, "")


LAUNCHED = datetime(2026, 11, 20, 14, 12, tzinfo=UTC)


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
def test_the_time_at_which_an_instance_was_stopped_is_read_from_its_reason(
    state: str, reason: str, when: datetime | None
) -> None:
    facts: Any = {
        "InstanceId": "i-1",
        "InstanceType": "c7i.2xlarge",
        "State": {"Code": 80, "Name": state},
        "LaunchTime": LAUNCHED,
        "Placement": {},
        "StateTransitionReason": reason,
    }

    assert instances.from_response(facts).stopped_at == when
