"""Images as inputs: their shape, random crops, streaming, and the standard protocol without validation images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from adaptation import dataset, distributed, image_folders, options
from adaptation.rows import augmentation
from adaptation.rows.loading import BatchLoader
from PIL import Image

from tests.support.examples.training_runs import refusal, train_here


def test_the_middle_of_an_image_keeps_its_shape(tmp_path: Path) -> None:
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, :20, 0] = wide[:, 40:, 0] = 255
    wide[:, 20:40, 1] = 255
    Image.fromarray(wide).save(tmp_path / "wide.png")
    stretched = image_folders.read_image(tmp_path / "wide.png", 10)
    middle = image_folders.read_image(tmp_path / "wide.png", 10, keep_aspect=True)

    assert stretched[0, 5, 0] == 255
    inside = middle[:, :, 1:-1]  # the filter reads pixels beside the square
    assert (inside[0].max(), inside[1].min()) == (0, 255)


def test_crops_are_parts_of_images_and_some_are_flipped() -> None:
    images = torch.arange(2 * 3 * 8 * 8, dtype=torch.uint8).reshape(2, 3, 8, 8)
    views = torch.tensor([[1, 0, 0], [0, 1, 1]])
    crops = augmentation.crop(images, 7, views)

    assert torch.equal(crops[0], images[0, :, 1:8, 0:7])
    assert torch.equal(crops[1], images[1, :, 0:7, 1:8].flip(-1))
    assert torch.equal(augmentation.center_crop(images, 6), images[..., 1:7, 1:7])
    drawn = augmentation.draw_views(1000, 3, 1, 4, 0)
    assert [sorted(set(column.tolist())) for column in drawn.T] == [[0, 1, 2, 3], [0, 1, 2, 3], [0, 1]]


class Rank(distributed.Communicator):
    """One rank of two."""

    def __init__(self, number: int) -> None:
        self._number = number

    @property
    def rank(self) -> int:
        return self._number

    @property
    def size(self) -> int:
        return 2


@pytest.mark.parametrize("workers", [0, 2])
def test_two_ranks_have_the_crops_of_one_process(image_folder: Path, workers: int) -> None:
    pair, kind = dataset.list_images(image_folder, "amazon", "webcam")
    settings = dataset.ImageSettings(14, augment=True, keep_aspect=True, workers=workers)
    images = dataset.read_dataset(pair, kind, settings, (torch.device("cpu"), 0))
    run_options = options.Options(
        data=image_folder, out=image_folder, image_size=14, augment=True, global_batch=13, accumulate=2
    )
    loader = BatchLoader(run_options, images, uses_target=True)
    whole = loader.parts(3, distributed.Communicator())
    first, second = (loader.parts(3, Rank(number)) for number in (0, 1))

    for index, part in enumerate(whole):
        assert part.source.shape[1:] == (3, 14, 14)
        assert torch.equal(part.source, torch.cat([first[index].source, second[index].source]))
        assert torch.equal(part.target, torch.cat([first[index].target, second[index].target]))


def test_streamed_images_end_with_the_bits_of_those_in_memory(image_folder: Path, tmp_path: Path) -> None:
    args = ["--method", "mcc", "--iters", "12", "--image-size", "16", "--augment", "--keep-aspect"]
    held = train_here(image_folder, tmp_path / "held", *args)
    streamed = train_here(image_folder, tmp_path / "streamed", *args, "--workers", "2")

    assert streamed["weights_sha256"] == held["weights_sha256"]
    assert streamed["final"] == held["final"]


def test_a_broken_image_is_one_line_also_while_streaming(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for domain in ("amazon", "webcam"):
        for name in ("bike", "mug"):
            (tmp_path / domain / name).mkdir(parents=True)
            Image.new("RGB", (20, 20)).save(tmp_path / domain / name / "0.png")
    broken = tmp_path / "amazon" / "mug" / "0.png"
    broken.write_bytes(b"rubbish")
    args = ["--data", str(tmp_path), "--out", str(tmp_path / "out"), "--iters", "3", "--threads", "1"]

    assert str(broken) in refusal(capsys, *args, "--workers", "2")


def test_images_larger_than_the_memory_are_refused_with_the_option_that_helps() -> None:
    with pytest.raises(image_folders.DataError, match=r"amazon need 1073741824\.0 GiB .* --workers 8 decodes them"):
        dataset.check_memory(2**59, "amazon")
    dataset.check_memory(1000, "amazon")


def test_without_validation_images_all_are_trained_on_and_the_last_weights_are_kept(
    image_folder: Path, tmp_path: Path
) -> None:
    metrics = train_here(image_folder, tmp_path, "--method", "coral", "--epochs", "2", "--validation", "0")
    counts = metrics["data"]["images"]

    assert (counts["source_training"], counts["source_validation"]) == (31 * 5, 0)
    assert metrics["final"]["source_accuracy"] is None
    assert (metrics["best"]["epoch"], metrics["best"]["weights_sha256"]) == (2, metrics["weights_sha256"])
    assert "the last epoch" in metrics["best"]["chosen_by"]
    assert (tmp_path / "curves.png").stat().st_size > 10_000


def test_a_checkpoint_of_other_settings_of_images_is_refused(
    image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train_here(image_folder, tmp_path, "--iters", "1", "--augment")
    capsys.readouterr()
    args = ["--data", str(image_folder), "--out", str(tmp_path), "--global-batch", "16", "--iters", "2", "--resume"]

    assert "made with augment True, not its default" in refusal(capsys, *args)
