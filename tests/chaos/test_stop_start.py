"""Stop and start: the VM's shutdown timer, its tag and the status agree."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from localcloud.core.clock import VirtualClock
from localcloud.simulation.cloud import InMemoryCloud
from orchestrator.aws.ec2 import instance_tags
from tests.chaos.fault_matrix.cell import Cell
from tests.chaos.fault_matrix.cell_runner import CellRunner
from tests.chaos.shutdown_timers import ShutdownTimers

CAPPED = {"cluster.max_dollars": "2", "cluster.max_hours": "3"}


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[CellRunner]:
    """VMs with a budget of two dollars each, which is less than their three hours cost."""
    timers = ShutdownTimers()
    with InMemoryCloud(
        1, clock=VirtualClock(datetime.now(UTC).replace(tzinfo=None)), read_shutdown=timers.at_boot
    ) as cloud:
        yield CellRunner(Cell("F50", "stopped and started", "start", "W", 0, settings=CAPPED), cloud, tmp_path, timers)


def run_commands(runner: CellRunner, *lines: str) -> str:
    """Run commands; return the output of the last one."""
    for line in lines:
        code, output = runner.execute(line)
        assert code == 0, output
    return output


def test_starting_does_not_reset_the_money_spent(runner: CellRunner) -> None:
    run_commands(runner, "launch -n 2 --yes")
    runner.cloud.clock.sleep(3600)
    assert "billed: $12.00 a month" in run_commands(runner, "stop")
    runner.cloud.clock.sleep(2 * 3600)
    assert run_commands(runner, "status").count("stopped 2 h") == 2
    run_commands(runner, "start")

    now = runner.cloud.clock.utc().replace(tzinfo=UTC)
    for instance in runner.cloud.live_instances():
        left = runner.cloud.hosts.shutdown_in_s(instance.id)
        assert left is not None
        tagged = (datetime.fromisoformat(instance.tags[instance_tags.EXPIRES]) - now).total_seconds()
        assert left <= tagged <= left + 60  # tags are whole minutes
        assert left < 2 * 3600
    runner.cloud.clock.sleep(2 * 3600 + 300)
    assert "0 VMs of cluster ml" in run_commands(runner, "status")
