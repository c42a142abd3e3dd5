"""Quick form of the fuzzer: a few inputs of each kind; `scripts/fuzz` draws as many as its time allows."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from tests.fuzz.checks import FUZZERS, SLOW

QUICK = settings(
    max_examples=25, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


@pytest.mark.slow
@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in FUZZERS])
def test_no_input_of_others_is_a_traceback(name: str) -> None:
    strategy, check = FUZZERS[name]

    @settings(QUICK, max_examples=10 if name in SLOW else 25)
    @given(strategy)
    def run(value: Any) -> None:
        check(value)

    run()
