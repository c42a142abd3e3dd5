"""Adaptation between two sensors: who sees which granule, what labels reach, the same bits, plain errors."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import train
from adaptation import image_folders, sensor_columns, variable_names
from adaptation.networks import models
from generators import synthetic_columns

from tests.support.examples.training_runs import DEADLINE, JOB, LAUNCHERS, refusal, train_with

GRANULES = 16
ARGS = ("--task", "sensors", "--global-batch", "32", "--threads", "1", "--log-every", "1000000", "--lr", "0.03")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small synthetic data set."""
    folder = tmp_path_factory.mktemp("columns")
    synthetic_columns.write_granules(folder, seed=5, granules=GRANULES, count=120)
    return folder


def run(data: Path, out: Path, *args: str) -> dict[str, Any]:
    """Train in this process; return the metrics."""
    assert train.main(["--data", str(data), "--out", str(out), *ARGS, *args]) == 0
    found: dict[str, Any] = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    return found


def load(path: Path) -> dict[str, Any]:
    """Return the arrays of a granule."""
    with np.load(path) as file:
        return dict(file)


def permute_labels(data: Path, out: Path, uses: tuple[str, ...]) -> Path:
    """Copy the data, with permuted labels in granules of some uses (under seed 0); some pairs lose their label."""
    shutil.copytree(data, out)
    files, _ = sensor_columns.list_granules(out)
    rng = np.random.default_rng(1)
    for use in uses:
        for number in sensor_columns.assign_uses(GRANULES, 0)[use]:
            found = load(files[number])
            found[variable_names.LABEL] = rng.permutation(found[variable_names.LABEL])
            if use == "pairs":
                found[variable_names.LABEL][::3] = 0
            np.savez(files[number], **found)
    return out


# ---------------------------------------------------------------- columns


def test_the_generator_is_determined_by_its_seed(data: Path, tmp_path: Path) -> None:
    synthetic_columns.write_granules(tmp_path / "again", seed=5, granules=2, count=120)
    synthetic_columns.write_granules(tmp_path / "other", seed=6, granules=1, count=120)
    name = "match_data.synthetic.000.npz"
    first, again, other = (load(folder / name) for folder in (data, tmp_path / "again", tmp_path / "other"))

    assert set(first) == {*variable_names.LIDAR, *variable_names.RADIOMETER, variable_names.LABEL}
    assert (len(variable_names.LIDAR), len(variable_names.RADIOMETER)) == (25, 20)
    assert all((first[name] == again[name]).all() for name in first)
    assert any((first[name] != other[name]).any() for name in first)


def test_synthetic_columns_are_within_the_range_of_the_instruments(data: Path) -> None:
    every = [load(path) for path in sorted(data.glob("*.npz"))]
    found = {name: np.concatenate([each[name] for each in every]) for name in every[0]}
    warm = np.stack([found[f"VIIRS_M{number}"] for number in range(12, 17)])

    assert all(np.isfinite(line).all() for line in found.values())
    assert 180 < warm.min() < warm.max() < 340
    assert all(found[name].min() >= 0 and found[name].max() < 1.8 for name in variable_names.BANDS[:11])
    assert all(0 <= found[name].min() <= found[name].max() < 83 for name in ("VIIRS_SZA", "VIIRS_VZA"))
    assert set(found[variable_names.LABEL].tolist()) == {1, 2, 3, 4, 5, 6}
    # Ice clouds are high, and cold in the thermal bands.
    ice, clear = found[variable_names.LABEL] == 3, found[variable_names.LABEL] == 1
    assert found["CALIOP_Clay_Top_Altitude"][ice].mean() > 6
    assert found["VIIRS_M15"][ice].mean() < found["VIIRS_M15"][clear].mean() - 15


def test_the_generator_reports_the_number_of_granules(tmp_path: Path) -> None:
    args = ["--out", str(tmp_path / "d"), "--granules", "2", "--columns", "20"]
    command = [sys.executable, str(JOB / "make_columns.py"), *args]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=DEADLINE)

    assert done.stdout.startswith("2 synthetic granules of 20 columns")
    assert image_folders.data_kind(tmp_path / "d") == "synthetic"


# ---------------------------------------------------------------- who sees what


@pytest.mark.parametrize("count", [4, 5, 16, 121])
def test_each_granule_has_one_use_and_every_use_a_granule(count: int) -> None:
    uses = sensor_columns.assign_uses(count, 3)

    assert sorted(number for part in uses.values() for number in part) == list(range(count))
    assert all(uses.values())
    assert count < 16 or uses != sensor_columns.assign_uses(count, 4)


def test_rows_come_from_the_granules_of_their_use(data: Path) -> None:
    files, kind = sensor_columns.list_granules(data)
    found = sensor_columns.read_dataset(files, kind, (torch.device("cpu"), 0))
    uses = {name: [files[number] for number in part] for name, part in sensor_columns.assign_uses(GRANULES, 0).items()}
    lidar, radiometer, labels = sensor_columns.read_tables(uses["training"], labeled=True)
    pairs, judged = (
        sensor_columns.read_tables(uses["pairs"], labeled=False),
        sensor_columns.read_tables(uses["evaluation"], labeled=True),
    )

    assert found.paired_rows is not None
    assert found.target_supervised is not None
    assert (found.source_rows[found.training_indices].numpy() == lidar).all()
    assert (found.source_labels[found.training_indices].numpy() == labels).all()
    assert (found.paired_rows.numpy() == pairs[0]).all()
    assert (found.target_rows.numpy() == pairs[1]).all()
    assert (found.test_rows.numpy() == judged[1]).all()
    assert (found.target_supervised.source_rows[found.training_indices].numpy() == radiometer).all()
    assert len(found.validation_indices) == len(sensor_columns.read_tables(uses["validation"], labeled=True)[2])


def test_labels_of_pairs_and_evaluation_columns_do_not_change_the_weights(data: Path, tmp_path: Path) -> None:
    """Labels of the source do change them, which shows that the comparison is sensitive."""
    few = ("--method", "coral", "--iters", "12")
    first = run(data, tmp_path / "first", *few)
    other = run(permute_labels(data, tmp_path / "target_permuted", ("pairs", "evaluation")), tmp_path / "other", *few)
    source = run(permute_labels(data, tmp_path / "source_permuted", ("training",)), tmp_path / "source", *few)

    assert other["weights_sha256"] == first["weights_sha256"]
    assert other["best"]["weights_sha256"] == first["best"]["weights_sha256"]
    assert other["final"]["target_accuracy"] != first["final"]["target_accuracy"]
    assert source["weights_sha256"] != first["weights_sha256"]


def test_columns_excluded_by_the_published_preprocessing_are_excluded(data: Path, tmp_path: Path) -> None:
    found = load(next(iter(sorted(data.glob("*.npz")))))
    found["VIIRS_SZA"][0] = 84.0
    found["VIIRS_M16"][1] = -999.0
    found[variable_names.LABEL][2] = 0
    found["CALIOP_Clay_Color_Ratio"][3] = np.nan
    np.savez(tmp_path / "g.npz", **found)
    labelled, unlabelled = (sensor_columns.read_table(tmp_path / "g.npz", labeled=each) for each in (True, False))

    assert (len(labelled[0]), len(unlabelled[0])) == (117, 118)
    assert labelled[0][0][variable_names.LIDAR.index("CALIOP_Clay_Color_Ratio")] == 0
    assert labelled[2].tolist() == (found[variable_names.LABEL][3:] - 1).tolist()


# ---------------------------------------------------------------- training


def test_pairs_transfer_the_classes_of_the_lidar_to_the_radiometer(data: Path, tmp_path: Path) -> None:
    found = run(data, tmp_path, "--method", "coral", "--epochs", "6", "--baseline")
    picture = (tmp_path / "curves.png").stat().st_size

    assert found["data"]["largest_class"] + 0.05 < found["final"]["target_accuracy"] < 0.9
    assert found["final"]["source_accuracy"] < 0.99, "the simulated lidar must make mistakes"
    assert found["no_alignment"]["pair_loss"] > 0 == found["target_labels"]["pair_loss"]
    assert len(found["final"]["target_recall"]) == len(found["data"]["class_names"]) == 6
    assert found["data"]["kind"] == "synthetic"
    assert "synthetic columns" in found["headline"]
    assert "majority-class baseline" in found["headline"]
    assert picture > 10_000


def test_the_saved_weights_include_the_scaling_of_the_inputs(data: Path, tmp_path: Path) -> None:
    found = run(data, tmp_path, "--method", "none", "--epochs", "2")
    files, kind = sensor_columns.list_granules(data)
    rows = sensor_columns.read_dataset(files, kind, (torch.device("cpu"), 0))
    net = models.build_sensor_model((torch.zeros(2, 25), torch.zeros(2, 20)), 6, seed=9)
    best = torch.load(tmp_path / "best.pt", weights_only=True)
    net.load_state_dict(best["weights"])
    predicted = net["classifier"](net["target_features"](rows.test_rows)).argmax(dim=1)

    assert best["task"] == "sensors"
    assert float((predicted == rows.test_labels).double().mean()) == pytest.approx(found["best"]["target_accuracy"])


def test_a_resumed_run_ends_with_the_same_bits(data: Path, tmp_path: Path) -> None:
    whole = run(data, tmp_path / "whole", "--method", "dann", "--iters", "30")
    run(data, tmp_path / "parts", "--method", "dann", "--iters", "17")
    parts = run(data, tmp_path / "parts", "--method", "dann", "--iters", "30", "--resume")

    assert parts["weights_sha256"] == whole["weights_sha256"]
    assert parts["final"] == whole["final"]


@pytest.mark.slow
def test_horovod_and_torchrun_end_with_the_same_bits_and_follow_one_process(data: Path, tmp_path: Path) -> None:
    args = (*ARGS, "--method", "coral", "--epochs", "2", "--checkpoint-every", "7")
    found = {backend: train_with(backend, data, tmp_path / backend, args) for backend in LAUNCHERS}
    one, horovod, ddp = (found[backend] for backend in ("none", "horovod", "ddp"))

    assert (horovod["run"]["size"], ddp["run"]["size"]) == (2, 2)
    assert horovod["ranks_agree"] is ddp["ranks_agree"] is True
    assert horovod["weights_sha256"] == ddp["weights_sha256"]
    assert horovod["history"] == ddp["history"]
    for name in ("class_loss", "transfer_loss", "pair_loss"):
        curves = [[row[name] for row in each["history"]] for each in (horovod, one)]
        np.testing.assert_allclose(curves[0], curves[1], rtol=2e-3, atol=1e-6)


# ---------------------------------------------------------------- what cannot be used


def test_unusable_columns_are_one_line(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken, out = tmp_path / "broken", ("--out", str(tmp_path / "out"), *ARGS, "--iters", "1")
    shutil.copytree(data, broken)
    files, _ = sensor_columns.list_granules(broken)
    first = files[sensor_columns.assign_uses(GRANULES, 0)["training"][0]]
    good = load(first)

    def line(**changed: Any) -> str:
        np.savez(first, **{name: value for name, value in (good | changed).items() if value is not None})
        return refusal(capsys, "--data", str(broken), *out)

    assert "no such folder; make_columns.py" in refusal(capsys, "--data", str(tmp_path / "nowhere"), *out)
    assert f"{first}: lacks VIIRS_M05 (1 of 46 names)" in line(VIIRS_M05=None)
    assert "CALIOP_N_Clay_1km is (3,)" in line(CALIOP_N_Clay_1km=np.zeros(3))
    assert "expected one number per column" in line(VIIRS_SAA=np.array(["east"] * 120))
    assert "Pixel_Label_Calipso is 9 in some column, expected 0 to 6" in line(Pixel_Label_Calipso=np.full(120, 9))
    first.write_bytes(b"not an archive")
    assert f"{first}: not a readable granule" in refusal(capsys, "--data", str(broken), *out)
    for path in files[3:]:
        path.unlink()
    assert "3 granule(s) (*.npz), need 4 or more" in refusal(capsys, "--data", str(broken), *out)


def test_a_class_without_training_columns_is_one_line(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(data, copy)
    files, _ = sensor_columns.list_granules(copy)
    for number in sensor_columns.assign_uses(GRANULES, 0)["training"]:
        found = load(files[number])
        found[variable_names.LABEL][found[variable_names.LABEL] == 3] = 0
        np.savez(files[number], **found)

    line = refusal(capsys, "--data", str(copy), "--out", str(tmp_path / "out"), *ARGS)
    assert "no column of ice to train on" in line


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--source", "amazon"], "are for --task images"),
        (["--net", "resnet50"], "--net resnet50 is for --task images"),
        (["--pair-weight", "-1"], "not a number from 0"),
    ],
)
def test_invalid_arguments_are_one_line(
    args: list[str], message: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in refusal(capsys, "--data", str(data), "--out", str(tmp_path), *ARGS, *args)
