"""ResNets under torchvision's names, read from a file of weights."""

from __future__ import annotations

from math import prod
from pathlib import Path

import pytest
import torch
from adaptation import dataset, distributed, options
from adaptation.networks import models, resnet
from adaptation.trainer import Trainer

from tests.support.examples.training_runs import refusal, train_here

#: Blocks of each layer, convolutions (name, kernel) of a block, and by how much its last one is wider.
PUBLISHED = {"resnet18": ((2, 2, 2, 2), (3, 3), 1), "resnet50": ((3, 4, 6, 3), (1, 3, 1), 4)}


def published_layout(name: str) -> dict[str, tuple[int, ...]]:
    """Return names and shapes of torchvision's state dict of a ResNet."""
    counts, kernels, widening = PUBLISHED[name]
    layout: dict[str, tuple[int, ...]] = {"conv1.weight": (64, 3, 7, 7)} | normalization("bn1", 64)
    channels = 64
    for layer, (count, width) in enumerate(zip(counts, (64, 128, 256, 512), strict=True), 1):
        for block in range(count):
            prefix, inputs = f"layer{layer}.{block}", channels
            for number, kernel in enumerate(kernels, 1):
                outputs = width * (widening if number == len(kernels) else 1)
                layout[f"{prefix}.conv{number}.weight"] = (outputs, inputs, kernel, kernel)
                layout |= normalization(f"{prefix}.bn{number}", outputs)
                inputs = outputs
            if block == 0 and (layer > 1 or inputs != channels):
                layout[f"{prefix}.downsample.0.weight"] = (inputs, channels, 1, 1)
                layout |= normalization(f"{prefix}.downsample.1", inputs)
            channels = inputs
    return layout | {"fc.weight": (1000, channels), "fc.bias": (1000,)}


def normalization(prefix: str, channels: int) -> dict[str, tuple[int, ...]]:
    """Return names and shapes of a batch normalization."""
    names = ("weight", "bias", "running_mean", "running_var")
    return {f"{prefix}.{name}": (channels,) for name in names} | {f"{prefix}.num_batches_tracked": ()}


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of weights for ResNet-18, random but for its names and shapes."""
    generator = torch.Generator().manual_seed(1)
    state = {}
    for name, shape in published_layout("resnet18").items():
        if len(shape) > 1:
            state[name] = torch.randn(shape, generator=generator) * (2 / prod(shape[1:])) ** 0.5
        else:
            # Small weights in the last normalization of a block keep the sum of many blocks finite.
            state[name] = torch.full(shape, 0.3 if name.endswith("weight") else float(name.endswith("running_var")))
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(state, path)
    return path


@pytest.mark.parametrize(
    ("name", "entries", "parameters"), [("resnet18", 122, 11_689_512), ("resnet50", 320, 25_557_032)]
)
def test_names_and_shapes_are_those_of_the_published_state_dicts(name: str, entries: int, parameters: int) -> None:
    """Numbers of entries and parameters are those that torchvision documents."""
    layout = published_layout(name)
    trained = [shape for key, shape in layout.items() if not key.endswith(("mean", "var", "tracked"))]
    with torch.device("meta"):
        net = resnet.ResNet(name)

    assert (len(layout), sum(map(prod, trained))) == (entries, parameters)
    expected = {key: shape for key, shape in layout.items() if not key.startswith("fc.")}
    assert {key: tuple(value.shape) for key, value in net.state_dict().items()} == expected
    assert net(torch.zeros(2, 3, 64, 64, device="meta")).shape == (2, layout["fc.weight"][1])


def test_a_network_starts_from_the_file_and_its_backbone_learns_at_a_tenth_of_the_rate(
    weights: Path, image_folder: Path
) -> None:
    pair, kind = dataset.list_images(image_folder, "amazon", "dslr")
    images = dataset.read_dataset(pair, kind, dataset.ImageSettings(32), (torch.device("cpu"), 0))
    run_options = options.Options(
        data=image_folder, out=image_folder, net="resnet18", weights=weights, method="none", lr=0.01, global_batch=4
    )
    trainer = Trainer(run_options, images, distributed.Communicator(), print)
    backbone, saved = trainer.net["features"][0], torch.load(weights, weights_only=True)
    assert all(torch.equal(value, saved[name]) for name, value in backbone.state_dict().items())

    trainer.step(0)
    after = backbone.state_dict()
    assert [group["lr"] for group in trainer.optimizer.param_groups] == pytest.approx([0.001, 0.01])
    assert not torch.equal(after["layer4.1.conv2.weight"], saved["layer4.1.conv2.weight"])
    assert torch.equal(after["layer4.1.bn2.running_mean"], saved["layer4.1.bn2.running_mean"]), "frozen"


def test_a_resnet_is_trained_and_resumed(weights: Path, image_folder: Path, tmp_path: Path) -> None:
    args = ["--net", "resnet18", "--weights", str(weights), "--method", "cdan", "--validation", "0"]
    train_here(image_folder, tmp_path / "parts", *args, "--iters", "1")
    resumed = train_here(image_folder, tmp_path / "parts", *args, "--iters", "2", "--resume")
    whole = train_here(image_folder, tmp_path / "whole", *args, "--iters", "2")

    assert resumed["weights_sha256"] == whole["weights_sha256"]


def test_unusable_weights_are_one_line(
    weights: Path, image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def line(*args: str) -> str:
        return refusal(capsys, "--data", str(image_folder), "--out", str(tmp_path), "--iters", "1", *args)

    rubbish, older = tmp_path / "rubbish.pth", tmp_path / "older.pth"
    rubbish.write_bytes(b"rubbish")
    torch.save({"net": {"conv1.weight": torch.zeros(1)}}, older)

    assert "--net resnet50 needs pretrained weights: --weights FILE" in line("--net", "resnet50")
    assert f"--weights {tmp_path / 'none'}: no such file" in line(
        "--net", "resnet18", "--weights", str(tmp_path / "none")
    )
    assert "--weights is for --net" in line("--weights", str(weights))
    assert f"{rubbish}: not a file of weights" in line("--net", "resnet18", "--weights", str(rubbish))
    assert f"{older}: not a state dict" in line("--net", "resnet18", "--weights", str(older))
    message = line("--net", "resnet50", "--weights", str(weights))
    assert "not resnet50 in torchvision's layout: layer1.0.bn3.bias is missing, expected (256,)" in message


def test_weights_without_counts_of_batches_are_read(weights: Path, tmp_path: Path) -> None:
    """As in files from before PyTorch 0.4.1."""
    state = torch.load(weights, weights_only=True)
    path = tmp_path / "old.pth"
    torch.save({name: value for name, value in state.items() if not name.endswith("tracked")}, path)
    nets = [models.build_image_model("resnet18", 5, seed=1, weights=file) for file in (weights, path)]

    first, second = (net["features"][0].state_dict() for net in nets)
    assert all(torch.equal(first[name], second[name]) for name in first)
