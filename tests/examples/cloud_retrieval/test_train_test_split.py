"""Training and test pixels share no reflectance, and four folds test every pixel once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from retrieval import features, train_test_split
from retrieval.features import Footprint


@pytest.mark.parametrize("shape", [(72, 72), (37, 53), (144, 60)])
@pytest.mark.parametrize("neighbourhood", [1, 3, 5])
def test_no_reflectance_is_used_by_both_a_training_and_a_test_pixel(shape: tuple[int, int], neighbourhood: int) -> None:
    footprint = Footprint(neighbourhood)
    roles = train_test_split.pixel_roles(shape, 0, shape[0], fold=1, buffer=2 * footprint.halo)

    by_training = used_reflectances(roles == train_test_split.TRAIN, footprint)
    by_test = used_reflectances(roles == train_test_split.TEST, footprint)

    assert by_training.any()
    assert by_test.any()
    assert not (by_training & by_test).any()


def test_features_use_the_full_halo() -> None:
    bands = np.random.default_rng(5).random((2, 15, 15))
    far = bands.copy()
    far[:, 7, 7 + Footprint(3).halo] += 1.0

    before, after = (whole_features(planes, Footprint(3)).reshape(15, 15, -1)[7, 7] for planes in (bands, far))

    assert (before != after).any()


def test_four_folds_test_every_pixel_once() -> None:
    folds = [
        train_test_split.pixel_roles((50, 71), 0, 50, fold=fold, buffer=4) == train_test_split.TEST for fold in range(4)
    ]

    assert (np.sum(folds, axis=0) == 1).all()


def test_roles_of_some_rows_are_those_rows_of_the_whole() -> None:
    whole = train_test_split.pixel_roles((50, 71), 0, 50, fold=2, buffer=4)

    assert (
        np.concatenate([train_test_split.pixel_roles((50, 71), a, a + 10, fold=2, buffer=4) for a in range(0, 50, 10)])
        == whole
    ).all()


def used_reflectances(pixels: Any, footprint: Footprint) -> Any:
    """Return the pixels used by features of ``pixels``; disturbing all others must not change them."""
    reach = train_test_split.dilate(np.pad(pixels, ((footprint.halo, footprint.halo), (0, 0))), footprint.halo)
    bands = np.random.default_rng(5).random((2, *pixels.shape))
    disturbed = np.where(reach, bands, 9.0)
    before, after = (whole_features(planes, footprint)[pixels.ravel()] for planes in (bands, disturbed))
    assert (before == after).all()
    return reach


def whole_features(bands: Any, footprint: Footprint) -> Any:
    """Return features of all pixels of a plane, mirrored at its edges."""
    halo = footprint.halo
    return features.compute(np.pad(bands, ((0, 0), (halo, halo), (0, 0)), mode="reflect"), (60.0, 0.0, 0.05), footprint)
