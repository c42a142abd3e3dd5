"""The figure: scale bar, sun, means on the scatters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from figure import panels, scene_maps
from retrieval import scene_figure, scenes
from retrieval.pipeline import RetrievalResult


def maps_of(reflectance: Any, cot: Any) -> scene_maps.SceneMaps:
    planes = dict.fromkeys(("cloud_mask_probability", "cloud_optical_thickness", "cloud_effective_radius"), cot)
    return scene_maps.build_maps(
        "scene", planes | {"reflectance_066": reflectance, "truth_cloud_optical_thickness": cot}, 0.1
    )


@pytest.mark.parametrize("side", [-1, 1])
def test_the_sun_is_on_the_bright_side_of_clouds(side: int) -> None:
    cot = np.full((20, 20), np.nan)
    cot[5:12, 6:14] = 20.0
    reflectance = np.roll(np.nan_to_num(cot) / 40.0, side * 2, axis=1)

    assert scene_maps.sun_side(maps_of(reflectance, cot)) == side


def test_without_shading_no_side_is_the_sunlit_one() -> None:
    cot = np.full((20, 20), np.nan)
    cot[5:12, 6:14] = 20.0

    assert scene_maps.sun_side(maps_of(np.nan_to_num(cot), cot)) == 0


def test_means_on_the_scatter_are_those_of_the_pixels_in_a_bin() -> None:
    edges = np.linspace(0.0, 60.0, 61)
    counts = np.zeros((60, 60))
    counts[10, 7], counts[20, 7] = 30, 10

    truth, retrieved = scene_maps.conditional_means(counts, edges)

    assert (truth.tolist(), retrieved.tolist()) == ([13.0], [7.5])
    assert scene_maps.occupied_range(counts, edges) == (7.0, 21.0)


def test_a_few_outliers_do_not_stretch_the_axes() -> None:
    edges = np.linspace(0.0, 60.0, 61)
    counts = np.zeros((60, 60))
    counts[10:20, 10:20] = 100.0
    counts[59, 15] = 1.0

    assert scene_maps.occupied_range(counts, edges) == (10.0, 20.0)
    assert scene_maps.occupied_range(np.zeros((60, 60)), edges) == (0.0, 60.0)


def luminance(color: Any) -> float:
    return float(np.dot(color[:3], (0.2126, 0.7152, 0.0722)))


def test_scales_get_darker_so_that_they_can_be_read_in_gray() -> None:
    for name in ("YlGnBu", "YlOrBr", "Purples", "Blues"):
        grays = [luminance(color) for color in panels.light_to_dark(name)(np.linspace(0.0, 1.0, 20))]
        assert (np.diff(grays) < 0.0).all()
    low, middle, high = (luminance(panels.error_colors()(value)) for value in (0.0, 0.5, 1.0))
    assert low < high - 0.2 < middle - 0.4


@pytest.mark.parametrize(
    ("name", "resolution"), [("CER", 0.0), ("CER_(100m resolution)", 100.0), ("CER_0.5km", 500.0), ("CERES", None)]
)
def test_the_resolution_is_read_from_the_name_of_a_dataset(name: str, resolution: float | None) -> None:
    assert scenes.resolution_m(name, "CER") == resolution


def test_the_figure_is_written_as_png_and_pdf(local_result: RetrievalResult) -> None:
    scene_figure.draw_figure(local_result)

    out: Path = local_result.options.out
    assert (out / "retrieval.png").read_bytes()[:4] == b"\x89PNG"
    assert (out / "retrieval.pdf").read_bytes()[:5] == b"%PDF-"
    assert local_result.sampled.infos[0].pixel_m == 100.0
