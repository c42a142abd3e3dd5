"""Calibration: mean of optical thickness, and uncertainties, as functions of the retrieved values.

Members estimate log(1 + COT), so their COT is close to the median of what a pixel may have; averaged over pixels it is
too low. The mean is the median times a ratio. Ratio and variances are learned from predictions for training pixels
whose tiles were left out, as functions of the three retrieved values alone: more features would fit noise.

The width of an interval is the standard deviation times a factor, the quantile that contained 68% or 95% of the
training pixels' errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boosting.members import BoostingTable, Target, Values

COVERAGE = (0.68, 0.95)
SPREAD_TARGETS: tuple[Target, ...] = ("cot", "cer")
COLUMNS: dict[Target, int] = {"mask": 0, "cot": 1, "cer": 2}
SMALLEST_VARIANCE = 1e-6
SMOOTH: dict[str, Any] = {
    "max_iter": 60,
    "learning_rate": 0.08,
    "max_leaf_nodes": 8,
    "min_samples_leaf": 80,
    "l2_regularization": 5.0,
    "early_stopping": False,
    # Only binning draws random numbers.
    "random_state": 0,
}


@dataclass(frozen=True)
class Spread:
    """Estimator of a target's variance, and the factors of the intervals of 68% and 95%."""

    variance: Any
    factors: tuple[float, float]


@dataclass(frozen=True)
class Calibration:
    """Estimator of the ratio of mean to median of 1 + COT, and the spread of each target."""

    ratio: Any
    spreads: Mapping[Target, Spread]

    def mean_cot(self, predictions: Values) -> Values:
        """Return the mean of COT (1) for rows of retrieved values."""
        ratio = self.ratio.predict(predictions)
        return np.asarray(np.exp(predictions[:, COLUMNS["cot"]]) * ratio - 1.0)

    def half_widths(self, target: Target, predictions: Values) -> tuple[Values, Values]:
        """Return half the width of the intervals of 68% and 95%, in log(1 + COT) or um."""
        spread = self.spreads[target]
        deviation = np.sqrt(spread.variance.predict(predictions))
        narrow, wide = spread.factors
        return deviation * narrow, deviation * wide

    @property
    def estimators(self) -> list[Any]:
        """All estimators, in a fixed order."""
        return [self.ratio, *(self.spreads[target].variance for target in SPREAD_TARGETS)]


def fit_spread(table: BoostingTable, predictions: Values, target: Target) -> Spread:
    """Fit the spread of a target from predictions for training rows by members that have not seen their tiles."""
    values = table.target_values(target)
    known = np.isfinite(values)
    errors = values[known] - predictions[known, COLUMNS[target]]
    variance = fit_variance(predictions[known], errors)
    scaled = np.abs(errors) / np.sqrt(variance.predict(predictions[known]))
    narrow, wide = np.quantile(scaled, COVERAGE)
    return Spread(variance, (float(narrow), float(wide)))


def fit_ratio(predictions: Values, cot: NDArray[np.float64]) -> Any:
    """Fit the ratio of 1 + COT to its median.

    Poisson deviance with the median as weight: in each leaf the sum of estimated COT equals the sum of true COT.
    """
    from sklearn.ensemble import HistGradientBoostingRegressor

    median = np.exp(predictions[:, COLUMNS["cot"]])
    model = HistGradientBoostingRegressor(loss="poisson", **SMOOTH)
    return model.fit(predictions, (1.0 + cot) / median, sample_weight=median)


def fit_variance(predictions: Values, errors: Values) -> Any:
    """Fit the mean of squared errors (gamma deviance: errors of all sizes count relative to their size)."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    model = HistGradientBoostingRegressor(loss="gamma", **SMOOTH)
    return model.fit(predictions, np.maximum(errors * errors, SMALLEST_VARIANCE))
