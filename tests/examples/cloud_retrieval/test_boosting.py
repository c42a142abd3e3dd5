"""Boosting: tiles left out of members, the context of the second stage, and the runs of both stages."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from boosting import context, members
from boosting.members import BoostingSettings, BoostingTable, Member, MemberSpec, Stage
from retrieval import features, pipeline, train_test_split
from retrieval.features import Footprint
from retrieval.pipeline import Options, RetrievalResult

from tests.support.examples.example_data import CLOUD_RETRIEVAL, ignore_log, real_file, scene_hashes


class ConstantEstimator:
    """An estimator whose prediction is a constant."""

    def __init__(self, value: float) -> None:
        self.value = value

    def predict(self, rows: Any) -> Any:
        """Return the constant for each row."""
        return np.full(len(rows), self.value)

    def predict_proba(self, rows: Any) -> Any:
        """Return the constant as the probability of the second class."""
        return np.column_stack([1.0 - self.predict(rows), self.predict(rows)])


def constant_stage(values: dict[int, float]) -> Stage:
    """A stage with one member per target for each group."""
    return Stage(
        tuple(
            Member(MemberSpec(target, 0, group, 1), ConstantEstimator(value))
            for target in members.TARGETS
            for group, value in values.items()
        )
    )


def small_table(groups: list[int], cot: list[float]) -> BoostingTable:
    values = np.array(cot)
    return BoostingTable(
        np.zeros((len(cot), 2), np.float32), values, np.where(np.isfinite(values), 9.0, np.nan), np.array(groups, "i1")
    )


def test_a_member_leaves_out_the_rows_of_its_tile_group() -> None:
    table = small_table([1, 1, 2, 2, 3, 3], [np.nan, 5.0, np.nan, 7.0, np.nan, 9.0])

    assert list(table.rows(MemberSpec("mask", 0, 2, 1))) == [0, 1, 4, 5]
    assert list(table.rows(MemberSpec("cot", 0, 2, 1))) == [1, 5]


def test_a_group_that_holds_the_only_clouds_stays_in_training() -> None:
    table = small_table([1, 1, 2, 2], [np.nan, np.nan, np.nan, 7.0])

    assert list(table.rows(MemberSpec("mask", 0, 2, 1))) == [0, 1, 2, 3]
    assert list(table.rows(MemberSpec("cot", 0, 2, 1))) == [3]


def test_training_rows_are_predicted_by_members_that_have_not_seen_their_tiles() -> None:
    table = small_table([3, 1, 2, 1], [np.nan, 5.0, 6.0, 7.0])

    stage = constant_stage({1: 0.1, 2: 0.2, 3: 0.3})
    parts = {group: members.held_out_predictions(stage, table, group) for group in (1, 2, 3)}
    predictions = members.merge_held_out(table, parts)

    assert predictions[:, 0].tolist() == [0.3, 0.1, 0.2, 0.1]


def test_other_pixels_are_predicted_by_all_members() -> None:
    assert constant_stage({1: 0.1, 2: 0.3}).predict(np.zeros((1, 2), np.float32)) == pytest.approx(0.2)


def test_seeds_of_members_differ_and_do_not_depend_on_their_number() -> None:
    few, many = (BoostingSettings(2, (1, count), 7).specs(1, range(1, 4)) for count in (2, 3))

    assert len({spec.seed for spec in many}) == len(many) == 27
    assert set(few) < set(many)


def test_tile_groups_are_the_roles_of_the_folds() -> None:
    shape, fold, index = (50, 71), 2, 5
    roles = train_test_split.pixel_roles(shape, 0, 50, fold=fold + index, buffer=0)

    groups = train_test_split.pixel_groups(shape, np.arange(50 * 71), fold + index)

    assert ((groups == 0) == (roles == train_test_split.TEST).ravel()).all()


@pytest.mark.parametrize(("first", "last"), [(0, 6), (2, 4), (4, 6)])
def test_context_is_the_square_around_a_pixel_mirrored_at_the_edges(first: int, last: int) -> None:
    maps = np.random.default_rng(1).random((3, 6, 7)).astype(np.float32)
    low = max(first - 1, 0)
    rows = np.array([1, *range(6), 4])[first : last + 2] - low

    around = context.surround(maps[:, low : min(last + 1, 6)], rows, 1)

    padded = np.pad(maps, ((0, 0), (1, 1), (1, 1)), mode="reflect")
    for pixel, values in enumerate(around):
        row, column = first + pixel // 7, pixel % 7
        assert (values == padded[:, row : row + 3, column : column + 3].ravel()).all()


def test_maps_are_computed_where_the_context_of_a_pixel_needs_them() -> None:
    wanted = np.zeros((4, 5), bool)
    wanted[0, 0] = wanted[3, 2] = True

    needed = context.needed_pixels(wanted, np.array([1, 0, 1, 2, 3, 2]), 4, 1)

    assert needed.astype(int).tolist() == [[1, 1, 0, 0, 0], [1, 1, 0, 0, 0], [0, 1, 1, 1, 0], [0, 1, 1, 1, 0]]


def test_contrast_is_positive_on_a_bright_pixel_and_counts_towards_the_halo() -> None:
    footprint = Footprint(3, contrast=True)
    bands = np.full((2, 11, 11), 0.1)
    bands[:, 5, 5] = 0.5
    padded = np.pad(bands, ((0, 0), (5, 5), (0, 0)), mode="reflect")

    table = features.compute(padded, (60.0, 0.0, 0.05), footprint)

    assert (footprint.halo, Footprint(3, contrast=True, context=1).reach) == (5, 6)
    assert table.shape == (121, footprint.count)
    assert (table[60, 43:65] > 0.0).all()


def test_mean_water_path_and_intervals_are_in_the_predictions_file(local_result: RetrievalResult) -> None:
    with h5py.File(local_result.options.out / "predictions.h5") as file:
        group = next(iter(file.values()))
        planes = {name: group[name][:] for name in group}
        units = {name: group[name].attrs["units"] for name in group}

    water = 2.0 / 3.0 * planes["cloud_optical_thickness_mean"] * planes["cloud_effective_radius"]
    assert planes["liquid_water_path"] == pytest.approx(water, rel=1e-5)
    assert units["liquid_water_path"] == "g m-2"
    for name in ("log_optical_thickness", "effective_radius"):
        assert (planes[f"{name}_half_width_68"] > 0).all()
        assert (planes[f"{name}_half_width_68"] < planes[f"{name}_half_width_95"]).all()
    assert 0.0 <= planes["outside_training_range"].mean() < 0.1


WARNS = """
import logging, warnings
from boosting import tasks
logging.getLogger("py.warnings").addHandler(logging.StreamHandler())
with tasks.limit_threads(), warnings.catch_warnings():
    warnings.resetwarnings()
    warnings.warn("`sklearn.utils.parallel.delayed` should be used with `sklearn.utils.parallel.Parallel` to ...")
    warnings.warn("something else")
"""


def test_the_warning_of_binning_in_threads_is_dropped_and_others_are_not() -> None:
    process = subprocess.run([sys.executable, "-c", WARNS], cwd=CLOUD_RETRIEVAL, capture_output=True, text=True)

    assert process.returncode == 0
    assert "something else" in process.stderr
    assert "sklearn.utils" not in process.stderr


@pytest.mark.slow
def test_two_stages_do_not_depend_on_blocks_and_work_with_held_out_scenes(scene_folder: Path, tmp_path: Path) -> None:
    for folder, numbers in (("seen", "123"), ("new", "4")):
        (tmp_path / folder).mkdir()
        for number in numbers:
            name = f"synthetic_0000{number}.hdf5"
            (tmp_path / folder / name).symlink_to(scene_folder / name)
    options = Options(
        data=str(tmp_path / "seen"),
        held_out=str(tmp_path / "new"),
        out=tmp_path / "one",
        rows=1500,
    )

    runs = [
        pipeline.run(dataclasses.replace(options, out=tmp_path / str(blocks), blocks=blocks), ignore_log)
        for blocks in (1, 5)
    ]

    assert scene_hashes(runs[0]) == scene_hashes(runs[1])
    assert runs[0].scores.as_dict()["cloud_mask"]["accuracy"] > 0.9


@pytest.mark.slow
def test_two_stages_pass_the_bars_on_a_real_scene(tmp_path: Path) -> None:
    path = real_file("LES_profile_00579.hdf5")

    scores = pipeline.run(Options(data=str(path), out=tmp_path, fold=1), ignore_log).scores.as_dict()

    assert scores["cloud_mask"]["accuracy"] >= 0.97
    assert scores["cloud_optical_thickness"]["r2_log1p"] >= 0.87
    assert scores["cloud_effective_radius"]["r2"] >= 0.60
