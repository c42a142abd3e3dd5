"""State of a cluster: sums over instances, and what is unknown."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from orchestrator.cluster.status import ClusterStatus, InstanceStatus, last_expiry
from orchestrator.core.cost import UNKNOWN, exactly

NOW = datetime(2026, 11, 20, 14, 12, tzinfo=UTC)
RUNNING = InstanceStatus(
    name="ml-0",
    id="i-0",
    type="c7i.2xlarge",
    state="running",
    zone="us-west-2a",
    address="203.0.113.5",
    launched_at=NOW - timedelta(hours=2),
    expires_at=NOW + timedelta(hours=6),
    usd_per_hour=Decimal("0.5"),
    disk_usd_per_hour=Decimal("0.01"),
    spent=exactly(Decimal(1)),
)
STOPPED = replace(
    RUNNING, name="ml-1", state="stopped", stopped_at=NOW - timedelta(hours=30), spent=exactly(Decimal("0.3"))
)


def status(*instances: InstanceStatus) -> ClusterStatus:
    return ClusterStatus("ml", "us-west-2", "ada", instances, NOW)


def test_running_instances_cost_their_price_and_stopped_ones_their_disk() -> None:
    current = status(RUNNING, STOPPED)

    assert (current.up, current.stopped) == ((RUNNING,), (STOPPED,))
    assert (current.usd_per_hour, current.stopped_usd_per_hour) == (Decimal("0.5"), Decimal("0.01"))
    assert current.spent_usd == Decimal("1.3")
    assert current.expires_at == RUNNING.expires_at


def test_one_unknown_price_makes_the_sum_unknown() -> None:
    current = status(RUNNING, replace(RUNNING, usd_per_hour=None, spent=UNKNOWN))

    assert current.usd_per_hour is None
    assert current.spent_usd is None


@pytest.mark.parametrize(
    ("times", "expected"),
    [([], None), ([NOW], NOW), ([NOW, None], None), ([NOW, NOW + timedelta(1)], NOW + timedelta(1))],
)
def test_the_last_shutdown_is_unknown_if_one_is(times: list[datetime | None], expected: datetime | None) -> None:
    assert last_expiry(times) == expected


def test_instances_stopped_for_long_are_found_by_the_time_of_their_stop() -> None:
    current = status(RUNNING, STOPPED, replace(STOPPED, stopped_at=None))

    assert current.stopped_longer_than(29) == (STOPPED,)
    assert current.stopped_longer_than(31) == ()
