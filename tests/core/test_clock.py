"""Waiting: every wait ends, whatever the clock shows."""

from __future__ import annotations

import pytest

from orchestrator.core.clock import Backoff, Clock
from tests.support.aws.wire import Time


@pytest.mark.parametrize("start", [0.0, 1e5 / 3, 2e6 / 7, 1e9 / 3])
def test_a_deadline_passes_on_a_clock_too_coarse_for_what_is_left(start: float) -> None:
    now = [start]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    patience = Clock(monotonic=lambda: now[0], sleep=sleep)
    for deadline in (0.1, 0.3, 1 / 3, 300.0 + 1e-9):
        for tries, _ in enumerate(patience.attempts(deadline, Backoff(0.5, 5.0))):
            assert tries < 200


def test_tries_come_at_once_in_growing_pauses_and_a_last_time_at_the_deadline() -> None:
    time = Time()

    assert list(time.clock.attempts(10, Backoff(first_s=1, longest_s=4, growth=2))) == [0, 1, 3, 7, 10]


def test_a_try_that_outlasts_the_deadline_is_the_last_one() -> None:
    time = Time()
    tries = time.clock.attempts(10)
    next(tries)
    time.seconds = 11

    assert list(tries) == []


def test_an_error_that_passes_is_retried_and_any_other_is_raised_at_once() -> None:
    time = Time()
    failures: list[Exception] = [OSError("busy"), OSError("busy")]

    def call() -> str:
        if failures:
            raise failures.pop()
        return "done"

    assert time.clock.retry(call, is_transient=lambda error: isinstance(error, OSError), timeout_s=60) == "done"
    failures.append(ValueError("wrong"))
    with pytest.raises(ValueError, match="wrong"):
        time.clock.retry(call, is_transient=lambda error: isinstance(error, OSError), timeout_s=60)


def test_an_error_that_does_not_pass_is_raised_at_the_deadline() -> None:
    time = Time()

    def call() -> None:
        raise OSError("busy")

    with pytest.raises(OSError, match="busy"):
        time.clock.retry(call, is_transient=lambda error: isinstance(error, OSError), timeout_s=60)
    assert time.seconds == 60
