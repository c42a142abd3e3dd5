"""Lives in which everything goes wrong, some of the thousand that scripts/chaos lives: nothing is ever left."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.chaos.random_plan import MOST_FAULTS, draw
from tests.chaos.random_run import live
from tests.chaos.runs import summarise
from tests.support.paths import ROOT


@pytest.mark.parametrize(
    "first", [pytest.param(first, marks=[pytest.mark.slow] * (first > 0)) for first in range(0, 24, 8)]
)
def test_whatever_goes_wrong_nothing_is_left_and_nothing_foreign_is_touched(first: int) -> None:
    summary = summarise(map(live, range(first, first + 8)))

    assert summary.failed == {}
    assert summary.orphans == 0


@pytest.mark.slow
def test_a_life_is_lived_again_bit_for_bit_in_another_process() -> None:
    """Whatever the order in which that process keeps its sets."""
    seed = 35
    command = [sys.executable, str(ROOT / "scripts" / "lib" / "chaos.py"), "--seed", str(seed), "--trace"]
    traces = [
        subprocess.run(
            command,
            env={**os.environ, "PYTHONHASHSEED": str(hashing)},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout
        for hashing in (1, 2)
    ]

    assert traces[0] == traces[1]
    assert traces[0].splitlines()[:-1] == live(seed).trace


def test_lives_hold_at_most_five_faults_and_every_kind_of_them() -> None:
    """Half of them end with a laptop that dies, and nobody who comes back."""
    drawn = [draw(seed) for seed in range(1000)]

    assert max(len(one.faults) + len(one.blows) for one in drawn) == MOST_FAULTS
    assert sum(not one.returns for one in drawn) == 500
    assert {blow.kind for one in drawn for blow in one.blows} == {"crash", "moves", "ctrl-c", "ctrl-c twice"}
    assert sum(one.colleague is not None for one in drawn) > 500
    kinds = {fault.kind for one in drawn for fault in one.faults}
    assert kinds >= {"error", "dropped", "throttled", "invisible", "dies", "no-capacity", "slow", "expired-keys"}
