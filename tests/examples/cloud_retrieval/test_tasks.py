"""Tasks: memory of the sample, and scenes that cannot be used."""

from __future__ import annotations

import dataclasses
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from retrieval import features, scenes, tasks
from retrieval.features import Footprint
from retrieval.scenes import SceneError
from retrieval.tasks import SceneRef, SceneSplit

from tests.support.examples.scene_files import COT, GOOD, HOLE, write_scene

SPLIT = SceneSplit(Footprint(3), blocks=0, fold=0, buffer=4)


def test_sampling_a_tall_scene_holds_one_block_and_the_rows_drawn_in_memory(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    rows, columns, quota = 3000, 64, 500
    write_scene(
        tmp_path / "tall.h5", rng.random((2, rows, columns)), np.where(rng.random((rows, columns)) < 0.5, 5.0, np.nan)
    )
    whole = rows * columns * Footprint(3).count * 4
    ref = SceneRef(str(tmp_path), "tall.h5", 0)

    tracemalloc.start()
    sample = tasks.draw_sample(ref, dataclasses.replace(SPLIT, blocks=100), 1, quota)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert len(sample.cot) == quota
    assert peak < whole / 10


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"Reflectance": None}, "no dataset Reflectance"),
        ({"CER": None}, "no dataset CER"),
        ({"SZA": None}, "no dataset SZA"),
        ({"Reflectance": GOOD[0]}, "Reflectance has shape (20, 20), not (2, rows, columns)"),
        ({"CER": COT[:10]}, "CER has shape (10, 20), Reflectance (2, 20, 20)"),
        ({"Reflectance": HOLE}, "Reflectance is not finite at 1 pixels, first at band 1, row 1, column 7"),
        ({"Reflectance": GOOD * 100}, "Reflectance ranges from 30 to 30, expected 0 to about 2"),
        ({"SZA": [60.0, 61.0]}, "SZA is not one finite number"),
        ({"Surface_albedo": "dark"}, "Surface_albedo holds object, not numbers"),
    ],
)
def test_an_unusable_scene_is_one_line_with_file_and_problem(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path = tmp_path / "odd.h5"
    write_scene(path, GOOD, COT, **changes)

    with pytest.raises(SceneError) as caught:
        tasks.draw_sample(SceneRef(str(tmp_path), "odd.h5", 0), SPLIT, 1, 100)

    assert str(caught.value).startswith(f"{path}: {message}")
    assert "\n" not in str(caught.value)


def test_features_of_some_pixels_are_those_of_the_whole_block() -> None:
    bands, footprint = np.random.default_rng(1).random((2, 24, 15)), Footprint(3, contrast=True)
    pixels = np.array([0, 7, 8, 200])

    some, every = (features.compute(bands, (60.0, 0.0, 0.05), footprint, part) for part in (pixels, slice(None)))

    assert (some == every[pixels]).all()
    assert len(every) == 14 * 15


def test_a_scene_too_small_for_test_tiles_is_refused(tmp_path: Path) -> None:
    write_scene(tmp_path / "small.h5", GOOD[:, :8, :8], COT[:8, :8])

    with pytest.raises(SceneError, match="no training pixel is left"):
        tasks.draw_sample(SceneRef(str(tmp_path), "small.h5", 0), SPLIT, 1, 100)


@pytest.mark.parametrize(("shape", "blocks"), [((20, 20), 1), ((144, 144), 4), ((3200, 3200), 157), ((8, 262_144), 32)])
def test_a_small_scene_has_several_blocks_for_predictions(shape: tuple[int, int], blocks: int) -> None:
    assert scenes.prediction_blocks(shape) == blocks


def test_dataset_names_may_carry_a_resolution_and_the_finest_is_used(tmp_path: Path) -> None:
    renamed = {
        "Reflectance": None,
        "Reflectance_100m_resolution": GOOD,
        "Reflectance_0.5km_resolution": GOOD[:, :4, :4],
    }
    write_scene(tmp_path / "scene.h5", GOOD, COT, **renamed)

    with scenes.open_scene(tmp_path / "scene.h5", label="scene") as scene:
        assert scene.shape == (20, 20)
