"""Scores, from predictions.h5 alone: whoever has the file can check them.

Cloud mask: over all judged pixels. COT and CER: over judged pixels that are cloudy in truth, whatever the mask
says of them (the regression is judged apart from the mask); ``r2_log1p_as_masked`` takes a missed cloud as COT 0.
R2 = 1 - sum of squared errors / sum of squared deviations from the judged pixels' mean.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval import predictions_file, train_test_split

Values = NDArray[np.float64]


@dataclass
class RegressionSums:
    """Running sums of a comparison of truth and estimate."""

    count: int = 0
    truth: float = 0.0
    truth_squared: float = 0.0
    error: float = 0.0
    error_squared: float = 0.0

    def add(self, truth: Values, estimate: Values) -> None:
        """Take more pairs in."""
        error = estimate - truth
        self.count += len(truth)
        self.truth += float(truth.sum())
        self.truth_squared += float((truth * truth).sum())
        self.error += float(error.sum())
        self.error_squared += float((error * error).sum())

    @property
    def r2(self) -> float | None:
        """Coefficient of determination; None when truth does not vary."""
        spread = self.truth_squared - self.truth**2 / self.count if self.count else 0.0
        return 1.0 - self.error_squared / spread if spread > 0.0 else None

    @property
    def rmse(self) -> float | None:
        """Root mean square error; None without pairs."""
        return float(np.sqrt(self.error_squared / self.count)) if self.count else None

    @property
    def bias(self) -> float | None:
        """Mean of estimate less truth; None without pairs."""
        return self.error / self.count if self.count else None


@dataclass
class Scores:
    """Everything that is counted over judged pixels."""

    hits: int = 0
    misses: int = 0
    false_alarms: int = 0
    correct_clear: int = 0
    log_cot: RegressionSums = field(default_factory=RegressionSums)
    masked_log_cot: RegressionSums = field(default_factory=RegressionSums)
    cot: RegressionSums = field(default_factory=RegressionSums)
    cer: RegressionSums = field(default_factory=RegressionSums)

    def add(self, planes: dict[str, Any]) -> None:
        """Count some rows of a scene that knows its COT."""
        judged = (
            planes["role"] == train_test_split.TEST
            if "role" in planes
            else np.ones(planes["cloud_mask_probability"].shape, bool)
        )
        truth = planes["truth_cloud_optical_thickness"][judged].astype(np.float64)
        cloudy, called = np.isfinite(truth), planes["cloud_mask_probability"][judged] >= 0.5
        self.hits += int((cloudy & called).sum())
        self.misses += int((cloudy & ~called).sum())
        self.false_alarms += int((~cloudy & called).sum())
        self.correct_clear += int((~cloudy & ~called).sum())
        found = planes["cloud_optical_thickness"][judged].astype(np.float64)
        self.cot.add(truth[cloudy], found[cloudy])
        self.log_cot.add(np.log1p(truth[cloudy]), np.log1p(found[cloudy]))
        self.masked_log_cot.add(np.log1p(truth[cloudy]), np.log1p(np.where(called, found, 0.0)[cloudy]))
        if "truth_cloud_effective_radius" in planes:
            radius = planes["truth_cloud_effective_radius"][judged].astype(np.float64)
            known = np.isfinite(radius) & cloudy
            self.cer.add(radius[known], planes["cloud_effective_radius"][judged].astype(np.float64)[known])

    @property
    def pixels(self) -> int:
        """Judged pixels."""
        return self.hits + self.misses + self.false_alarms + self.correct_clear

    def as_dict(self) -> dict[str, Any]:
        """The scores, as metrics.json has them."""
        cloudy = self.hits + self.misses
        return {
            "judged_pixels": self.pixels,
            "cloudy_pixels": cloudy,
            "cloud_mask": {
                "accuracy": ratio_or_none(self.hits + self.correct_clear, self.pixels),
                "baseline_larger_class": ratio_or_none(max(cloudy, self.pixels - cloudy), self.pixels),
                "precision": ratio_or_none(self.hits, self.hits + self.false_alarms),
                "recall": ratio_or_none(self.hits, cloudy),
                "hits": self.hits,
                "misses": self.misses,
                "false_alarms": self.false_alarms,
                "correct_clear": self.correct_clear,
            },
            "cloud_optical_thickness": {
                "r2_log1p": self.log_cot.r2,
                "rmse_log1p": self.log_cot.rmse,
                "r2_log1p_as_masked": self.masked_log_cot.r2,
                "rmse": self.cot.rmse,
                "bias": self.cot.bias,
                "unit": "1",
            },
            "cloud_effective_radius": {
                "r2": self.cer.r2,
                "rmse": self.cer.rmse,
                "bias": self.cer.bias,
                "unit": "um",
                "pixels": self.cer.count,
            },
        }


def ratio_or_none(part: int, whole: int) -> float | None:
    """``part / whole``; None of nothing."""
    return part / whole if whole else None


def evaluate(path: Path) -> tuple[Scores, dict[str, Scores]]:
    """Scores over all scenes of a predictions file, and of each scene; scenes without truth are passed over."""
    total, each = Scores(), {}
    for name, group in predictions_file.iter_scenes(path):
        if "truth_cloud_optical_thickness" not in group:
            continue
        each[name] = Scores()
        for planes in predictions_file.iter_row_blocks(group):
            for score in (total, each[name]):
                score.add(planes)
    return total, each
