"""Waiting: every wait ends, whatever the clock shows."""

from __future__ import annotations

import pytest

from orchestrator.core.clock import Backoff, Clock


@pytest.mark.parametrize("start", [0.0, 1e5 / 3, 2e6 / 7, 1e9 / 3])
def test_a_deadline_passes_on_a_clock_too_coarse_for_what_is_left(start: float) -> None:
    now = [start]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    patience = Clock(monotonic=lambda: now[0], sleep=sleep)
    for deadline in (0.1, 0.3, 1 / 3, 300.0 + 1e-9):
        for tries, _ in enumerate(patience.attempts(deadline, Backoff(0.5, 5.0))):
            assert tries < 200
