"""predict.py: the weights of a run classify as they did when the run evaluated them."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from adaptation import image_folders, sensor_columns

from tests.support.examples.training_runs import JOB, train_here

# By its path: another job has a predict.py as well.
SCRIPT = runpy.run_path(str(JOB / "predict.py"))
load, predict = SCRIPT["load"], SCRIPT["predict"]


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
