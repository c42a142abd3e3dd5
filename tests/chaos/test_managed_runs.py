"""Random lives with SageMaker: a few of those that scripts/chaos lives."""

from __future__ import annotations

import pytest

from tests.chaos import lives
from tests.chaos.managed_runs import ManagedLife


@pytest.mark.slow
def test_nothing_of_sagemaker_is_left_and_nothing_of_others_is_touched() -> None:
    lived = [lives.live(ManagedLife, seed) for seed in range(6)]

    assert {life.seed: life.violations for life in lived if life.violations} == {}
    # The lives are not all undisturbed.
    assert any(life.is_interrupted for life in lived)


@pytest.mark.slow
def test_a_life_is_the_same_again() -> None:
    assert lives.live(ManagedLife, 255).trace == lives.live(ManagedLife, 255).trace
