"""Stopped and started again: the machine's own timer, its tag and what is shown say the same."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from localcloud.core.clock import VirtualClock
from localcloud.simulation.cloud import InMemoryCloud
from orchestrator.aws.ec2 import instances
from tests.chaos.fault_matrix.cell_runner import Cell, CellRunner
from tests.chaos.virtual_computer import minutes_until_shutdown

CAPPED = {"cluster.max_dollars": "2", "cluster.max_hours": "3"}


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[CellRunner]:
    """A desk whose machines are out to cost two dollars at most, which is less than their three hours."""
    with InMemoryCloud(
        1, clock=VirtualClock(datetime.now(UTC).replace(tzinfo=None)), read_shutdown=minutes_until_shutdown
    ) as cloud:
        yield CellRunner(Cell("F50", "stopped and started", "start", "W", 0, settings=CAPPED), cloud, tmp_path)


def typed(desk: CellRunner, *lines: str) -> str:
    """Type lines, and return what the last one said."""
    for line in lines:
        code, said = desk.execute(line)
        assert code == 0, said
    return said


def test_a_start_does_not_give_back_the_dollars_that_were_spent(desk: CellRunner) -> None:
    typed(desk, "launch -n 2 --yes")
    desk.cloud.clock.sleep(3600)
    assert "billed: $12.00 a month" in typed(desk, "stop")
    desk.cloud.clock.sleep(2 * 3600)
    assert typed(desk, "status").count("stopped 2 h") == 2
    typed(desk, "start")

    now = desk.cloud.clock.utc().replace(tzinfo=UTC)
    for machine in desk.cloud.live_instances():
        left = desk.cloud.hosts.shutdown_in_s(machine.id)
        assert left is not None
        tagged = (datetime.fromisoformat(machine.tags[instances.TAG_EXPIRES]) - now).total_seconds()
        assert left <= tagged <= left + 60  # tags are whole minutes
        assert left < 2 * 3600
    desk.cloud.clock.sleep(2 * 3600 + 300)
    assert "0 instances of cluster ml" in typed(desk, "status")
