"""A run as a whole on one machine: blocks, held-out scenes, limits, unusable input."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import h5py
import pytest
from retrieval import pipeline, scene_report, stages
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
    sampled, limit = local_result.sampled, local_result.options.rows

    assert sampled.rows == limit
    # 3/4 of four scenes of 72 x 72 pixels, less the buffers between training and test tiles.
    assert 0.3 * 4 * 72 * 72 < sampled.rows + sampled.rows_left_out < 0.75 * 4 * 72 * 72
    assert pipeline.row_quotas(10, 4) == [3, 3, 2, 2]


def test_pixels_that_training_leaves_out_are_counted_in_the_log_and_in_the_metrics(
    local_result: RetrievalResult,
) -> None:
    line = pipeline.rows_line(local_result.sampled, local_result.options)
    data = scene_report.metrics(local_result)["data"]

    left_out = local_result.sampled.rows_left_out
    assert line.endswith(f"training pixels, {left_out:,} left out (limit 2,000, --rows changes it)")
    assert (data["training_rows_left_out"], data["training_rows_limit"]) == (left_out, 2000)
    all_rows = dataclasses.replace(local_result.sampled, rows_left_out=0)
    assert pipeline.rows_line(all_rows, local_result.options) == "training rows 2,000: all training pixels"


@pytest.mark.parametrize(
    ("options", "limit"), [({}, 200_000), ({"fast": True}, 24_000), ({"model": "trees"}, 24_000), ({"rows": 7}, 7)]
)
def test_without_rows_the_limit_is_that_of_the_model(options: dict[str, Any], limit: int) -> None:
    assert Options(data="data", out=Path("out"), **options).row_limit == limit


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
    options = dataclasses.replace(quick_options, model="trees", held_out=str(tmp_path / "new"), out=tmp_path, trees=2)

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
