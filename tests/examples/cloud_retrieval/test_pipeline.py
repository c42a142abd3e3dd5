"""A run as a whole on one machine: blocks, held-out scenes, limits, unusable input."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import h5py
import pytest
from retrieval import pipeline, stages
from retrieval.pipeline import Options, RetrievalResult
from retrieval.scenes import SceneError

from tests.support.examples.example_data import ignore_log, scene_hashes
from tests.support.examples.scene_files import COT, write_scene


@pytest.mark.slow
def test_other_blocks_of_rows_do_not_change_a_single_bit(
    quick_options: Options, local_result: RetrievalResult, tmp_path: Path
) -> None:
    other_blocks = pipeline.run(dataclasses.replace(quick_options, out=tmp_path, blocks=7), ignore_log)

    assert scene_hashes(other_blocks) == scene_hashes(local_result)


def test_training_rows_never_exceed_their_cap(local_result: RetrievalResult) -> None:
    assert local_result.sampled.rows <= local_result.options.rows
    assert pipeline.row_quotas(10, 4) == [3, 3, 2, 2]


def test_a_training_scene_cannot_be_held_out_as_well(scene_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "again").symlink_to(scene_folder)

    with pytest.raises(SceneError, match=r"synthetic_00001\.hdf5: is both a training scene and a held-out scene"):
        pipeline.run(
            Options(data=str(scene_folder), held_out=str(tmp_path / "again"), out=tmp_path / "out"), ignore_log
        )


def test_an_output_folder_that_cannot_be_created_is_one_line(scene_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").touch()

    with pytest.raises(SceneError, match="taken: cannot create this folder"):
        pipeline.run(Options(data=str(scene_folder), out=tmp_path / "taken"), ignore_log)


def test_a_held_out_scene_without_truth_is_retrieved_and_not_evaluated(
    quick_options: Options, scene_folder: Path, tmp_path: Path
) -> None:
    with h5py.File(scene_folder / "synthetic_00001.hdf5") as file:
        reflectance = file["Reflectance_100m_resolution"][:]
    (tmp_path / "new").mkdir()
    write_scene(tmp_path / "new" / "a.h5", reflectance, COT, Cloud_optical_thickness=None, CER=None)
    options = dataclasses.replace(quick_options, held_out=str(tmp_path / "new"), out=tmp_path, trees=2, rows=600)

    result = pipeline.run(options, ignore_log)

    with h5py.File(tmp_path / "predictions.h5") as file:
        assert set(file["a.h5"]) == {
            "cloud_mask_probability",
            "cloud_optical_thickness",
            "cloud_effective_radius",
            "reflectance_066",
            "reflectance_213",
        }
    assert result.scores.pixels == 0
    assert result.data_kind == "mixed"


def test_data_without_a_synthetic_mark_count_as_real() -> None:
    assert stages.data_kind([]) == "real"
