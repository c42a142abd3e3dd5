"""Scores of whole runs: reported with their data, plausible on synthetic granules, and free of leaked truth."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from granules import evaluation, file_names, granule_report, pipeline, tasks
from granules.forest_model import ForestSettings
from granules.pipeline import GranulesResult, Options
from simulation import synthetic_granules
from simulation.synthetic_granules import GranuleSize

from tests.support.examples.example_data import ignore_log
from tests.support.examples.granule_models import train_model


def test_a_granule_is_predicted_by_a_model_trained_without_its_pixels(
    granule_folder: Path, quick_options: Options, local_result: GranulesResult
) -> None:
    """A model trained without the truth of a fold is, bit by bit, the model that evaluates the fold."""
    pairs = file_names.find_pairs(str(granule_folder), minutes=15.0)
    matched = [tasks.match_granule(pair, quick_options.limits) for pair in pairs]
    folds = local_result.folds

    for fold in range(quick_options.folds):
        outside = [one for one, where in zip(matched, folds, strict=True) if where != fold]
        model = train_model(tasks.training_rows(outside), quick_options.forest_settings, fold)
        assert tasks.describe_model(model)[0] == local_result.model_digests[fold]

    assert folds == sorted(folds)
    assert len(local_result.model_digests) == len(set(local_result.model_digests)) == quick_options.folds


def test_metrics_describe_their_data(local_result: GranulesResult, quick_options: Options) -> None:
    found = json.loads((quick_options.out / "metrics.json").read_text())

    assert found["data"]["kind"] == "synthetic"
    assert "synthetic data" in found["headline"]
    assert found["data"]["granules"] == 4
    assert found["data"]["matched"] == sum(sum(row["columns"].values()) for row in found["per_granule"].values())
    assert set(found["scores"]) == {"phase", "cloud_mask", "calibration", "cloud_top_height"}
    assert set(found["scores"]["phase"]["classes"]) == {"clear", "water", "ice", "mixed"}
    low, high = found["scores"]["phase"]["accuracy_95"]
    assert low <= found["scores"]["phase"]["accuracy"] <= high
    assert set(found["importance"]) == {*(f"M{n:02d}" for n in range(1, 17)), "differences", "light", "land"}
    assert found["run"]["workers"] == 1


@pytest.mark.slow
def test_synthetic_granules_are_neither_hopeless_nor_trivial(tmp_path: Path) -> None:
    """On full-length granules, as wide as needed around the track, scores lie in the band stated in the report."""
    list(synthetic_granules.write_pairs(tmp_path / "data", count=8, size=GranuleSize(3232, 160, 4000), seed=1))

    result = pipeline.run(Options(data=str(tmp_path / "data"), out=tmp_path / "out", maps=0, trees=24), ignore_log)

    scores = evaluation.compute_scores(result.counts, 1)
    for part, (low, high) in granule_report.SYNTHETIC_BAND.items():
        assert low <= scores[part]["accuracy"] <= high, part
        # The interval contains the score and is no wider than plausible for eight granules.
        bounds = scores[part]["accuracy_95"]
        assert bounds[0] <= scores[part]["accuracy"] <= bounds[1]
        assert bounds[1] - bounds[0] < 0.2
    assert scores["phase"]["accuracy"] > scores["phase"]["baseline_largest_class"] + 0.2
    assert scores["calibration"]["expected_calibration_error"] < 0.1
    # The 1.38 um band exists for the detection of cirrus.
    assert "M09" in list(granule_report.importance_section(result))[:4]


def test_shuffled_truth_cannot_be_predicted(granule_folder: Path, quick_options: Options) -> None:
    """Truth does not leak into the features: with shuffled truth the forest is no better than a guess."""
    rng = np.random.default_rng(2)
    pairs = file_names.find_pairs(str(granule_folder), minutes=15.0)
    matched = [tasks.match_granule(pair, quick_options.limits) for pair in pairs]
    shuffled = []
    for one in matched:
        order = rng.permutation(len(one.rows))
        rows = dataclasses.replace(one.rows, column_class=one.rows.column_class[order], top_km=one.rows.top_km[order])
        shuffled.append(dataclasses.replace(one, rows=rows))
    model = train_model(tasks.training_rows(shuffled[:2]), ForestSettings(8, 16, 1))

    tallies = [tasks.evaluate_granule(one, model, 1)[0] for one in shuffled[2:]]

    found = evaluation.compute_scores(tallies, 1)["phase"]
    assert found["accuracy"] < found["baseline_largest_class"] + 0.1
