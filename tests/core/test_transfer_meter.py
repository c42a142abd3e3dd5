"""Progress of a transfer, and the limit of its bandwidth, in virtual time."""

from __future__ import annotations

import pytest

from localcloud.core.clock import VirtualClock
from orchestrator.core.clock import Clock
from orchestrator.core.transfer_meter import Meter, Progress, Stopped


def test_a_limit_makes_a_transfer_wait_and_the_time_left_follows_from_the_rate() -> None:
    time, reports = VirtualClock(), list[Progress]()
    began = time.now()
    meter = Meter(Clock(monotonic=time.now, sleep=time.sleep), 8_000_000, reports.append, 1e6)
    meter.skip(2_000_000)
    for _ in range(50):
        meter.add(100_000)

    assert 4.8 <= time.now() - began <= 5.2
    assert reports[-1].bytes_per_s == pytest.approx(1e6, rel=0.1)
    assert reports[-1].left_s == pytest.approx((8e6 - reports[-1].done_bytes) / 1e6, rel=0.1)
    assert reports[-1].text.endswith("s left")


def test_a_transfer_that_is_ended_stops_at_its_next_block() -> None:
    meter = Meter(Clock(), 0, lambda progress: None)
    meter.stop()

    with pytest.raises(Stopped):
        meter.add(1)
