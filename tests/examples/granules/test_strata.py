"""Scores by stratum, and what a run reports of 5 km layers, quality flags and files that it does not read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import granule_job
import make_granules
import numpy as np
import pytest
from columns import strata
from granules import evaluation, features, forest_model
from granules.caliop import CLEAR, CLOUDY, ICE, WATER


def column_rows(**values: list[float]) -> forest_model.ColumnRows:
    """Return rows with these features, class, optical depth and snow."""
    count = len(values["column_class"])
    table = np.zeros((count, len(features.FEATURE_NAMES)), np.float32)
    for name in ("solar_zenith", "sensor_zenith", "land"):
        table[:, features.FEATURE_NAMES.index(name)] = values[name]
    return forest_model.ColumnRows(
        table,
        np.array(values["column_class"], np.int8),
        np.full(count, np.nan, np.float32),
        np.array(values["depth"], np.float32),
        np.array(values["snow"], np.int8),
    )


def test_columns_are_divided_by_light_surface_view_and_optical_depth() -> None:
    rows = column_rows(
        column_class=[CLEAR, WATER, ICE, CLOUDY, ICE],
        solar_zenith=[30.0, 84.9, 85.0, 120.0, 60.0],
        sensor_zenith=[0.0, 19.9, 20.0, 45.0, 69.0],
        land=[0.0, 1.0, 1.0, 0.0, 0.0],
        snow=[0, 0, 1, 1, -1],
        depth=[np.nan, 0.1, 0.3, 5.0, np.nan],
    )

    members = {stratum: np.flatnonzero(mask).tolist() for stratum, mask in strata.divide(rows).items()}

    assert members == {
        ("light", "day"): [0, 1, 4],
        ("light", "night"): [2, 3],
        ("surface", "water"): [0, 4],
        ("surface", "land"): [1],
        ("surface", "snow or ice"): [2, 3],
        ("view_zenith", "0 to 20 degrees"): [0, 1],
        ("view_zenith", "20 to 40 degrees"): [2],
        ("view_zenith", "40 to 60 degrees"): [3],
        ("view_zenith", "60 to 90 degrees"): [4],
        ("optical_depth", "below 0.3"): [1],
        ("optical_depth", "0.3 to 1"): [2],
        ("optical_depth", "1 to 3"): [],
        ("optical_depth", "3 or more"): [3],
        ("optical_depth", "unknown"): [4],
        ("screening", "without thin cloud"): [0, 2, 3, 4],
    }


def test_scores_of_a_stratum() -> None:
    mask = np.array([[6, 2], [1, 3]])
    counts = evaluation.EvaluationCounts(
        np.diag([6, 2, 1, 0]), mask, np.zeros((3, 10)), 0.0, np.array([4.0, 2.0, 16.0, 0.0, 0.0])
    )

    scores = strata.stratum_scores([counts, counts], seed=1)

    assert scores["columns"] == 24
    assert scores["cloudy_columns"] == 8
    assert scores["cloud_mask_accuracy"] == pytest.approx(9 / 12)
    assert scores["cloud_found"] == pytest.approx(3 / 4)
    assert scores["false_alarms"] == pytest.approx(2 / 8)
    assert (scores["top_rmse_km"], scores["top_bias_km"]) == (2.0, 0.5)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Folder and metrics of a run over day and night granules with all that real ones have."""
    folder = tmp_path_factory.mktemp("extras")
    make = ["--granules", "4", "--lines", "320", "--pixels", "64", "--night", "--five-km", "--quality-flags"]
    assert make_granules.main(["--out", str(folder / "data"), *make]) == 0
    (folder / "data" / "notes.txt").touch()
    options = ["--folds", "2", "--trees", "4", "--maps", "1"]
    assert granule_job.main(["--data", str(folder / "data"), "--out", str(folder / "out"), *options]) == 0
    return folder, json.loads((folder / "out" / "metrics.json").read_text())


@pytest.mark.slow
def test_a_report_has_the_scores_of_each_stratum(report: tuple[Path, dict[str, Any]]) -> None:
    metrics = report[1]
    total = metrics["scores"]["cloud_mask"]

    assert set(metrics["strata"]) == {"light", "surface", "view_zenith", "optical_depth"}
    for division in ("light", "surface", "view_zenith"):
        assert sum(row["columns"] for row in metrics["strata"][division].values()) == total["columns"]
    depth = metrics["strata"]["optical_depth"]
    assert sum(row["columns"] for row in depth.values()) == total["cloudy_columns"]
    assert min(metrics["strata"]["light"][name]["columns"] for name in ("day", "night")) > 100
    without = metrics["without_thin_cloud"]["cloud_mask"]
    assert total["columns"] - without["columns"] == depth["below 0.3"]["columns"] > 0
    assert set(metrics["without_thin_cloud"]) == set(metrics["scores"])


@pytest.mark.slow
def test_a_report_states_its_truth_and_what_was_left_out(report: tuple[Path, dict[str, Any]]) -> None:
    metrics = report[1]

    truth = metrics["truth"]
    assert truth["tracks"] == truth["tracks_with_5km_product"] == 4
    assert truth["columns_by_origin"]["cloud in the 5 km product only"] > 0
    assert sum(truth["columns_by_origin"].values()) == metrics["data"]["matched"]
    assert truth["mixed"] == "multilayer: layers of water and of ice in one column"
    # In each granule one scan has a bad pointing, and one no time.
    assert metrics["quality"]["misplaced_pixels"] == 4 * 16 * 64
    assert metrics["quality"]["lines_without_time"] == 4 * 16
    assert metrics["quality"]["flagged_values"] > 0
    assert metrics["data"]["files_not_read"] == {"notes.txt": "not the name of a granule, a track or an index file"}


@pytest.mark.slow
def test_a_run_without_5_km_product_states_that_thin_cirrus_counts_as_clear(
    report: tuple[Path, dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in report[0].joinpath("data").iterdir():
        if "05kmMLay" not in path.name:
            (tmp_path / path.name).symlink_to(path)

    status = granule_job.main(
        ["--data", str(tmp_path), "--out", str(tmp_path / "out"), "--folds", "2", "--trees", "4", "--maps", "0"]
    )

    shown = capsys.readouterr().out
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert status == 0
    assert "not read: notes.txt (not the name of a granule, a track or an index file)" in shown
    assert "truth                0 of 4 tracks with 5 km layers" in shown
    assert "light: night" in shown
    assert metrics["without_thin_cloud"] is None
    assert "counts as clear" in metrics["truth"]["note"]
    # More columns are called clear than with both products.
    assert metrics["data"]["columns"]["clear"] > report[1]["data"]["columns"]["clear"]
