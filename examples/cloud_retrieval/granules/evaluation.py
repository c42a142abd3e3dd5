"""Scores computed from counts: workers send counts of a granule, no pixels.

Each granule is evaluated with a model trained without any of its pixels (folds of whole granules, in order of time).
Accuracy over all pixels treats neighbors as independent, which they are not, so its uncertainty is estimated by
resampling granules instead of pixels (percentile bootstrap).
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
    """Counts of one granule.

    ``confusion``: (true, predicted) over columns of known phase; ``mask``: (truly cloudy, predicted cloudy) over all;
    ``reliability``: per bin of the predicted probability of cloud (columns, cloudy ones, sum of probabilities);
    ``squared_error``: sum of squared errors of that probability; ``top_sums``: columns, sums of error, squared error,
    truth, squared truth (km).
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


def count_predictions(rows: ColumnRows, prediction: Prediction) -> EvaluationCounts:
    """Count correct and wrong predictions for a granule's rows."""
    is_evaluated = rows.column_class <= CLOUDY
    cloudy, probability = rows.column_class > CLEAR, prediction.cloud_probability.astype(np.float64)
    known_phase = rows.column_class < CLOUDY
    size = len(CLASSES)
    confusion = np.bincount(
        rows.column_class[known_phase] * size + prediction.column_class[known_phase], minlength=size**2
    ).reshape(size, size)
    mask = np.bincount(cloudy[is_evaluated] * 2 + (prediction.column_class > CLEAR)[is_evaluated], minlength=4).reshape(
        2, 2
    )
    # A probability of exactly 1 belongs to the last bin.
    bins = np.minimum((probability * PROBABILITY_BINS).astype(int), PROBABILITY_BINS - 1)[is_evaluated]
    weights = (np.ones(is_evaluated.sum()), cloudy[is_evaluated].astype(float), probability[is_evaluated])
    reliability = np.stack(
        [np.bincount(bins, weights=weight, minlength=PROBABILITY_BINS).astype(np.float64) for weight in weights]
    )
    squared_error = float(((probability - cloudy)[is_evaluated] ** 2).sum())
    has_top = is_evaluated & cloudy & np.isfinite(rows.top_km)
    truth, error = (
        rows.top_km[has_top].astype(np.float64),
        (prediction.top_km - rows.top_km)[has_top].astype(np.float64),
    )
    top_sums = np.array([has_top.sum(), error.sum(), (error**2).sum(), truth.sum(), (truth**2).sum()])
    return EvaluationCounts(confusion, mask, reliability, squared_error, top_sums)


def permutation_importance(rows: ColumnRows, model: CloudModel, seed: int) -> Counts:
    """Return for each group of features the number of correct predictions lost when it is permuted among columns."""
    known_phase = rows.column_class < CLOUDY
    truth, table = rows.column_class[known_phase], rows.features[known_phase]
    correct = int((predict(model, table).column_class == truth).sum())
    # Seeded, so that the importance is the same on any worker.
    rng = np.random.default_rng(seed)
    losses = []
    for columns in features.GROUPS.values():
        permuted = table.copy()
        permuted[:, columns] = table[rng.permutation(len(table))][:, columns]
        losses.append(correct - int((predict(model, permuted).column_class == truth).sum()))
    return np.array(losses, np.int64)


def accuracy(counts: Counts) -> float | None:
    """Return the share of counts on the diagonal."""
    total = int(counts.sum())
    return float(np.trace(counts)) / total if total else None


def bootstrap_interval(tables: Sequence[Counts], *, seed: int) -> tuple[float, float] | None:
    """Return the 95 % interval of the accuracy when granules are resampled; None for fewer than two granules."""
    correct = np.array([np.trace(table) for table in tables], float)
    total = np.array([table.sum() for table in tables], float)
    if len(tables) < 2 or not total.sum():
        return None
    samples = np.random.default_rng(seed).integers(0, len(tables), (BOOTSTRAP_SAMPLES, len(tables)))
    sums = total[samples].sum(axis=1)
    # Samples without any column have no accuracy.
    low, high = np.percentile(correct[samples].sum(axis=1)[sums > 0] / sums[sums > 0], [2.5, 97.5])
    return float(low), float(high)


def ratio_or_none(part: float, total: float) -> float | None:
    """Return ``part / total``, or None if ``total`` is 0."""
    return float(part) / float(total) if total else None


def class_scores(confusion: Counts) -> dict[str, dict[str, float | int | None]]:
    """Return columns, precision, recall and F1 of each class."""
    scores: dict[str, dict[str, float | int | None]] = {}
    for number, name in enumerate(CLASSES):
        hits, predicted, true = confusion[number, number], confusion[:, number].sum(), confusion[number].sum()
        scores[name] = {
            "columns": int(true),
            "precision": ratio_or_none(hits, predicted),
            "recall": ratio_or_none(hits, true),
            "f1": ratio_or_none(2 * hits, predicted + true),
        }
    return scores


def compute_scores(counts: Sequence[EvaluationCounts], seed: int) -> dict[str, Any]:
    """Return all scores of some granules together, in the layout of metrics.json."""
    total = sum(counts[1:], counts[0])
    mask, phase = total.mask, total.confusion
    return {
        "phase": {
            "accuracy": accuracy(phase),
            "accuracy_95": bootstrap_interval([granule.confusion for granule in counts], seed=seed),
            "baseline_largest_class": ratio_or_none(phase.sum(axis=1).max(), phase.sum()),
            "balanced_accuracy": balanced_accuracy(phase),
            "classes": class_scores(phase),
            "confusion": phase.tolist(),
        },
        "cloud_mask": {
            "accuracy": accuracy(mask),
            "accuracy_95": bootstrap_interval([granule.mask for granule in counts], seed=seed),
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
    """Return the mean recall of the classes that occur."""
    true = confusion.sum(axis=1)
    present = true > 0
    return float((np.diag(confusion)[present] / true[present]).mean()) if present.any() else None


def calibration_scores(total: EvaluationCounts) -> dict[str, Any]:
    """Return Brier score, expected calibration error, and the calibration curve."""
    pixels, cloudy, probability = total.reliability
    populated = pixels > 0
    gap = np.abs(cloudy[populated] - probability[populated]).sum()
    return {
        "brier": ratio_or_none(total.squared_error, pixels.sum()),
        "expected_calibration_error": ratio_or_none(gap, pixels.sum()),
        "stated": [ratio_or_none(*pair) for pair in zip(probability, pixels, strict=True)],
        "observed": [ratio_or_none(*pair) for pair in zip(cloudy, pixels, strict=True)],
        "pixels": pixels.astype(int).tolist(),
    }


def height_scores(sums: NDArray[np.float64]) -> dict[str, Any]:
    """Return errors of the top height over columns that are cloudy in truth, regardless of the predicted mask."""
    count, error, squared, truth, truth_squared = (float(part) for part in sums)
    variance_sum = truth_squared - truth**2 / count if count else 0.0
    return {
        "r2": 1.0 - squared / variance_sum if variance_sum > 0.0 else None,
        "rmse": float(np.sqrt(squared / count)) if count else None,
        "bias": ratio_or_none(error, count),
        "unit": "km",
        "columns": int(count),
    }


def no_counts() -> EvaluationCounts:
    """Return the counts of no column."""
    size = len(CLASSES)
    return EvaluationCounts(
        np.zeros((size, size), int), np.zeros((2, 2), int), np.zeros((3, PROBABILITY_BINS)), 0.0, np.zeros(5)
    )


def evaluate(rows: ColumnRows, model: CloudModel, seed: int) -> tuple[EvaluationCounts, Counts]:
    """Return counts and feature importance of a granule for a model trained without it."""
    evaluated = rows.select(rows.column_class <= CLOUDY)
    if not len(evaluated):
        return no_counts(), np.zeros(len(features.GROUPS), np.int64)
    return count_predictions(evaluated, predict(model, evaluated.features)), permutation_importance(
        evaluated, model, seed
    )
