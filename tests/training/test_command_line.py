"""Unusable images, arguments and checkpoints are one line each, with exit code 2."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from generators import synthetic_images

from tests.support.examples.training_runs import DEADLINE, JOB, refusal, train_here


def test_unusable_images_are_one_line(image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--out", str(tmp_path / "out"), "--threads", "1", "--iters", "1"]
    broken = tmp_path / "broken"
    shutil.copytree(image_folder, broken)

    assert "no such folder" in refusal(capsys, "--data", str(tmp_path / "nowhere"), *out)
    line = refusal(capsys, "--data", str(image_folder), "--target", "dslrr", *out)
    assert "no domain dslrr" in line
    assert "amazon, dslr, webcam" in line
    assert "choose two different ones" in refusal(capsys, "--data", str(image_folder), "--target", "amazon", *out)

    first = broken / "webcam" / synthetic_images.CLASSES[0]
    picture = next(first.iterdir())
    picture.write_bytes(b"not a picture")
    assert str(picture) in refusal(capsys, "--data", str(broken), *out)
    for path in first.iterdir():
        path.unlink()
    assert f"{first}: no image" in refusal(capsys, "--data", str(broken), *out)
    first.rmdir()
    line = refusal(capsys, "--data", str(broken), *out)
    assert "amazon has 1 class(es) that webcam lacks" in line
    assert synthetic_images.CLASSES[0] in line


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--method", "magic"], "--method"),
        (["--global-batch", "1"], "--global-batch"),
        (["--accumulate", "40"], "--accumulate"),
        (["--elastic", "--baseline"], "--baseline and --elastic"),
        (["--elastic", "--dist", "ddp"], "--elastic needs Horovod"),
        (["--lr", "-1"], "above 0"),
        (["--device", "cuda"], "torch finds no GPU"),
    ],
)
def test_invalid_arguments_are_one_line(
    args: list[str], message: str, image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if args == ["--device", "cuda"] and torch.cuda.is_available():
        args, message = ["--weights", "x"], "--weights is for"

    assert message in refusal(capsys, "--data", str(image_folder), "--out", str(tmp_path), *args)


def test_a_checkpoint_of_another_run_is_refused_in_one_line(
    image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train_here(image_folder, tmp_path, "--method", "coral", "--iters", "2")
    capsys.readouterr()
    args = ["--data", str(image_folder), "--out", str(tmp_path), "--resume", "--threads", "1", "--iters", "4"]

    line = refusal(capsys, *args, "--method", "dan", "--global-batch", "16")
    assert "made with method coral, not dan" in line
    (tmp_path / "checkpoint.pt").write_bytes(b"rubbish")
    assert "not a checkpoint of this program" in refusal(capsys, *args, "--global-batch", "16")


def test_an_unusable_folder_ends_the_process_without_a_traceback(tmp_path: Path) -> None:
    args = [
        sys.executable,
        str(JOB / "train.py"),
        "--data",
        str(tmp_path),
        "--out",
        str(tmp_path / "out"),
    ]
    process = subprocess.run(args, capture_output=True, text=True, check=False, timeout=DEADLINE)

    assert process.returncode == 2
    assert process.stderr.count("\n") == 1
    assert "no domain amazon; found: no folder" in process.stderr
