"""model.pkl: predictions of a loaded model are those of the run, bit for bit."""

from __future__ import annotations

import dataclasses
import runpy
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from retrieval import pipeline
from retrieval.pipeline import Options, RetrievalResult
from retrieval.scenes import SceneError

from tests.support.examples.example_data import CLOUD_RETRIEVAL, ignore_log

# By its path: the other job has a predict.py as well, and one process may run the tests of both.
SCRIPT = runpy.run_path(str(CLOUD_RETRIEVAL / "predict.py"))
load, predict = SCRIPT["load"], SCRIPT["predict"]
SCENE = "synthetic_00001.hdf5"


def check_equal(planes: dict[str, Any], out: Path) -> None:
    """Compare planes with those of predictions.h5."""
    with h5py.File(out / "predictions.h5") as file:
        for name, values in planes.items():
            assert values.dtype == file[SCENE][name].dtype
            assert np.array_equal(values, file[SCENE][name][:]), name


def test_a_scene_file_and_its_arrays_give_the_bits_of_the_run(
    local_result: RetrievalResult, scene_folder: Path
) -> None:
    out = local_result.options.out
    model = load(str(out))
    with h5py.File(scene_folder / SCENE) as file:
        arrays = {name: file[name][()].tolist() for name in ("SZA", "VZA", "Surface_albedo")}
        arrays["Reflectance"] = file["Reflectance_100m_resolution"][:].tolist()

    planes = predict(model, (scene_folder / SCENE).read_bytes())

    assert "cloud_mask_probability" in planes
    check_equal(planes, out)
    check_equal(predict(model, arrays), out)


@pytest.mark.slow
def test_the_forests_are_saved_as_well(quick_options: Options, tmp_path: Path) -> None:
    options = dataclasses.replace(quick_options, out=tmp_path, model="trees", fast=False, trees=4)
    pipeline.run(options, ignore_log)

    scene = (Path(options.data) / SCENE).read_bytes()
    check_equal(predict(load(str(tmp_path)), scene), tmp_path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"junk", "scene: not a readable HDF5 file"),
        ({"SZA": 30.0}, "scene: no dataset Reflectance"),
        ([1.0], "send a scene as an HDF5 file, or its arrays by name"),
        (
            {"Reflectance": [[[0.1]]], "SZA": 1, "VZA": 1, "Surface_albedo": 0},
            r"scene: Reflectance has shape \(1, 1, 1\)",
        ),
    ],
)
def test_what_is_not_a_scene_is_refused_in_one_line(local_result: RetrievalResult, data: Any, message: str) -> None:
    model = load(str(local_result.options.out))

    with pytest.raises(SceneError, match=message):
        predict(model, data)
