"""The parts of the domain adaptation job, in one process: losses, order, images, checkpoints, plain errors."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.training import launch

for needed in launch.NEEDED:
    pytest.importorskip(needed, reason="tests of training: scripts/test-training")

import numpy as np  # noqa: E402
import torch  # noqa: E402
import train  # noqa: E402
from adaptation import batching, dataset, distributed, image_folders, losses, models, options  # noqa: E402
from adaptation.trainer import Trainer  # noqa: E402
from generators import synthetic_images  # noqa: E402
from PIL import Image  # noqa: E402


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small synthetic data set."""
    folder = tmp_path_factory.mktemp("images")
    synthetic_images.write_domains(folder, seed=2, size=16, share=0.06)
    return folder


def run(data: Path, out: Path, *words: str) -> dict[str, Any]:
    """Train here; the metrics."""
    few = ["--global-batch", "16", "--threads", "1", "--log-every", "1000000"]
    assert train.main(["--data", str(data), "--out", str(out), *few, *words]) == 0
    found: dict[str, Any] = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    return found


def listed(folder: Path) -> dict[str, str]:
    """Every file's hash."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# ---------------------------------------------------------------- images


def test_the_generator_makes_the_same_images_from_the_same_seed(data: Path, tmp_path: Path) -> None:
    synthetic_images.write_domains(tmp_path / "again", seed=2, size=16, share=0.06)
    synthetic_images.write_domains(tmp_path / "other", seed=3, size=16, share=0.06)

    assert listed(data) == listed(tmp_path / "again")
    assert listed(data) != listed(tmp_path / "other")


def test_the_generator_has_the_domains_and_the_31_classes_of_office_31(data: Path) -> None:
    pairs = [image_folders.list_domain(data, domain) for domain in ("amazon", "dslr", "webcam")]

    assert all(len(listing.classes) == 31 for listing in pairs)
    assert [len(listing.paths) // 31 for listing in pairs] == [5, 2, 2]
    assert image_folders.data_kind(data) == "synthetic"


def test_the_command_line_of_the_generator_says_what_it_made(tmp_path: Path) -> None:
    words = [sys.executable, str(launch.JOB / "synthesize.py"), "--out", str(tmp_path / "d"), "--share", "0.01"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=launch.DEADLINE)

    assert done.stdout.startswith("186 synthetic images, 31 classes")


def test_office_31_is_read_as_it_is_handed_out(tmp_path: Path) -> None:
    colours = {"bike": (255, 0, 0), "mug": (0, 0, 255)}
    for name, colour in colours.items():
        folder = tmp_path / "amazon" / "images" / name
        folder.mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (30, 20), colour).save(folder / f"frame_{number}.JPG", format="JPEG")
    listing = image_folders.list_domain(tmp_path, "amazon")
    images = image_folders.read_images(listing, 16)

    assert (listing.classes, listing.labels) == (("bike", "mug"), (0, 0, 0, 1, 1, 1))
    assert (images.shape, images.dtype) == ((6, 3, 16, 16), np.uint8)
    assert images[0, 0].min() > 240 > 10 > images[0, 2].max()
    assert image_folders.data_kind(tmp_path) == "files"


# ---------------------------------------------------------------- losses


def test_coral_is_the_distance_of_covariances() -> None:
    rng = np.random.default_rng(1)
    source, target = rng.normal(size=(9, 4)), rng.normal(size=(7, 4)) * 2
    expected = ((np.cov(source.T) - np.cov(target.T)) ** 2).sum() / (4 * 4 * 4)

    assert float(losses.coral(torch.tensor(source), torch.tensor(target))) == pytest.approx(expected, rel=1e-12)


def test_mmd_is_the_mean_of_gaussian_kernels_and_nothing_between_equals() -> None:
    rng = np.random.default_rng(1)
    source, target = rng.normal(size=(6, 3)), rng.normal(size=(5, 3)) + 1
    rows = np.concatenate([source, target])
    squares = ((rows[:, None] - rows[None]) ** 2).sum(axis=2)
    middle = squares.sum() / (11 * 10)
    kernel = np.mean([np.exp(-squares / (middle * 2.0**power)) for power in (-2, -1, 0, 1, 2)], axis=0)
    expected = kernel[:6, :6].mean() + kernel[6:, 6:].mean() - 2 * kernel[:6, 6:].mean()

    assert float(losses.mmd(torch.tensor(source), torch.tensor(target))) == pytest.approx(expected, rel=1e-12)
    assert float(losses.mmd(torch.tensor(source), torch.tensor(source))) == pytest.approx(0, abs=1e-12)


def test_a_reversed_gradient_is_turned_round_and_scaled() -> None:
    values = torch.tensor([1.0, 2.0], requires_grad=True)
    held = losses.reverse_gradient(values, 0.25)
    (held * torch.tensor([4.0, 8.0])).sum().backward()

    assert held.tolist() == [1.0, 2.0]
    assert values.grad.tolist() == [-1.0, -2.0]


def test_the_transfer_loss_grows_from_nothing_to_its_weight() -> None:
    strengths = [losses.ramp_strength(iteration, 100) for iteration in (0, 10, 50, 100, 1000)]

    assert strengths[0] == 0
    assert strengths == sorted(strengths)
    assert strengths[3] == strengths[4] == pytest.approx(1, abs=1e-4)


# ---------------------------------------------------------------- who sees what, and when


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_any_number_of_ranks_sees_the_same_global_batches(size: int) -> None:
    stream, again = batching.BatchStream(23, 7, 0), batching.BatchStream(23, 7, 0)
    for iteration in range(9):
        batch = stream.batch(iteration, 8)
        counts = batching.split_evenly(8, size)
        parts = [batching.rank_slice(again.batch(iteration, 8), counts, rank) for rank in range(size)]

        assert np.concatenate(parts).tolist() == batch.tolist()


def test_each_pass_sees_each_image_once_and_in_another_order() -> None:
    seen = np.concatenate([batching.BatchStream(20, 7, 0).batch(iteration, 10) for iteration in range(4)])

    assert sorted(seen[:20]) == sorted(seen[20:]) == list(range(20))
    assert seen[:20].tolist() != seen[20:].tolist()


def test_validation_images_are_no_training_images_and_come_from_every_class() -> None:
    labels = [label for label in range(6) for _ in range(label + 1)]
    kept, judged = batching.stratified_split(labels, 0.2, 1)

    assert sorted([*kept, *judged]) == list(range(len(labels)))
    assert {labels[index] for index in kept} == set(range(6))
    assert {labels[index] for index in judged} == set(range(1, 6)), "a class of one image stays in training"


class Many(distributed.Communicator):
    """One of four ranks, as far as it knows."""

    @property
    def size(self) -> int:
        return 4


@pytest.mark.parametrize(("scaling", "factor"), [("none", 1.0), ("linear", 4.0), ("sqrt", 2.0)])
def test_the_learning_rate_grows_with_the_ranks_within_five_epochs(data: Path, scaling: str, factor: float) -> None:
    asked = options.Options(data=data, out=data, lr=0.1, lr_scaling=scaling, global_batch=16)
    pair, kind = dataset.list_images(data, "amazon", "dslr")
    images = dataset.read_dataset(pair, kind, 16, (torch.device("cpu"), 0))
    session = Trainer(asked, images, Many(), print)
    warm = 5 * session.iterations_per_epoch

    assert session.rate(0) == pytest.approx(0.1)
    assert session.rate(warm) == pytest.approx(0.1 * factor * (1 + 1e-3 * warm) ** -0.75)


@pytest.mark.parametrize(
    ("variables", "backend"),
    [
        ({}, "none"),
        ({"HOROVOD_RANK": "0", "RANK": "0", "WORLD_SIZE": "1"}, "horovod"),
        ({"HOROVOD_ELASTIC": "1"}, "horovod"),
        ({"RANK": "0", "WORLD_SIZE": "2"}, "ddp"),
        ({"TORCHELASTIC_RUN_ID": "x"}, "ddp"),
    ],
)
def test_the_launcher_is_known_by_its_variables(
    variables: dict[str, str], backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HOROVOD_RANK", "HOROVOD_ELASTIC", "RANK", "WORLD_SIZE", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert distributed.detect_launcher() == backend


def test_all_methods_begin_with_the_same_weights() -> None:
    first, second = (models.build_image_model("small", 5, seed=9).state_dict() for _ in range(2))

    assert all(torch.equal(first[name], second[name]) for name in first)


# ---------------------------------------------------------------- whole trainings


@pytest.mark.parametrize("method", losses.METHODS)
def test_a_resumed_run_ends_with_the_bits_of_one_in_a_single_piece(method: str, data: Path, tmp_path: Path) -> None:
    words = ["--method", method, "--seed", "6"]
    whole = run(data, tmp_path / "whole", *words, "--iters", "22")
    run(data, tmp_path / "parts", *words, "--iters", "11")
    resumed = run(data, tmp_path / "parts", *words, "--iters", "22", "--resume")

    assert resumed["weights_sha256"] == whole["weights_sha256"]
    assert resumed["final"] == whole["final"]


def test_a_run_that_was_killed_goes_on_from_its_checkpoint(data: Path, tmp_path: Path) -> None:
    words = ["--method", "dann", "--checkpoint-every", "7"]
    out, checkpoint = tmp_path / "ended", tmp_path / "ended" / "checkpoint.pt"
    script = [sys.executable, str(launch.JOB / "train.py"), "--data", str(data), "--out", str(out), *words]
    process = subprocess.Popen(
        [*script, "--threads", "1", "--global-batch", "16", "--iters", "1000000", "--log-every", "1000000"],
        stdout=subprocess.DEVNULL,
        env=launch.environment(),
    )
    try:
        launch.until(lambda: checkpoint.exists() or process.poll() is not None, "a checkpoint")
    finally:
        process.kill()
        process.wait(launch.DEADLINE)
    reached = torch.load(checkpoint, weights_only=True)["progress"]["iteration"]
    total = str(reached + 3)
    resumed = run(data, out, *words, "--iters", total, "--resume")
    whole = run(data, tmp_path / "whole", *words, "--iters", total)

    assert reached % 7 == 0
    assert resumed["weights_sha256"] == whole["weights_sha256"]


def test_mixed_precision_trains(data: Path, tmp_path: Path) -> None:
    found = run(data, tmp_path / "out", "--method", "dan", "--iters", "40", "--amp", "--lr", "0.05")

    assert all(math.isfinite(row["class_loss"] + row["transfer_loss"]) for row in found["history"])
    assert found["history"][-1]["class_loss"] < found["history"][0]["class_loss"]


def test_sums_in_parts_give_nearly_the_same_training(data: Path, tmp_path: Path) -> None:
    whole = run(data, tmp_path / "whole", "--method", "dann", "--iters", "4")
    parts = run(data, tmp_path / "parts", "--method", "dann", "--iters", "4", "--accumulate", "3")

    assert parts["final"]["class_loss"] == pytest.approx(whole["final"]["class_loss"], rel=1e-3)


def test_the_baseline_is_the_source_only_run_of_the_same_seed(data: Path, tmp_path: Path) -> None:
    alone = run(data, tmp_path / "alone", "--method", "none", "--iters", "11")
    both = run(data, tmp_path / "both", "--method", "coral", "--iters", "11", "--baseline")

    assert both["source_only"] == alone["final"]
    assert "source only" in both["headline"]
    assert alone["source_only"] is None


# ---------------------------------------------------------------- what cannot be used


def test_images_that_cannot_be_used_are_named_in_one_line(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path / "out"), "--threads", "1", "--iters", "1"]
    broken = tmp_path / "broken"
    shutil.copytree(data, broken)

    assert "no such folder" in launch.told(capsys, "--data", str(tmp_path / "nowhere"), *out)
    line = launch.told(capsys, "--data", str(data), "--target", "dslrr", *out)
    assert "no domain dslrr" in line
    assert "amazon, dslr, webcam" in line
    assert "choose two" in launch.told(capsys, "--data", str(data), "--target", "amazon", *out)

    first = broken / "webcam" / synthetic_images.CLASSES[0]
    picture = next(first.iterdir())
    picture.write_bytes(b"not a picture")
    assert str(picture) in launch.told(capsys, "--data", str(broken), *out)
    for each in first.iterdir():
        each.unlink()
    assert f"{first}: no image" in launch.told(capsys, "--data", str(broken), *out)
    first.rmdir()
    line = launch.told(capsys, "--data", str(broken), *out)
    assert "amazon has 1 class(es) that webcam lacks" in line
    assert synthetic_images.CLASSES[0] in line


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--method", "magic"], "--method"),
        (["--global-batch", "1"], "--global-batch"),
        (["--accumulate", "40"], "--accumulate"),
        (["--elastic", "--baseline"], "--baseline and --elastic"),
        (["--elastic", "--dist", "ddp"], "--elastic is Horovod's"),
        (["--lr", "-1"], "above 0"),
        (["--device", "cuda"], "no GPU here"),
    ],
)
def test_arguments_that_make_no_sense_are_named_in_one_line(
    words: list[str], part: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if words == ["--device", "cuda"] and torch.cuda.is_available():
        words, part = ["--weights", "x"], "--weights is for"

    assert part in launch.told(capsys, "--data", str(data), "--out", str(tmp_path), *words)


def test_a_checkpoint_of_another_run_is_refused_in_one_line(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(data, tmp_path, "--method", "coral", "--iters", "2")
    capsys.readouterr()
    words = ["--data", str(data), "--out", str(tmp_path), "--resume", "--threads", "1", "--iters", "4"]

    line = launch.told(capsys, *words, "--method", "dan", "--global-batch", "16")
    assert "made with method coral, asked for dan" in line
    (tmp_path / "checkpoint.pt").write_bytes(b"rubbish")
    assert "no checkpoint of this program" in launch.told(capsys, *words, "--global-batch", "16")


def test_an_unusable_folder_ends_the_process_without_a_traceback(tmp_path: Path) -> None:
    words = [sys.executable, str(launch.JOB / "train.py"), "--data", str(tmp_path), "--out", str(tmp_path / "out")]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=launch.DEADLINE)

    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "no domain amazon in it, there is no folder" in done.stderr
