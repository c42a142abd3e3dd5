"""Scores: plausible on synthetic scenes, reproducible from predictions.h5, above the bars on a real scene."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from retrieval import pipeline, train_test_split
from retrieval.pipeline import Options, RetrievalResult

from tests.support.examples.example_data import ignore_log, real_file


def test_synthetic_scenes_are_neither_hopeless_nor_trivial(local_result: RetrievalResult) -> None:
    scores = local_result.scores.as_dict()

    assert 0.90 <= scores["cloud_mask"]["accuracy"] <= 0.995
    assert scores["cloud_mask"]["baseline_larger_class"] < 0.75
    assert 0.6 <= scores["cloud_optical_thickness"]["r2_log1p"] < 0.99
    assert 0.3 <= scores["cloud_effective_radius"]["r2"] < 0.99


def test_scores_can_be_reproduced_from_the_predictions_file_with_scikit_learn(local_result: RetrievalResult) -> None:
    from sklearn.metrics import accuracy_score, r2_score

    columns: dict[str, list[Any]] = {name: [] for name in ("truth", "cot", "probability")}
    with h5py.File(local_result.options.out / "predictions.h5") as file:
        for group in file.values():
            is_test = group["role"][:] == train_test_split.TEST
            columns["truth"].append(group["truth_cloud_optical_thickness"][:][is_test])
            columns["cot"].append(group["cloud_optical_thickness"][:][is_test])
            columns["probability"].append(group["cloud_mask_probability"][:][is_test])
    truth, cot, probability = (np.concatenate(column).astype(float) for column in columns.values())
    cloudy = np.isfinite(truth)

    scores = local_result.scores.as_dict()
    assert scores["cloud_mask"]["accuracy"] == accuracy_score(cloudy, probability >= 0.5)
    assert scores["cloud_optical_thickness"]["r2_log1p"] == pytest.approx(
        r2_score(np.log1p(truth[cloudy]), np.log1p(cot[cloudy])), abs=1e-9
    )


@pytest.mark.parametrize("changes", [{"fast": True}, pytest.param({"model": "trees"}, marks=pytest.mark.slow)])
def test_a_real_scene_passes_the_bars_with_tiles_held_out(tmp_path: Path, changes: dict[str, Any]) -> None:
    path = real_file("LES_profile_00579.hdf5")

    scores = pipeline.run(Options(data=str(path), out=tmp_path, fold=1, **changes), ignore_log).scores.as_dict()

    assert scores["cloud_mask"]["accuracy"] >= 0.95
    assert scores["cloud_optical_thickness"]["r2_log1p"] >= 0.80
