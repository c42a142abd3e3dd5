"""The section ``assessment`` of metrics.json, from predictions.h5 alone.

Tiles for the bootstrap are eighths of a scene's sides. Bins of *true* optical thickness and radius show what happens to
thin, thick, small and large; their bias includes regression to the mean, which no retrieval with uncertainty avoids.
Bins of *retrieved* values show if a retrieved value can be taken at its word.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from retrieval import predictions_file
from retrieval.predictions_file import LWP_G_M2, PIXEL_ALONE
from retrieval.train_test_split import TEST, TRAIN

from assessment import bispectral, bootstrap, pair_sums

Values = NDArray[np.float64]
Pixels = dict[str, NDArray[Any]]

SIDES = 8
COT_EDGES = (0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, np.inf)
CER_EDGES = (0.0, 6.0, 7.0, 8.0, 9.0, 10.0, 12.0, np.inf)
MEAN = "cloud_optical_thickness_mean"
ALONE_MASK, *ALONE_CLOUD = PIXEL_ALONE
# Planes of COT and CER of the retrievals beside ours.
BASELINES = {"bispectral": ("bispectral_cot", "bispectral_cer"), "pixel_alone": tuple(ALONE_CLOUD)}
PROBABILITY_BINS = 10
# Sums by tile of the mask: pixels, correct ones; with a baseline also those that it has correct.
MASK_COLUMNS = 2


@dataclass
class Tally:
    """Sums by bin of truth and estimate, sums by tile, and counts."""

    bins: dict[str, Values] = field(default_factory=dict)
    tiles: dict[str, list[Values]] = field(default_factory=lambda: defaultdict(list))
    inside: dict[str, Values] = field(default_factory=lambda: defaultdict(lambda: np.zeros(2)))
    probability: Values = field(default_factory=lambda: np.zeros((PROBABILITY_BINS, 3)))
    detected: Values = field(default_factory=lambda: np.zeros((len(COT_EDGES) - 1, 2)))
    outside_range: int = 0

    def add_bins(self, name: str, by: Values, edges: tuple[float, ...], truth: Values, estimate: Values) -> None:
        """Add pairs to the bins of ``by``."""
        sums = pair_sums.pair_sums(pair_sums.bin_index(by, edges), len(edges) - 1, truth, estimate)
        self.bins[name] = self.bins.get(name, 0.0) + sums

    def add_inside(self, name: str, error: Values, half_width: Values) -> None:
        """Count the pixels whose truth lies in an interval."""
        self.inside[name] += np.array([(np.abs(error) <= half_width).sum(), len(error)])


def assess(path: Path) -> dict[str, Any]:
    """Return the assessment of the test pixels of all scenes with known COT and CER; empty without any."""
    tally = Tally()
    for _, group in predictions_file.iter_scenes(path):
        if {"truth_cloud_optical_thickness", "truth_cloud_effective_radius"} <= set(group):
            add_scene(tally, {name: dataset[:] for name, dataset in group.items()}, geometry(group))
    return report(tally) if tally.bins else {}


def geometry(group: Any) -> tuple[float, float, float]:
    """Return solar and viewing zenith angle (degrees) and surface albedo of a scene."""
    sza, vza, albedo = (float(group.attrs[name]) for name in ("SZA", "VZA", "Surface_albedo"))
    return sza, vza, albedo


def add_scene(tally: Tally, planes: Pixels, angles: tuple[float, float, float]) -> None:
    """Add the test pixels of one scene."""
    shape = planes["cloud_mask_probability"].shape
    role = planes.get("role", np.full(shape, TEST))
    rows, columns = np.indices(shape)
    planes["tile"] = rows * SIDES // shape[0] * SIDES + columns * SIDES // shape[1]
    cot, cer = planes["truth_cloud_optical_thickness"], planes["truth_cloud_effective_radius"]
    known = np.isfinite(cot) & np.isfinite(cer)
    if "reflectance_066" in planes and (known & (role == TEST)).any():
        add_bispectral(planes, known & (role == TRAIN), known & (role == TEST), angles)
    test = {name: plane[role == TEST].astype(np.float64) for name, plane in planes.items()}
    cloudy = {name: plane[known & (role == TEST)].astype(np.float64) for name, plane in planes.items()}
    if len(test["tile"]):
        add_mask(tally, test)
    if len(cloudy["tile"]):
        add_clouds(tally, cloudy)


def add_bispectral(
    planes: Pixels, training: NDArray[np.bool_], test: NDArray[np.bool_], angles: tuple[float, float, float]
) -> None:
    """Add the look-up retrieval of the test pixels; gains of both bands come from the training pixels.

    The gain stands for the gases above and in the clouds, which the table does not have.
    """
    bands = np.stack([planes["reflectance_066"], planes["reflectance_213"]], axis=-1).astype(np.float64)
    truth = [planes[f"truth_cloud_{name}"] for name in ("optical_thickness", "effective_radius")]
    gain = bispectral.fit_gain(bands[training], truth[0][training], truth[1][training], angles)
    cot, cer = bispectral.retrieve(bands[test] / gain, angles)
    for name, values in (("bispectral_cot", cot), ("bispectral_cer", cer)):
        planes[name] = np.full(test.shape, np.nan)
        planes[name][test] = values


def add_mask(tally: Tally, test: Pixels) -> None:
    """Add calibration of the cloud mask, correct pixels by tile, and pixels outside the training range."""
    probability = test["cloud_mask_probability"]
    cloudy = np.isfinite(test["truth_cloud_optical_thickness"])
    index = np.minimum((probability * PROBABILITY_BINS).astype(int), PROBABILITY_BINS - 1)
    for column, weight in enumerate((np.ones(len(index)), probability, cloudy)):
        tally.probability[:, column] += np.bincount(index, weights=weight, minlength=PROBABILITY_BINS)
    tile = test["tile"].astype(int)
    correct = ((probability >= 0.5) == cloudy).astype(np.float64)
    weights = [np.ones(len(tile)), correct]
    if ALONE_MASK in test:
        weights.append(((test[ALONE_MASK] >= 0.5) == cloudy).astype(np.float64))
    tally.tiles["mask"].append(
        np.column_stack([np.bincount(tile, weight, minlength=SIDES * SIDES) for weight in weights])
    )
    add_detection(tally, test, probability >= 0.5)
    tally.outside_range += int(test.get("outside_training_range", np.zeros(1)).sum())


def add_detection(tally: Tally, test: Pixels, detected: NDArray[np.bool_]) -> None:
    """Count clouds, and those of them that were detected, by bin of true optical thickness."""
    cot = test["truth_cloud_optical_thickness"]
    cloudy = np.isfinite(cot)
    index = pair_sums.bin_index(cot[cloudy], COT_EDGES)
    weights = (np.ones(len(index)), detected[cloudy].astype(np.float64))
    tally.detected += np.column_stack([np.bincount(index, weight, minlength=len(COT_EDGES) - 1) for weight in weights])


def add_clouds(tally: Tally, cloudy: Pixels) -> None:
    """Add everything that is measured on truly cloudy pixels."""
    cot, cer = cloudy["truth_cloud_optical_thickness"], cloudy["truth_cloud_effective_radius"]
    estimates = {"median": cloudy["cloud_optical_thickness"]}
    if MEAN in cloudy:
        estimates["mean"] = cloudy[MEAN]
        water = LWP_G_M2 * cot * cer
        tally.add_bins("lwp/true_cot", cot, COT_EDGES, water, cloudy["liquid_water_path"])
    for name, estimate in estimates.items():
        tally.add_bins(f"cot_{name}/true_cot", cot, COT_EDGES, cot, estimate)
        tally.add_bins(f"cot_{name}/retrieved_cot", estimate, COT_EDGES, cot, estimate)
    radius = cloudy["cloud_effective_radius"]
    tally.add_bins("cer/true_cer", cer, CER_EDGES, cer, radius)
    tally.add_bins("cer/retrieved_cer", radius, CER_EDGES, cer, radius)
    tally.add_bins("cer/true_cot", cot, COT_EDGES, cer, radius)
    tally.add_bins("cer/retrieved_cot", cloudy["cloud_optical_thickness"], COT_EDGES, cer, radius)
    pairs = {"log_cot": (np.log1p(cot), np.log1p(cloudy["cloud_optical_thickness"])), "cer": (cer, radius)}
    for baseline, (cot_plane, cer_plane) in BASELINES.items():
        if cot_plane in cloudy:
            pairs[f"{baseline}_log_cot"] = (np.log1p(cot), np.log1p(cloudy[cot_plane]))
            pairs[f"{baseline}_cer"] = (cer, cloudy[cer_plane])
    tile = cloudy["tile"].astype(int)
    for name, (truth, estimate) in pairs.items():
        tally.tiles[name].append(pair_sums.pair_sums(tile, SIDES * SIDES, truth, estimate))
    add_coverage(tally, cloudy, pairs)


def add_coverage(tally: Tally, cloudy: Pixels, pairs: dict[str, tuple[Values, Values]]) -> None:
    """Count the pixels whose truth lies in the intervals."""
    for name, stem in (("log_cot", "log_optical_thickness"), ("cer", "effective_radius")):
        for level in ("68", "95"):
            if (plane := f"{stem}_half_width_{level}") in cloudy:
                truth, estimate = pairs[name]
                tally.add_inside(f"{name}/{level}", estimate - truth, cloudy[plane])


def report(tally: Tally) -> dict[str, Any]:
    """Return the assessment in the layout of metrics.json."""
    strata: dict[str, dict[str, Any]] = defaultdict(dict)
    for name, sums in tally.bins.items():
        variable, by = name.split("/")
        strata[variable] |= {} if "overall" in strata[variable] else {"overall": pair_sums.overall(sums)}
        edges = CER_EDGES if by.endswith("cer") else COT_EDGES
        strata[variable][f"by_{by}"] = pair_sums.binned(sums, edges)
    pixels, probability, cloudy = tally.probability.T
    return {
        "mask_calibration_error": float(np.abs(probability - cloudy).sum() / pixels.sum()),
        "outside_training_range": tally.outside_range,
        "coverage": {name: float(inside / count) for name, (inside, count) in tally.inside.items()},
        "intervals_95": score_intervals(tally),
        "strata": dict(strata),
        "detected_by_true_cot": detection(tally.detected),
    } | {name: baseline_scores(tally, name) for name in BASELINES if f"{name}_cer" in tally.tiles}


def detection(sums: Values) -> list[dict[str, Any]]:
    """Return edges, cloudy pixels and the share of them that was detected, of each bin of true optical thickness."""
    return [
        {"from": low, "to": high if np.isfinite(high) else None, "pixels": int(count)}
        | {"detected": float(detected / count) if count else None}
        for low, high, (count, detected) in zip(COT_EDGES[:-1], COT_EDGES[1:], sums, strict=True)
    ]


def baseline_scores(tally: Tally, name: str) -> dict[str, Any]:
    """Return the scores of a retrieval beside ours."""
    scores: dict[str, Any] = {
        part: pair_sums.overall(np.concatenate(tally.tiles[f"{name}_{part}"])) for part in ("log_cot", "cer")
    }
    mask = np.concatenate(tally.tiles["mask"]).sum(axis=0)
    has_mask = name == "pixel_alone" and len(mask) > MASK_COLUMNS
    return scores | ({"mask_accuracy": float(mask[2] / mask[0])} if has_mask else {})


def score_intervals(tally: Tally) -> dict[str, Any]:
    """Return intervals of the scores, and of their paired differences from the retrievals beside ours."""
    tables = {name: np.concatenate(parts) for name, parts in tally.tiles.items() if name != "mask"}
    mask = np.concatenate(tally.tiles["mask"])
    tested, cloudy = mask[mask[:, 0] > 0], tables["log_cot"][:, 0] > 0
    if min(len(tested), int(cloudy.sum())) < bootstrap.FEWEST_TILES:
        return {}
    drawn = bootstrap.tile_draws(len(tested)) @ tested
    draws = bootstrap.tile_draws(int(cloudy.sum()))
    scores = {name: pair_sums.r2(draws @ table[cloudy]) for name, table in tables.items()}
    named = {"mask_accuracy": drawn[:, 1] / drawn[:, 0], "r2_log_cot": scores["log_cot"], "r2_cer": scores["cer"]}
    if drawn.shape[1] > MASK_COLUMNS:
        named["mask_accuracy_less_pixel_alone"] = (drawn[:, 1] - drawn[:, 2]) / drawn[:, 0]
    for baseline in BASELINES:
        for name in ("log_cot", "cer"):
            if f"{baseline}_{name}" in scores:
                named[f"r2_{name}_less_{baseline}"] = scores[name] - scores[f"{baseline}_{name}"]
    return bootstrap.intervals(named)
