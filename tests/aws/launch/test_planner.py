"""Launch ids."""

from __future__ import annotations

from orchestrator.aws.launch import planner
from tests.support.aws.wire import Time


def test_launch_ids_sort_by_time_and_never_repeat() -> None:
    time = Time()
    first, second = planner.new_launch_id(time.clock), planner.new_launch_id(time.clock)
    time.clock.sleep(1)

    assert first.startswith("20261120-141207-")
    assert first != second
    assert max(first, second) < planner.new_launch_id(time.clock)
