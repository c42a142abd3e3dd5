"""Columns by light, surface, view zenith angle and optical depth, and their scores.

Day and night are divided where the reflectances end (a solar zenith angle of 85 degrees). Snow and ice are those of the
lidar product (NSIDC and NOAA analyses); land and water are those of the geolocation file. Optical depth is that of the
lidar's 5 km product; it divides cloudy columns, so that the accuracy of the mask there is the share that is found.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from granules import evaluation, features, forest_model
from granules.caliop import CLEAR, CLOUDY
from granules.evaluation import EvaluationCounts
from granules.forest_model import CloudModel, ColumnRows, Prediction
from numpy.typing import NDArray

Stratum = tuple[str, str]
Mask = NDArray[np.bool_]
THIN = 0.3
VIEW_EDGES = (0.0, 20.0, 40.0, 60.0, 90.0)
DEPTH_EDGES = (0.0, THIN, 1.0, 3.0, np.inf)
# All columns except those whose clouds are thinner than 0.3 in total.
WITHOUT_THIN: Stratum = ("screening", "without thin cloud")


def divide(rows: ColumnRows) -> dict[Stratum, Mask]:
    """Return the columns of each stratum."""
    is_day = feature(rows, "solar_zenith") < features.MAX_SOLAR_ZENITH
    snow, land = rows.snow == 1, feature(rows, "land") > 0.5
    view, cloudy, depth = feature(rows, "sensor_zenith"), rows.column_class > CLEAR, rows.optical_depth
    strata = {("light", "day"): is_day, ("light", "night"): ~is_day}
    strata |= {
        ("surface", "water"): ~land & ~snow,
        ("surface", "land"): land & ~snow,
        ("surface", "snow or ice"): snow,
    }
    for low, high in pairwise(VIEW_EDGES):
        strata["view_zenith", f"{low:g} to {high:g} degrees"] = (view >= low) & (view < high)
    for low, high in pairwise(DEPTH_EDGES):
        name = f"below {high:g}" if not low else f"{low:g} to {high:g}" if np.isfinite(high) else f"{low:g} or more"
        strata["optical_depth", name] = cloudy & (depth >= low) & (depth < high)
    strata["optical_depth", "unknown"] = cloudy & np.isnan(depth)
    return strata | {WITHOUT_THIN: ~(cloudy & (depth < THIN))}


def feature(rows: ColumnRows, name: str) -> NDArray[np.float32]:
    """Return one feature of all columns."""
    return rows.features[:, features.FEATURE_NAMES.index(name)]


def count_strata(rows: ColumnRows, model: CloudModel) -> dict[Stratum, EvaluationCounts]:
    """Return the counts of each stratum of a granule for a model trained without it."""
    judged = rows.select(rows.column_class <= CLOUDY)
    if not len(judged):
        return dict.fromkeys(divide(judged), evaluation.no_counts())
    prediction = forest_model.predict(model, judged.features)
    return {
        stratum: evaluation.count_predictions(judged.select(mask), select(prediction, mask))
        for stratum, mask in divide(judged).items()
    }


def select(prediction: Prediction, mask: Mask) -> Prediction:
    """Return the predictions of some columns."""
    return Prediction(prediction.probabilities[mask], prediction.top_km[mask])


def strata_scores(counts: Sequence[dict[Stratum, EvaluationCounts]], seed: int) -> dict[str, dict[str, Any]]:
    """Return the scores of each stratum over all granules, by division, in the layout of metrics.json."""
    sections: dict[str, dict[str, Any]] = {}
    for division, name in counts[0]:
        if (division, name) != WITHOUT_THIN:
            section = sections.setdefault(division, {})
            section[name] = stratum_scores([granule[division, name] for granule in counts], seed)
    return sections


def stratum_scores(counts: Sequence[EvaluationCounts], seed: int) -> dict[str, Any]:
    """Return the scores of one stratum.

    ``cloud_found``: share of cloudy columns predicted as cloudy; ``false_alarms``: of clear ones.
    """
    scores = evaluation.compute_scores(counts, seed)
    mask = np.sum([granule.mask for granule in counts], axis=0)
    return {
        "columns": scores["cloud_mask"]["columns"],
        "cloudy_columns": scores["cloud_mask"]["cloudy_columns"],
        "phase_accuracy": scores["phase"]["accuracy"],
        "phase_accuracy_95": scores["phase"]["accuracy_95"],
        "cloud_mask_accuracy": scores["cloud_mask"]["accuracy"],
        "cloud_mask_accuracy_95": scores["cloud_mask"]["accuracy_95"],
        "cloud_found": scores["cloud_mask"]["recall"],
        "false_alarms": evaluation.ratio_or_none(mask[0, 1], mask[0].sum()),
        "top_rmse_km": scores["cloud_top_height"]["rmse"],
        "top_bias_km": scores["cloud_top_height"]["bias"],
    }
