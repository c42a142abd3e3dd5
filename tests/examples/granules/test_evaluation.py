"""Scores count what they claim to count; the interval reflects granules, not pixels."""

from __future__ import annotations

import numpy as np
import pytest
from granules import evaluation, forest_model
from granules.caliop import CLEAR, CLOUDY, ICE, MIXED, WATER


def prediction(kinds: list[int], cloud: list[float]) -> forest_model.Prediction:
    """Return predictions of these classes with these probabilities of cloud."""
    chances = np.zeros((len(kinds), 4), np.float32)
    chances[:, CLEAR] = 1.0 - np.array(cloud)
    chances[np.arange(len(kinds)), [kind or WATER for kind in kinds]] += np.array(cloud, np.float32)
    return forest_model.Prediction(chances, np.full(len(kinds), 5.0, np.float32))


def test_scores_of_a_small_example() -> None:
    kinds = np.array([CLEAR, CLEAR, WATER, ICE, MIXED, CLOUDY], np.int8)
    tops = np.array([np.nan, np.nan, 2.0, 9.0, 12.0, 5.0], np.float32)
    rows = forest_model.ColumnRows(
        np.zeros((6, 1), np.float32), kinds, tops, np.full(6, np.nan, np.float32), np.full(6, -1, np.int8)
    )

    counts = evaluation.count_predictions(
        rows, prediction([CLEAR, WATER, WATER, ICE, ICE, CLEAR], [0.1, 0.6, 0.9, 0.8, 0.95, 0.3])
    )
    scores = evaluation.compute_scores([counts, counts], seed=1)

    assert scores["phase"]["accuracy"] == pytest.approx(3 / 5)
    assert scores["phase"]["classes"]["ice"] == {
        "columns": 2,
        "precision": 0.5,
        "recall": 1.0,
        "f1": pytest.approx(2 / 3),
    }
    assert scores["phase"]["classes"]["mixed"]["recall"] == 0.0
    # A cloud of unknown phase counts for the mask.
    assert scores["cloud_mask"]["columns"] == 12
    assert scores["cloud_mask"]["accuracy"] == pytest.approx(4 / 6)
    assert scores["calibration"]["brier"] == pytest.approx(np.mean([0.01, 0.36, 0.01, 0.04, 0.0025, 0.49]), abs=1e-6)
    assert scores["cloud_top_height"]["rmse"] == pytest.approx(np.sqrt((9 + 16 + 49) / 4))
    assert scores["phase"]["accuracy_95"] == pytest.approx((0.6, 0.6))


def test_the_interval_widens_with_differences_between_granules_not_with_few_pixels() -> None:
    good, bad = (np.array([[part, 0], [10_000 - part, 0]]) for part in (9_900, 5_000))

    low, high = evaluation.bootstrap_interval([good, bad, good, bad], seed=3) or (0.0, 0.0)

    assert low < 0.6
    assert high > 0.9
    assert evaluation.bootstrap_interval([good], seed=3) is None


def test_a_pixel_below_half_probability_is_clear_others_have_the_most_probable_phase() -> None:
    chances = np.array([[0.45, 0.2, 0.2, 0.15], [0.51, 0.49, 0.0, 0.0], [0.1, 0.2, 0.3, 0.4]], np.float32)

    assert forest_model.Prediction(chances, np.zeros(3, np.float32)).column_class.tolist() == [WATER, CLEAR, MIXED]
