"""Sums over pairs of truth and estimate, by bin or tile, and the statistics that follow from them.

Sums rather than pixels are kept, so memory does not grow with the number of scenes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
# Columns of the sums: count, truth, its square, error, its square.
COLUMNS = 5


def pair_sums(index: NDArray[Any], size: int, truth: Values, estimate: Values) -> Values:
    """Return the sums of the pairs of each bin, one line per bin; ``index``: bin of each pair."""
    error = estimate - truth
    weights = (np.ones(len(truth)), truth, truth * truth, error, error * error)
    return np.column_stack([np.bincount(index, weights=weight, minlength=size) for weight in weights])


def r2(sums: Values) -> Values:
    """Return the coefficient of determination for each line of sums; NaN where truth does not vary."""
    count, truth, squared, _, error_squared = np.moveaxis(sums, -1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = squared - truth * truth / count
        return np.asarray(np.where(variance > 0.0, 1.0 - error_squared / variance, np.nan))


def statistics(sums: Values) -> dict[str, Any]:
    """Return the statistics of one line of sums in the layout of metrics.json."""
    count, truth, _, error, error_squared = (float(value) for value in sums)
    if not count:
        return {"pixels": 0}
    return {
        "pixels": int(count),
        "mean_truth": truth / count,
        "bias": error / count,
        "relative_bias": error / truth if truth else None,
        "rmse": (error_squared / count) ** 0.5,
    }


def overall(sums: Values) -> dict[str, Any]:
    """Return the statistics over all bins, with R2."""
    total = sums.sum(axis=0)
    value = float(r2(total))
    return {"r2": None if np.isnan(value) else value} | statistics(total)


def bin_index(values: Values, edges: Sequence[float]) -> NDArray[np.intp]:
    """Return the bin of each value; values outside count in the outermost bins."""
    return np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)


def binned(sums: Values, edges: Sequence[float]) -> list[dict[str, Any]]:
    """Return edges and statistics of each bin."""
    return [
        {"from": low, "to": high if np.isfinite(high) else None} | statistics(line)
        for low, high, line in zip(edges[:-1], edges[1:], sums, strict=True)
    ]
