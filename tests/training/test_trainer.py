"""Learning rate, launcher and initial weights of a training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from adaptation import dataset, distributed, options
from adaptation.networks import models
from adaptation.trainer import Trainer


class FourRanks(distributed.Communicator):
    """A communicator that reports four ranks."""

    @property
    def size(self) -> int:
        return 4


@pytest.mark.parametrize(("scaling", "factor"), [("none", 1.0), ("linear", 4.0), ("sqrt", 2.0)])
def test_the_learning_rate_grows_with_the_ranks_within_five_epochs(
    image_folder: Path, scaling: str, factor: float
) -> None:
    run_options = options.Options(data=image_folder, out=image_folder, lr=0.1, lr_scaling=scaling, global_batch=16)
    pair, kind = dataset.list_images(image_folder, "amazon", "dslr")
    images = dataset.read_dataset(pair, kind, dataset.ImageSettings(16), (torch.device("cpu"), 0))
    trainer = Trainer(run_options, images, FourRanks(), print)
    warm_up = 5 * trainer.iterations_per_epoch

    assert trainer.rate(0) == pytest.approx(0.1)
    assert trainer.rate(warm_up) == pytest.approx(0.1 * factor * (1 + 1e-3 * warm_up) ** -0.75)


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
def test_the_launcher_is_detected_by_its_variables(
    variables: dict[str, str], backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HOROVOD_RANK", "HOROVOD_ELASTIC", "RANK", "WORLD_SIZE", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert distributed.detect_launcher() == backend


def test_initial_weights_are_determined_by_the_seed() -> None:
    first, second = (models.build_image_model("small", 5, seed=9).state_dict() for _ in range(2))

    assert all(torch.equal(first[name], second[name]) for name in first)
