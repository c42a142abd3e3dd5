"""The physics and the layout of synthetic scenes."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from simulation import synthetic_scenes


def test_a_nonabsorbing_layer_over_a_white_surface_reflects_all_light() -> None:
    tau = np.geomspace(0.1, 100.0, 20)

    assert synthetic_scenes.two_stream(tau, np.full(20, 1.0 - 1e-9), 0.5, 1.0) == pytest.approx(1.0, abs=1e-3)


def test_thicker_clouds_are_brighter_and_larger_droplets_darker_where_water_absorbs() -> None:
    tau = np.geomspace(0.1, 100.0, 20)
    small, large = (synthetic_scenes.two_stream(tau, np.full(20, 1.0 - loss), 0.5, 0.05) for loss in (0.015, 0.03))

    assert (np.diff(synthetic_scenes.two_stream(tau, np.full(20, 1.0 - 1e-6), 0.5, 0.05)) > 0).all()
    assert (large < small)[tau > 1].all()


def test_a_beam_crosses_the_columns_that_are_higher_than_it_to_the_west() -> None:
    rng = np.random.default_rng(4)
    height = np.maximum(rng.normal(100.0, 300.0, (5, 20)), 0.0)
    start, crossing = np.where(height > 0.0, height, -300.0), rng.random((5, 20))

    traced = synthetic_scenes.trace_beams(start, height, crossing, 0.6)

    expected = np.zeros_like(height)
    for (row, column), low in np.ndenumerate(start):
        for columns in range(1, 100):
            west, ray = (row, (column - columns) % 20), low + columns * 100.0 / 3.0 * 0.6
            expected[row, column] += crossing[west] if 0.0 < ray < height[west] else 0.0
    assert traced == pytest.approx(expected, rel=1e-12)
    assert traced.any()


def test_a_synthetic_scene_is_marked_and_laid_out_like_a_real_one(scene_folder: Path) -> None:
    with h5py.File(scene_folder / "synthetic_00002.hdf5") as file:
        assert file.attrs["synthetic"]
        assert file["Reflectance_100m_resolution"].shape == (2, 72, 72)
        assert sorted(file) == sorted(
            [
                "CER_(100m resolution)",
                "Cloud_optical_thickness_(100m resolution)",
                "Native_Cloud_fraction_(100m)",
                "Reflectance_100m_resolution",
                "SZA",
                "Surface_albedo",
                "VZA",
            ]
        )
        cot = file["Cloud_optical_thickness_(100m resolution)"][:]
    assert np.nanmin(cot) >= synthetic_scenes.CLEAR_BELOW_COT
    assert 0.1 < np.isfinite(cot).mean() < 0.7
