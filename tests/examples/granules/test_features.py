"""Features of pixels do not depend on the division of a granule, and skip missing values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from granules import features, viirs
from granules.viirs import Window


def test_features_do_not_depend_on_the_division_of_a_granule(granule: Any) -> None:
    whole = features.compute(granule, Window(0, 160, 0, 160)).reshape(160, 160, -1)
    rows = np.concatenate([features.compute(granule, Window(a, a + 32, 0, 160)) for a in range(0, 160, 32)])
    spot = features.compute(granule, Window(17, 19, 158, 160)).reshape(2, 2, -1)

    assert np.array_equal(whole.reshape(-1, whole.shape[2]), rows, equal_nan=True)
    assert np.array_equal(whole[17:19, 158:160], spot, equal_nan=True)


def test_neighborhood_statistics_skip_missing_pixels() -> None:
    plane = np.array([[1.0, 2.0, 3.0], [np.nan, 5.0, 6.0], [7.0, np.nan, np.nan]], np.float32)

    centre, mean, spread = features.neighborhood_statistics(plane)

    assert centre[0, 0] == 5.0
    assert mean[0, 0] == pytest.approx(np.nanmean(plane), abs=1e-6)
    assert spread[0, 0] == pytest.approx(np.nanstd(plane), abs=1e-6)


def test_reflectance_is_divided_by_the_solar_cosine_and_nan_near_the_horizon() -> None:
    suns = np.array([[0.0, 60.0, 84.9, 85.1, 95.0]], np.float32)
    geometry = viirs.Geometry({"solar_zenith": suns}, suns)

    values = features.sunlit_reflectance(np.full((1, 5), 0.2, np.float32), geometry)[0]

    assert values[:2] == pytest.approx([0.2, 0.4])
    assert np.isfinite(values).tolist() == [True, True, True, False, False]
