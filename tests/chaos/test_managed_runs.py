"""Random lives with SageMaker: a few of those that scripts/chaos lives."""

from __future__ import annotations

import pytest

from tests.chaos import managed_runs


@pytest.mark.slow
def test_nothing_of_sagemaker_is_left_and_nothing_of_others_is_touched() -> None:
    lives = [managed_runs.live(seed) for seed in range(6)]

    assert {life.seed: life.violations for life in lives if life.violations} == {}
    # The lives are not all undisturbed.
    assert any(life.is_interrupted for life in lives)


@pytest.mark.slow
def test_a_life_is_the_same_again() -> None:
    assert managed_runs.live(255).trace == managed_runs.live(255).trace
