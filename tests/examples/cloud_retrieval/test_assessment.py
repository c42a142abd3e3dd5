"""Assessment: physics of the look-up table against published values, bins, intervals, and the section as a whole."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from assessment import bispectral, bootstrap, mie, pair_sums, plane_parallel, quality
from retrieval import predictions_file, scene_report, train_test_split
from retrieval.pipeline import RetrievalResult


def test_efficiencies_are_those_of_the_published_example() -> None:
    # Bohren and Huffman 1983, appendix A: radius 0.525 um, wavelength 0.6328 um, index 1.55.
    extinction, scattering, _ = mie.efficiencies(np.array([2.0 * np.pi * 0.525 / 0.6328]), 1.55 + 0j)

    assert extinction[0] == pytest.approx(3.10543, abs=1e-5)
    assert scattering[0] == pytest.approx(3.10543, abs=1e-5)


def test_larger_droplets_absorb_more_at_213_um() -> None:
    albedos = [mie.droplets(radius, *bispectral.BANDS[1])[1] for radius in (5.0, 10.0, 20.0)]

    assert 1.0 > albedos[0] > albedos[1] > albedos[2] > 0.9


def test_a_thick_layer_reflects_as_chandrasekhars_half_space_does() -> None:
    angles = plane_parallel.build_angles(1.0, 1.0)

    reflectance = plane_parallel.reflectances(np.array([4096.0]), 1.0 - 1e-12, 0.0, angles, 0.0)

    # H(1)^2 / 8 for isotropic, conservative scattering; H(1) = 2.9078.
    assert reflectance[0] == pytest.approx(2.9078**2 / 8.0, rel=0.005)


def test_nothing_is_lost_between_a_white_surface_and_a_conservative_cloud() -> None:
    points, weights = np.polynomial.legendre.leggauss(8)
    cosines = (points + 1.0) / 2.0
    by_angle = [
        plane_parallel.reflectances(
            np.array([3.0]), 1.0 - 1e-12, 0.8, plane_parallel.build_angles(0.6, float(cosine)), 1.0
        )[0]
        for cosine in cosines
    ]

    assert float((weights * cosines * by_angle).sum()) == pytest.approx(1.0, abs=0.01)


def test_the_look_up_returns_the_clouds_that_made_the_reflectances() -> None:
    table = bispectral.look_up_table(60.0, 0.0, 0.05)
    points = np.flatnonzero((table.cot > 8.0) & (table.cot < 60.0) & (table.cer > 7.0))[::97]

    cot, cer = bispectral.retrieve(table.reflectance[points], (60.0, 0.0, 0.05))
    gain = bispectral.fit_gain(table.reflectance[points] * [0.9, 0.7], cot, cer, (60.0, 0.0, 0.05))

    assert cot == pytest.approx(table.cot[points], rel=0.02)
    assert cer == pytest.approx(table.cer[points], rel=0.02)
    assert gain == pytest.approx([0.9, 0.7], rel=0.01)


def test_statistics_of_bins_are_those_of_their_pairs() -> None:
    truth, estimate = np.array([1.0, 3.0, 30.0]), np.array([2.0, 2.0, 24.0])
    edges = (0.0, 5.0, np.inf)

    sums = pair_sums.pair_sums(pair_sums.bin_index(truth, edges), 2, truth, estimate)
    low, high = pair_sums.binned(sums, edges)

    assert (low["from"], low["to"], low["pixels"], low["bias"], low["rmse"]) == (0.0, 5.0, 2, 0.0, 1.0)
    assert (high["to"], high["relative_bias"]) == (None, pytest.approx(-0.2))
    assert float(pair_sums.r2(sums.sum(axis=0))) == pytest.approx(1.0 - 38.0 / (910.0 - 34.0**2 / 3.0))


def test_intervals_of_equal_tiles_have_no_width_and_an_undefined_score_has_none() -> None:
    draws = bootstrap.tile_draws(10) @ np.full((10, 2), 3.0)

    assert bootstrap.intervals({"share": draws[:, 0] / draws[:, 1]}) == {"share": [1.0, 1.0]}
    assert bootstrap.interval(np.array([1.0, np.nan])) is None


def test_the_assessment_agrees_with_the_scores_and_is_valid_json(local_result: RetrievalResult) -> None:
    scene_report.write_metrics(local_result)
    metrics = json.loads((local_result.options.out / "metrics.json").read_text())
    assessment, scores = metrics["assessment"], metrics["scores"]

    median = assessment["strata"]["cot_median"]
    assert median["overall"]["bias"] == pytest.approx(scores["cloud_optical_thickness"]["bias"], abs=1e-6)
    assert sum(part["pixels"] for part in median["by_true_cot"]) == scores["cloudy_pixels"]
    assert assessment["strata"]["cer"]["overall"]["r2"] == pytest.approx(scores["cloud_effective_radius"]["r2"])
    low, high = assessment["intervals_95"]["mask_accuracy"]
    assert low < scores["cloud_mask"]["accuracy"] < high
    assert set(assessment["strata"]) == {"cot_median", "cot_mean", "lwp", "cer"}
    assert 0.5 < assessment["coverage"]["cer/68"] < assessment["coverage"]["cer/95"] <= 1.0
    assert assessment["bispectral"]["log_cot"]["pixels"] == scores["cloudy_pixels"]
    assert set(assessment["strata"]["cer"]) >= {"by_true_cer", "by_retrieved_cer", "by_true_cot", "by_retrieved_cot"}
    detected = [part["detected"] * part["pixels"] for part in assessment["detected_by_true_cot"] if part["pixels"]]
    assert sum(detected) == pytest.approx(scores["cloud_mask"]["hits"])


def test_the_pixel_alone_is_scored_beside_the_retrieval_on_the_same_tiles(local_result: RetrievalResult) -> None:
    assessment = local_result.assessment

    alone = assessment["pixel_alone"]
    assert alone["cer"]["pixels"] == local_result.scores.cer.count
    mask = local_result.scores.as_dict()["cloud_mask"]["accuracy"]
    low, high = assessment["intervals_95"]["mask_accuracy_less_pixel_alone"]
    assert low < mask - alone["mask_accuracy"] < high
    low, high = assessment["intervals_95"]["r2_cer_less_pixel_alone"]
    assert low < local_result.scores.cer.r2 - alone["cer"]["r2"] < high


def test_the_pixel_alone_is_predicted_for_test_pixels_only(local_result: RetrievalResult) -> None:
    with h5py.File(local_result.options.out / "predictions.h5") as file:
        for group in file.values():
            is_test = group["role"][:] == train_test_split.TEST
            for name in predictions_file.PIXEL_ALONE:
                assert (np.isfinite(group[name][:]) == is_test).all()


def test_scenes_without_truth_have_no_assessment(local_result: RetrievalResult, tmp_path: Path) -> None:
    path = local_result.options.out / "predictions.h5"
    with h5py.File(path) as source, h5py.File(tmp_path / "new.h5", "w") as target:
        name = next(iter(source))
        source.copy(name, target)
        del target[name]["truth_cloud_effective_radius"]

    assert quality.assess(tmp_path / "new.h5") == {}
