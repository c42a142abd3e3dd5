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
from granules.forest_model import Answer, Model, Rows, predict

Counts = NDArray[np.int64]
BINS = 10
DRAWS = 2000


@dataclass(frozen=True)
class Tally:
    """What is counted of one granule.

    ``confusion``: (true, said) over columns of known phase; ``mask``: (truly cloudy, said so) over all; ``stated``:
    per bin of the probability of cloud (pixels, cloudy ones, sum of probabilities); ``squares``: sum of squared
    errors of that probability; ``top``: columns, sums of error, squared error, truth, squared truth (km).
    """

    confusion: Counts
    mask: Counts
    stated: NDArray[np.float64]
    squares: float
    top: NDArray[np.float64]

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.confusion + other.confusion,
            self.mask + other.mask,
            self.stated + other.stated,
            self.squares + other.squares,
            self.top + other.top,
        )


def tally(rows: Rows, answer: Answer) -> Tally:
    """Count how a granule's rows fare."""
    judged = rows.kind <= CLOUDY
    cloudy, chance = rows.kind > CLEAR, answer.cloud.astype(np.float64)
    known = rows.kind < CLOUDY
    size = len(CLASSES)
    confusion = np.bincount(rows.kind[known] * size + answer.kind[known], minlength=size**2).reshape(size, size)
    mask = np.bincount(cloudy[judged] * 2 + (answer.kind > CLEAR)[judged], minlength=4).reshape(2, 2)
    bins = np.minimum((chance * BINS).astype(int), BINS - 1)[judged]
    weights = (np.ones(judged.sum()), cloudy[judged].astype(float), chance[judged])
    stated = np.stack([np.bincount(bins, weights=weight, minlength=BINS).astype(np.float64) for weight in weights])
    squares = float(((chance - cloudy)[judged] ** 2).sum())
    top = judged & cloudy & np.isfinite(rows.top)
    truth, error = rows.top[top].astype(np.float64), (answer.top - rows.top)[top].astype(np.float64)
    sums = np.array([top.sum(), error.sum(), (error**2).sum(), truth.sum(), (truth**2).sum()])
    return Tally(confusion, mask, stated, squares, sums)


def importance(rows: Rows, model: Model, seed: int) -> Counts:
    """For each group of features how many columns more are told rightly with it than with it shuffled among pixels."""
    known = rows.kind < CLOUDY
    truth, table = rows.kind[known], rows.features[known]
    right = int((predict(model, table).kind == truth).sum())
    rng = np.random.default_rng(seed)
    worth = []
    for columns in features.GROUPS.values():
        shuffled = table.copy()
        shuffled[:, columns] = table[rng.permutation(len(table))][:, columns]
        worth.append(right - int((predict(model, shuffled).kind == truth).sum()))
    return np.array(worth, np.int64)


def accuracy(counts: Counts) -> float | None:
    """Share on the diagonal."""
    total = int(counts.sum())
    return float(np.trace(counts)) / total if total else None


def interval(tables: Sequence[Counts], *, seed: int) -> tuple[float, float] | None:
    """95 % interval of the accuracy when granules are drawn with replacement; None of fewer than two."""
    right = np.array([np.trace(table) for table in tables], float)
    total = np.array([table.sum() for table in tables], float)
    if len(tables) < 2 or not total.sum():
        return None
    drawn = np.random.default_rng(seed).integers(0, len(tables), (DRAWS, len(tables)))
    sums = total[drawn].sum(axis=1)
    low, high = np.percentile(right[drawn].sum(axis=1)[sums > 0] / sums[sums > 0], [2.5, 97.5])
    return float(low), float(high)


def share(part: float, whole: float) -> float | None:
    """``part / whole``; None of nothing."""
    return float(part) / float(whole) if whole else None


def per_class(confusion: Counts) -> dict[str, dict[str, float | int | None]]:
    """Columns, precision, recall and F1 of each class."""
    found: dict[str, dict[str, float | int | None]] = {}
    for number, name in enumerate(CLASSES):
        hits, said, true = confusion[number, number], confusion[:, number].sum(), confusion[number].sum()
        found[name] = {
            "columns": int(true),
            "precision": share(hits, said),
            "recall": share(hits, true),
            "f1": share(2 * hits, said + true),
        }
    return found


def scores(tallies: Sequence[Tally], seed: int) -> dict[str, Any]:
    """All scores of some granules together, as metrics.json has them."""
    total = sum(tallies[1:], tallies[0])
    mask, phase = total.mask, total.confusion
    return {
        "phase": {
            "accuracy": accuracy(phase),
            "accuracy_95": interval([one.confusion for one in tallies], seed=seed),
            "baseline_largest_class": share(phase.sum(axis=1).max(), phase.sum()),
            "balanced_accuracy": balanced(phase),
            "classes": per_class(phase),
            "confusion": phase.tolist(),
        },
        "cloud_mask": {
            "accuracy": accuracy(mask),
            "accuracy_95": interval([one.mask for one in tallies], seed=seed),
            "baseline_larger_class": share(mask.sum(axis=1).max(), mask.sum()),
            "precision": share(mask[1, 1], mask[:, 1].sum()),
            "recall": share(mask[1, 1], mask[1].sum()),
            "columns": int(mask.sum()),
            "cloudy_columns": int(mask[1].sum()),
        },
        "calibration": calibration(total),
        "cloud_top_height": heights(total.top),
    }


def balanced(confusion: Counts) -> float | None:
    """Mean recall of the classes that are there."""
    true = confusion.sum(axis=1)
    there = true > 0
    return float((np.diag(confusion)[there] / true[there]).mean()) if there.any() else None


def calibration(total: Tally) -> dict[str, Any]:
    """Brier score, expected calibration error, and the curve behind it."""
    pixels, cloudy, chance = total.stated
    there = pixels > 0
    gap = np.abs(cloudy[there] - chance[there]).sum()
    return {
        "brier": share(total.squares, pixels.sum()),
        "expected_calibration_error": share(gap, pixels.sum()),
        "stated": [share(*pair) for pair in zip(chance, pixels, strict=True)],
        "observed": [share(*pair) for pair in zip(cloudy, pixels, strict=True)],
        "pixels": pixels.astype(int).tolist(),
    }


def heights(sums: NDArray[np.float64]) -> dict[str, Any]:
    """Errors of the top height over columns that are cloudy in truth, whatever the mask says."""
    count, error, squared, truth, truth_squared = (float(part) for part in sums)
    spread = truth_squared - truth**2 / count if count else 0.0
    return {
        "r2": 1.0 - squared / spread if spread > 0.0 else None,
        "rmse": float(np.sqrt(squared / count)) if count else None,
        "bias": share(error, count),
        "unit": "km",
        "columns": int(count),
    }


def judge(rows: Rows, model: Model, seed: int) -> tuple[Tally, Counts]:
    """Count how a granule fares with a model that has not seen it; and what each group of features was worth."""
    usable = rows.kind <= CLOUDY
    kept = Rows(rows.features[usable], rows.kind[usable], rows.top[usable])
    if not len(kept):
        size = len(CLASSES)
        empty = Tally(np.zeros((size, size), int), np.zeros((2, 2), int), np.zeros((3, BINS)), 0.0, np.zeros(5))
        return empty, np.zeros(len(features.GROUPS), np.int64)
    return tally(kept, predict(model, kept.features)), importance(kept, model, seed)
