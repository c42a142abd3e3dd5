"""The content of retrieval.png: maps of one scene, and distributions over the test pixels of all scenes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from retrieval import predictions_file, train_test_split

Plane = NDArray[np.float64]

MAX_MAP_PIXELS = 600  # pixels along a side; larger scenes are subsampled
COT_RANGE, CER_RANGE = (0.5, 200.0), (4.0, 20.0)
COT_EDGES = np.geomspace(*COT_RANGE, 61)
CER_EDGES = np.linspace(*CER_RANGE, 61)
PROBABILITY_EDGES = np.linspace(0.0, 1.0, 11)
# Points on the scatters: bins of the histogram for each, and the fewest pixels that give a mean.
BINS_PER_POINT, FEWEST_PIXELS = 6, 30
# Share of the pixels that the axes of a scatter leave out on either side.
BEYOND_AXES = 0.001
# Difference of correlations; without shading it is zero but for noise.
CLEAR_ASYMMETRY = 0.02


@dataclass(frozen=True)
class Extras:
    """Planes that only boosting has: mean optical thickness, water path (g m-2), half widths of the 68% intervals."""

    mean_cot: Plane
    water_path: Plane
    log_cot_half_width: Plane
    cer_half_width: Plane


@dataclass(frozen=True)
class SceneMaps:
    """Planes of one scene; ``evaluated`` marks its test pixels."""

    name: str
    probability: Plane
    cot: Plane
    cer: Plane
    true_cot: Plane
    true_cer: Plane
    evaluated: NDArray[np.bool_]
    reflectance: Plane
    pixel_km: float
    extras: Extras | None = None

    @property
    def true_cloudy(self) -> NDArray[np.bool_]:
        """Cloudy pixels in truth."""
        return np.isfinite(self.true_cot)

    @property
    def cot_if_cloudy(self) -> Plane:
        """Retrieved optical thickness, NaN where the retrieval is clear."""
        return np.where(self.retrieved_cloudy, self.cot, np.nan)

    @property
    def cer_if_cloudy(self) -> Plane:
        """Retrieved effective radius, NaN where the retrieval is clear."""
        return np.where(self.retrieved_cloudy, self.cer, np.nan)

    @property
    def retrieved_cloudy(self) -> NDArray[np.bool_]:
        """Cloudy pixels in the retrieval."""
        return self.probability >= 0.5


@dataclass
class PixelCounts:
    """Histograms over the test pixels of all scenes; memory does not depend on the number of scenes."""

    cot: Plane = field(default_factory=lambda: np.zeros((60, 60)))
    mean_cot: Plane = field(default_factory=lambda: np.zeros((60, 60)))
    cer: Plane = field(default_factory=lambda: np.zeros((60, 60)))
    by_probability: Plane = field(default_factory=lambda: np.zeros(10))
    cloudy_by_probability: Plane = field(default_factory=lambda: np.zeros(10))

    def add(self, planes: dict[str, Any]) -> None:
        """Add some rows of a scene."""
        is_test = evaluated_mask(planes)
        cot = planes["truth_cloud_optical_thickness"][is_test]
        cloudy = np.isfinite(cot)
        probability = planes["cloud_mask_probability"][is_test]
        self.by_probability += np.histogram(probability, PROBABILITY_EDGES)[0]
        self.cloudy_by_probability += np.histogram(probability[cloudy], PROBABILITY_EDGES)[0]
        self.cot += histogram_pairs(cot[cloudy], planes["cloud_optical_thickness"][is_test][cloudy], COT_EDGES)
        if "cloud_optical_thickness_mean" in planes:
            mean = planes["cloud_optical_thickness_mean"][is_test][cloudy]
            self.mean_cot += histogram_pairs(cot[cloudy], mean, COT_EDGES)
        if "truth_cloud_effective_radius" in planes:
            cer = planes["truth_cloud_effective_radius"][is_test]
            has_cer = np.isfinite(cer)
            self.cer += histogram_pairs(cer[has_cer], planes["cloud_effective_radius"][is_test][has_cer], CER_EDGES)


def evaluated_mask(planes: dict[str, Any]) -> NDArray[np.bool_]:
    """Return True for each test pixel."""
    if "role" in planes:
        return np.asarray(planes["role"] == train_test_split.TEST)
    return np.ones(planes["cloud_mask_probability"].shape, dtype=bool)


def histogram_pairs(truth: NDArray[Any], estimate: NDArray[Any], edges: Plane) -> Plane:
    """Return counts of (truth, estimate) in bins; values outside count in the outermost bins."""
    x, y = (np.clip(values.astype(np.float64), edges[0], edges[-1]) for values in (truth, estimate))
    return np.asarray(np.histogram2d(x, y, bins=[edges, edges])[0])


def load_maps(path: Path, name: str) -> tuple[SceneMaps, PixelCounts]:
    """Return the maps of one scene, and counts over all scenes with truth."""
    counts, planes, pixel_km = PixelCounts(), {}, 0.0
    for scene_name, group in predictions_file.iter_scenes(path):
        if "truth_cloud_optical_thickness" in group:
            for part in predictions_file.iter_row_blocks(group):
                counts.add(part)
        if scene_name == name:
            # Rounded up, so that the longer side never exceeds the limit.
            step = -(-max(group["cloud_mask_probability"].shape) // MAX_MAP_PIXELS)
            planes = {key: np.asarray(group[key][::step, ::step]) for key in group}
            pixel_km = float(group.attrs["pixel_m"]) * step / 1000.0
    return build_maps(name, planes, pixel_km), counts


def build_maps(name: str, planes: dict[str, Any], pixel_km: float) -> SceneMaps:
    """Return the maps of one scene; NaN where truth is unknown."""
    unknown = np.full(planes["cloud_mask_probability"].shape, np.nan)
    return SceneMaps(
        name=name,
        probability=planes["cloud_mask_probability"],
        cot=planes["cloud_optical_thickness"],
        cer=planes["cloud_effective_radius"],
        true_cot=planes.get("truth_cloud_optical_thickness", unknown),
        true_cer=planes.get("truth_cloud_effective_radius", unknown),
        evaluated=evaluated_mask(planes),
        reflectance=planes["reflectance_066"],
        pixel_km=pixel_km,
        extras=build_extras(planes),
    )


def build_extras(planes: dict[str, Any]) -> Extras | None:
    """Return the planes that only boosting has; None without them."""
    if "liquid_water_path" not in planes:
        return None
    half_widths = (planes[f"{name}_half_width_68"] for name in ("log_optical_thickness", "effective_radius"))
    return Extras(planes["cloud_optical_thickness_mean"], planes["liquid_water_path"], *half_widths)


def sun_side(maps: SceneMaps) -> int:
    """Return -1 if the sun is on the left, 1 on the right, 0 if unknown: clouds are brighter on their sunlit side."""
    thickness = np.log1p(np.nan_to_num(maps.true_cot))
    if maps.reflectance.shape[1] < 3 or not thickness.any():
        return 0
    left, right = (
        float(np.corrcoef(thickness[:, 1:-1].ravel(), maps.reflectance[:, part].ravel())[0, 1])
        for part in (slice(None, -2), slice(2, None))
    )
    return int(np.sign(right - left)) if abs(right - left) > CLEAR_ASYMMETRY else 0


def conditional_means(counts: Plane, edges: Plane) -> tuple[Plane, Plane]:
    """Return the mean of truth and of retrieval in bins of retrieved value, six bins of the histogram each."""
    middle = (edges[:-1] + edges[1:]) / 2.0
    groups = counts.reshape(len(middle), -1, BINS_PER_POINT)
    pixels = groups.sum(axis=(0, 2))
    populated = pixels >= FEWEST_PIXELS
    truth = (groups.sum(axis=2) * middle[:, None]).sum(axis=0)
    retrieved = (groups.sum(axis=0) * middle.reshape(-1, BINS_PER_POINT)).sum(axis=1)
    return truth[populated] / pixels[populated], retrieved[populated] / pixels[populated]


def occupied_range(counts: Plane, edges: Plane) -> tuple[float, float]:
    """Return the range of the bins that hold pixels, of truth or retrieval, but for the outermost one in a thousand."""
    if not counts.any():
        return edges[0], edges[-1]
    low, high = [], []
    for axis in (0, 1):
        shares = np.cumsum(counts.sum(axis=axis)) / counts.sum()
        low.append(int(np.searchsorted(shares, BEYOND_AXES, side="right")))
        high.append(int(np.searchsorted(shares, 1.0 - BEYOND_AXES)))
    return edges[min(low)], edges[max(high) + 1]
