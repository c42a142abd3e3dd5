"""Scores, from counts alone: what workers send of a granule is how often, never which pixel.

Each granule is judged by a model that has seen no pixel of it (folds of whole granules, in order of time). Accuracy
over all pixels treats neighbours as if they were independent, which they are not; so its uncertainty comes from
drawing granules, not pixels, with replacement (percentile bootstrap).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from granules import features
from granules.caliop import CLASSES, CLEAR, CLOUDY
from granules.forest_model import CloudModel, ColumnRows, Prediction, predict

Counts = NDArray[np.int64]
PROBABILITY_BINS = 10
BOOTSTRAP_SAMPLES = 2000


@dataclass(frozen=True)
class EvaluationCounts:
    """What is counted of one granule.

    ``confusion``: (true, said) over columns of known phase; ``mask``: (truly cloudy, said so) over all; ``stated``:
    per bin of the probability of cloud (pixels, cloudy ones, sum of probabilities); ``squares``: sum of squared
    errors of that probability; ``top``: columns, sums of error, squared error, truth, squared truth (km).
    """

    confusion: Counts
    mask: Counts
    reliability: NDArray[np.float64]
    squared_error: float
    top_sums: NDArray[np.float64]

    def __add__(self, other: EvaluationCounts) -> EvaluationCounts:
        return EvaluationCounts(
            self.confusion + other.confusion,
            self.mask + other.mask,
            self.reliability + other.reliability,
            self.squared_error + other.squared_error,
            self.top_sums + other.top_sums,
        )


def count_predictions(rows: ColumnRows, answer: Prediction) -> EvaluationCounts:
    """Count how a granule's rows fare."""
    judged = rows.column_class <= CLOUDY
    cloudy, chance = rows.column_class > CLEAR, answer.cloud_probability.astype(np.float64)
    known = rows.column_class < CLOUDY
    size = len(CLASSES)
    confusion = np.bincount(rows.column_class[known] * size + answer.column_class[known], minlength=size**2).reshape(
        size, size
    )
    mask = np.bincount(cloudy[judged] * 2 + (answer.column_class > CLEAR)[judged], minlength=4).reshape(2, 2)
    bins = np.minimum((chance * PROBABILITY_BINS).astype(int), PROBABILITY_BINS - 1)[judged]
    weights = (np.ones(judged.sum()), cloudy[judged].astype(float), chance[judged])
    stated = np.stack(
        [np.bincount(bins, weights=weight, minlength=PROBABILITY_BINS).astype(np.float64) for weight in weights]
    )
    squares = float(((chance - cloudy)[judged] ** 2).sum())
    top = judged & cloudy & np.isfinite(rows.top_km)
    truth, error = rows.top_km[top].astype(np.float64), (answer.top_km - rows.top_km)[top].astype(np.float64)
    sums = np.array([top.sum(), error.sum(), (error**2).sum(), truth.sum(), (truth**2).sum()])
    return EvaluationCounts(confusion, mask, stated, squares, sums)


def permutation_importance(rows: ColumnRows, model: CloudModel, seed: int) -> Counts:
    """For each group of features how many columns more are told rightly with it than with it shuffled among pixels."""
    known = rows.column_class < CLOUDY
    truth, table = rows.column_class[known], rows.features[known]
    right = int((predict(model, table).column_class == truth).sum())
    rng = np.random.default_rng(seed)
    worth = []
    for columns in features.GROUPS.values():
        shuffled = table.copy()
        shuffled[:, columns] = table[rng.permutation(len(table))][:, columns]
        worth.append(right - int((predict(model, shuffled).column_class == truth).sum()))
    return np.array(worth, np.int64)


def accuracy(counts: Counts) -> float | None:
    """Share on the diagonal."""
    total = int(counts.sum())
    return float(np.trace(counts)) / total if total else None


def bootstrap_interval(tables: Sequence[Counts], *, seed: int) -> tuple[float, float] | None:
    """95 % interval of the accuracy when granules are drawn with replacement; None of fewer than two."""
    right = np.array([np.trace(table) for table in tables], float)
    total = np.array([table.sum() for table in tables], float)
    if len(tables) < 2 or not total.sum():
        return None
    drawn = np.random.default_rng(seed).integers(0, len(tables), (BOOTSTRAP_SAMPLES, len(tables)))
    sums = total[drawn].sum(axis=1)
    low, high = np.percentile(right[drawn].sum(axis=1)[sums > 0] / sums[sums > 0], [2.5, 97.5])
    return float(low), float(high)


def ratio_or_none(part: float, whole: float) -> float | None:
    """``part / whole``; None of nothing."""
    return float(part) / float(whole) if whole else None


def class_scores(confusion: Counts) -> dict[str, dict[str, float | int | None]]:
    """Columns, precision, recall and F1 of each class."""
    found: dict[str, dict[str, float | int | None]] = {}
    for number, name in enumerate(CLASSES):
        hits, said, true = confusion[number, number], confusion[:, number].sum(), confusion[number].sum()
        found[name] = {
            "columns": int(true),
            "precision": ratio_or_none(hits, said),
            "recall": ratio_or_none(hits, true),
            "f1": ratio_or_none(2 * hits, said + true),
        }
    return found


def compute_scores(tallies: Sequence[EvaluationCounts], seed: int) -> dict[str, Any]:
    """All scores of some granules together, as metrics.json has them."""
    total = sum(tallies[1:], tallies[0])
    mask, phase = total.mask, total.confusion
    return {
        "phase": {
            "accuracy": accuracy(phase),
            "accuracy_95": bootstrap_interval([one.confusion for one in tallies], seed=seed),
            "baseline_largest_class": ratio_or_none(phase.sum(axis=1).max(), phase.sum()),
            "balanced_accuracy": balanced_accuracy(phase),
            "classes": class_scores(phase),
            "confusion": phase.tolist(),
        },
        "cloud_mask": {
            "accuracy": accuracy(mask),
            "accuracy_95": bootstrap_interval([one.mask for one in tallies], seed=seed),
            "baseline_larger_class": ratio_or_none(mask.sum(axis=1).max(), mask.sum()),
            "precision": ratio_or_none(mask[1, 1], mask[:, 1].sum()),
            "recall": ratio_or_none(mask[1, 1], mask[1].sum()),
            "columns": int(mask.sum()),
            "cloudy_columns": int(mask[1].sum()),
        },
        "calibration": calibration_scores(total),
        "cloud_top_height": height_scores(total.top_sums),
    }


def balanced_accuracy(confusion: Counts) -> float | None:
    """Mean recall of the classes that are there."""
    true = confusion.sum(axis=1)
    there = true > 0
    return float((np.diag(confusion)[there] / true[there]).mean()) if there.any() else None


def calibration_scores(total: EvaluationCounts) -> dict[str, Any]:
    """Brier score, expected calibration error, and the curve behind it."""
    pixels, cloudy, chance = total.reliability
    there = pixels > 0
    gap = np.abs(cloudy[there] - chance[there]).sum()
    return {
        "brier": ratio_or_none(total.squared_error, pixels.sum()),
        "expected_calibration_error": ratio_or_none(gap, pixels.sum()),
        "stated": [ratio_or_none(*pair) for pair in zip(chance, pixels, strict=True)],
        "observed": [ratio_or_none(*pair) for pair in zip(cloudy, pixels, strict=True)],
        "pixels": pixels.astype(int).tolist(),
    }


def height_scores(sums: NDArray[np.float64]) -> dict[str, Any]:
    """Errors of the top height over columns that are cloudy in truth, whatever the mask says."""
    count, error, squared, truth, truth_squared = (float(part) for part in sums)
    spread = truth_squared - truth**2 / count if count else 0.0
    return {
        "r2": 1.0 - squared / spread if spread > 0.0 else None,
        "rmse": float(np.sqrt(squared / count)) if count else None,
        "bias": ratio_or_none(error, count),
        "unit": "km",
        "columns": int(count),
    }


def evaluate(rows: ColumnRows, model: CloudModel, seed: int) -> tuple[EvaluationCounts, Counts]:
    """Count how a granule fares with a model that has not seen it; and what each group of features was worth."""
    usable = rows.column_class <= CLOUDY
    kept = ColumnRows(rows.features[usable], rows.column_class[usable], rows.top_km[usable])
    if not len(kept):
        size = len(CLASSES)
        empty = EvaluationCounts(
            np.zeros((size, size), int), np.zeros((2, 2), int), np.zeros((3, PROBABILITY_BINS)), 0.0, np.zeros(5)
        )
        return empty, np.zeros(len(features.GROUPS), np.int64)
    return count_predictions(kept, predict(model, kept.features)), permutation_importance(kept, model, seed)
