"""Whole trainings in one process: resumed runs, mixed precision, parts of batches, the baseline, predictions."""

from __future__ import annotations

import math
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from adaptation import image_folders, losses, sensor_columns

from tests.support.examples.training_runs import DEADLINE, JOB, environment, train_here, wait_until

# By its path: another job has a predict.py as well.
SCRIPT = runpy.run_path(str(JOB / "predict.py"))
load, predict = SCRIPT["load"], SCRIPT["predict"]


@pytest.mark.parametrize("method", losses.METHODS)
def test_a_resumed_run_ends_with_the_bits_of_an_uninterrupted_one(
    method: str, image_folder: Path, tmp_path: Path
) -> None:
    args = ["--method", method, "--seed", "6"]
    whole = train_here(image_folder, tmp_path / "whole", *args, "--iters", "22")
    train_here(image_folder, tmp_path / "parts", *args, "--iters", "11")
    resumed = train_here(image_folder, tmp_path / "parts", *args, "--iters", "22", "--resume")

    assert resumed["weights_sha256"] == whole["weights_sha256"]
    assert resumed["final"] == whole["final"]


def test_a_killed_run_resumes_from_its_checkpoint(image_folder: Path, tmp_path: Path) -> None:
    args = ["--method", "dann", "--checkpoint-every", "7"]
    out, checkpoint = tmp_path / "ended", tmp_path / "ended" / "checkpoint.pt"
    script = [
        sys.executable,
        str(JOB / "train.py"),
        "--data",
        str(image_folder),
        "--out",
        str(out),
        *args,
    ]
    process = subprocess.Popen(
        [*script, "--threads", "1", "--global-batch", "16", "--iters", "1000000", "--log-every", "1000000"],
        stdout=subprocess.DEVNULL,
        env=environment(),
    )
    try:
        wait_until(lambda: checkpoint.exists() or process.poll() is not None, "a checkpoint")
    finally:
        process.kill()
        process.wait(DEADLINE)
    reached = torch.load(checkpoint, weights_only=True)["progress"]["iteration"]
    total = str(reached + 3)
    resumed = train_here(image_folder, out, *args, "--iters", total, "--resume")
    whole = train_here(image_folder, tmp_path / "whole", *args, "--iters", total)

    assert reached % 7 == 0
    assert resumed["weights_sha256"] == whole["weights_sha256"]


def test_mixed_precision_trains(image_folder: Path, tmp_path: Path) -> None:
    metrics = train_here(image_folder, tmp_path / "out", "--method", "dan", "--iters", "40", "--amp", "--lr", "0.05")

    assert all(math.isfinite(row["class_loss"] + row["transfer_loss"]) for row in metrics["history"])
    assert metrics["history"][-1]["class_loss"] < metrics["history"][0]["class_loss"]


def test_sums_in_parts_give_nearly_the_same_training(image_folder: Path, tmp_path: Path) -> None:
    whole = train_here(image_folder, tmp_path / "whole", "--method", "dann", "--iters", "4")
    parts = train_here(image_folder, tmp_path / "parts", "--method", "dann", "--iters", "4", "--accumulate", "3")

    assert parts["final"]["class_loss"] == pytest.approx(whole["final"]["class_loss"], rel=1e-3)


def test_the_baseline_is_the_source_only_run_of_the_same_seed(image_folder: Path, tmp_path: Path) -> None:
    alone = train_here(image_folder, tmp_path / "alone", "--method", "none", "--iters", "11")
    both = train_here(image_folder, tmp_path / "both", "--method", "coral", "--iters", "11", "--baseline")

    assert both["source_only"] == alone["final"]
    assert "source only" in both["headline"]
    assert alone["source_only"] is None


def test_images_and_an_image_file_get_the_probabilities_of_the_best_epoch(image_folder: Path, tmp_path: Path) -> None:
    metrics = train_here(image_folder, tmp_path, "--method", "cdan", "--iters", "4")
    listing = image_folders.list_domain(image_folder, "webcam")
    model = load(str(tmp_path))

    rows = predict(model, image_folders.read_images(listing, 32))
    file = predict(model, listing.paths[0].read_bytes())

    right = np.argmax(rows, axis=1) == np.array(listing.labels)
    assert float(right.mean()) == pytest.approx(metrics["best"]["target_accuracy"], abs=1e-12)
    assert np.allclose(rows.sum(axis=1), 1.0, atol=1e-5)
    assert np.allclose(file[0], rows[0], atol=1e-6)
    with pytest.raises(ValueError, match=r"images have shape \(1, 2\), expected \(n, 3, 32, 32\)"):
        predict(model, [[1, 2]])


def test_columns_of_the_radiometer_get_the_probabilities_of_the_best_epoch(tmp_path: Path) -> None:
    from generators import synthetic_columns

    synthetic_columns.write_granules(tmp_path / "data", seed=5, granules=20, count=40)
    metrics = train_here(tmp_path / "data", tmp_path / "out", "--task", "sensors", "--iters", "4")
    files, kind = sensor_columns.list_granules(tmp_path / "data")
    dataset = sensor_columns.read_dataset(files, kind, (torch.device("cpu"), 0))
    model = load(str(tmp_path / "out"))

    rows = predict(model, dataset.test_rows.numpy())

    right = np.argmax(rows, axis=1) == dataset.test_labels.numpy()
    assert float(right.mean()) == pytest.approx(metrics["best"]["target_accuracy"], abs=1e-12)
    assert predict(model, dataset.test_rows[0].tolist()).shape == (1, len(dataset.classes))
    with pytest.raises(ValueError, match=r"columns have shape \(1, 3\), expected \(n, 20\)"):
        predict(model, [[1.0, 2.0, 3.0]])
