"""The same training on one process and on many, over Horovod and over torchrun."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from adaptation import losses

from tests.support.examples.training_runs import JOB, LAUNCHERS, launch, train_with

pytestmark = pytest.mark.slow

ARGS = ("--method", "coral", "--epochs", "3", "--global-batch", "32", "--checkpoint-every", "5", "--seed", "4")
#: Single precision, 3 epochs: convolutions over 32 and over 16 images sum in another order.
CURVE = 2e-3


@pytest.fixture(scope="module")
def gradients(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The gradient of every loss by each backend."""
    folder = tmp_path_factory.mktemp("gradients")
    for backend in LAUNCHERS:
        script = Path(__file__).with_name("run_gradients.py")
        launch(backend, script, str(JOB), str(folder / f"{backend}.npz"))
    return {backend: dict(np.load(folder / f"{backend}.npz")) for backend in LAUNCHERS}


@pytest.fixture(scope="module")
def runs(image_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The same training by each backend: folder -> metrics."""
    folder = tmp_path_factory.mktemp("runs")
    metrics = {backend: train_with(backend, image_folder, folder / backend, ARGS) for backend in LAUNCHERS}
    return {"folder": folder, **metrics}


def distance(actual: Any, expected: Any) -> float:
    """Return the largest difference relative to the largest component."""
    return float(np.abs(actual - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("backend", ["horovod", "ddp"])
@pytest.mark.parametrize("method", losses.METHODS)
def test_two_ranks_have_the_gradient_of_one_process(gradients: dict[str, Any], backend: str, method: str) -> None:
    two_ranks, one_process = gradients[backend], gradients["none"]

    assert (str(two_ranks["backend"]), int(two_ranks["size"]), int(one_process["size"])) == (backend, 2, 1)
    assert distance(two_ranks[method], one_process[method]) < 1e-12
    assert distance(two_ranks[f"{method}-in-parts"], one_process[f"{method}-in-parts"]) < 1e-12


@pytest.mark.parametrize("backend", ["horovod", "ddp"])
@pytest.mark.parametrize("method", losses.METHODS)
def test_two_ranks_have_the_gradient_of_one_process_between_two_sensors(
    gradients: dict[str, Any], backend: str, method: str
) -> None:
    two_ranks, one_process = gradients[backend], gradients["none"]

    for name in (f"{method}-of-pairs", f"{method}-of-pairs-in-parts"):
        assert distance(two_ranks[name], one_process[name]) < 1e-12
    assert distance(one_process["other-pairs"], one_process["none-of-pairs"]) > 0.01, (
        "the comparison is insensitive to pairs"
    )


@pytest.mark.parametrize("method", losses.MEASURES)
def test_rank_local_losses_are_another_objective(gradients: dict[str, Any], method: str) -> None:
    """This also shows that the comparison above is sensitive."""
    assert distance(gradients["horovod"][f"{method}-local"], gradients["none"][method]) > 0.01


@pytest.mark.parametrize("method", ["none", *losses.ADVERSARIAL])
def test_sums_over_images_do_not_depend_on_the_parts_of_a_batch(gradients: dict[str, Any], method: str) -> None:
    assert distance(gradients["none"][f"{method}-in-parts"], gradients["none"][method]) < 1e-12


@pytest.mark.parametrize("backend", ["horovod", "ddp"])
def test_ranks_end_with_the_same_bits(runs: dict[str, Any], backend: str) -> None:
    assert runs[backend]["ranks_agree"] is True
    assert (runs[backend]["run"]["backend"], runs[backend]["run"]["size"]) == (backend, 2)


def test_horovod_and_torchrun_end_with_the_same_bits(runs: dict[str, Any]) -> None:
    assert runs["horovod"]["weights_sha256"] == runs["ddp"]["weights_sha256"]
    assert runs["horovod"]["history"] == runs["ddp"]["history"]


@pytest.mark.parametrize("backend", ["horovod", "ddp"])
def test_two_ranks_follow_the_curve_of_one_process(runs: dict[str, Any], backend: str) -> None:
    curves = [
        [(row["class_loss"], row["transfer_loss"]) for row in runs[name]["history"]] for name in ("none", backend)
    ]

    assert len(curves[0]) == 3
    np.testing.assert_allclose(curves[1], curves[0], rtol=CURVE, atol=1e-6)


def test_a_run_resumed_under_another_launcher_has_the_same_bits(runs: dict[str, Any], image_folder: Path) -> None:
    out = runs["folder"] / "resumed"
    one_epoch = [word if word != "3" else "1" for word in ARGS]
    first = train_with("ddp", image_folder, out, one_epoch)
    whole = train_with("horovod", image_folder, out, [*ARGS, "--resume"])

    assert len(first["history"]) == 1
    assert whole["history"] == runs["horovod"]["history"]
    assert whole["weights_sha256"] == runs["horovod"]["weights_sha256"]


@pytest.mark.parametrize("backend", ["horovod", "ddp"])
def test_gradients_summed_during_the_backward_pass_have_the_same_bits(
    runs: dict[str, Any], image_folder: Path, backend: str
) -> None:
    overlapping = train_with(backend, image_folder, runs["folder"] / f"{backend}-overlap", [*ARGS, "--overlap"])

    assert overlapping["weights_sha256"] == runs[backend]["weights_sha256"]
    assert overlapping["history"] == runs[backend]["history"]


def test_results_describe_their_data_and_environment(runs: dict[str, Any]) -> None:
    out = runs["folder"] / "horovod"
    metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    best = torch.load(out / "best.pt", weights_only=True)

    assert metrics["data"]["kind"] == "synthetic"
    assert "synthetic images" in metrics["headline"]
    assert {"torch", "horovod", "python", "numpy"} <= metrics["run"]["versions"].keys()
    assert best["epoch"] == metrics["best"]["epoch"]
    assert best["source_accuracy"] == max(row["source_accuracy"] for row in metrics["history"])
    assert "target labels are not used" in metrics["best"]["chosen_by"]
    assert (out / "curves.png").stat().st_size > 10_000
