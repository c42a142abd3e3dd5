"""Scores computed from predictions.h5 alone, so that they can be reproduced from that file.

Cloud mask: over all test pixels. COT and CER: over test pixels that are cloudy in truth, regardless of the predicted
mask (the regression is evaluated separately from the mask); ``r2_log1p_as_masked`` counts a missed cloud as COT 0. R2 =
1 - sum of squared errors / sum of squared deviations from the mean of the test pixels.
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
    """Running sums for comparing truth and estimate."""

    count: int = 0
    truth: float = 0.0
    truth_squared: float = 0.0
    error: float = 0.0
    error_squared: float = 0.0

    def add(self, truth: Values, estimate: Values) -> None:
        """Add more pairs."""
        # Sums rather than arrays: memory does not grow with the number of scenes.
        error = estimate - truth
        self.count += len(truth)
        self.truth += float(truth.sum())
        self.truth_squared += float((truth * truth).sum())
        self.error += float(error.sum())
        self.error_squared += float((error * error).sum())

    @property
    def r2(self) -> float | None:
        """Coefficient of determination; None when truth does not vary."""
        variance_sum = self.truth_squared - self.truth**2 / self.count if self.count else 0.0
        return 1.0 - self.error_squared / variance_sum if variance_sum > 0.0 else None

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
    """Counts and sums over test pixels."""

    hits: int = 0
    misses: int = 0
    false_alarms: int = 0
    correct_clear: int = 0
    log_cot: RegressionSums = field(default_factory=RegressionSums)
    masked_log_cot: RegressionSums = field(default_factory=RegressionSums)
    cot: RegressionSums = field(default_factory=RegressionSums)
    cer: RegressionSums = field(default_factory=RegressionSums)

    def add(self, planes: dict[str, Any]) -> None:
        """Add some rows of a scene with known COT."""
        is_test = (
            planes["role"] == train_test_split.TEST
            if "role" in planes
            else np.ones(planes["cloud_mask_probability"].shape, bool)
        )
        truth = planes["truth_cloud_optical_thickness"][is_test].astype(np.float64)
        cloudy, predicted = np.isfinite(truth), planes["cloud_mask_probability"][is_test] >= 0.5
        self.hits += int((cloudy & predicted).sum())
        self.misses += int((cloudy & ~predicted).sum())
        self.false_alarms += int((~cloudy & predicted).sum())
        self.correct_clear += int((~cloudy & ~predicted).sum())
        estimate = planes["cloud_optical_thickness"][is_test].astype(np.float64)
        self.cot.add(truth[cloudy], estimate[cloudy])
        self.log_cot.add(np.log1p(truth[cloudy]), np.log1p(estimate[cloudy]))
        self.masked_log_cot.add(np.log1p(truth[cloudy]), np.log1p(np.where(predicted, estimate, 0.0)[cloudy]))
        if "truth_cloud_effective_radius" in planes:
            radius = planes["truth_cloud_effective_radius"][is_test].astype(np.float64)
            has_cer = np.isfinite(radius) & cloudy
            self.cer.add(radius[has_cer], planes["cloud_effective_radius"][is_test].astype(np.float64)[has_cer])

    @property
    def pixels(self) -> int:
        """Number of test pixels."""
        return self.hits + self.misses + self.false_alarms + self.correct_clear

    def as_dict(self) -> dict[str, Any]:
        """Return the scores in the layout of metrics.json."""
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


def ratio_or_none(part: int, total: int) -> float | None:
    """Return ``part / total``, or None if ``total`` is 0."""
    return part / total if total else None


def evaluate(path: Path) -> tuple[Scores, dict[str, Scores]]:
    """Return the scores over all scenes of a predictions file, and of each scene; scenes without truth are skipped."""
    total, per_scene = Scores(), {}
    for name, group in predictions_file.iter_scenes(path):
        if "truth_cloud_optical_thickness" not in group:
            continue
        per_scene[name] = Scores()
        for planes in predictions_file.iter_row_blocks(group):
            for score in (total, per_scene[name]):
                score.add(planes)
    return total, per_scene
