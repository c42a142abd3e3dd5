"""The same training on one process and on many, over Horovod and over torchrun."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.training import launch

for needed in launch.NEEDED:
    pytest.importorskip(needed, reason="tests of training: scripts/test-training")

import numpy as np  # noqa: E402
import torch  # noqa: E402
from adaptation import losses  # noqa: E402
from generators import synthetic_images  # noqa: E402

pytestmark = pytest.mark.slow

WORDS = ("--method", "coral", "--epochs", "3", "--global-batch", "32", "--checkpoint-every", "5", "--seed", "4")
#: Single precision, 3 epochs: convolutions over 32 and over 16 images sum in another order.
CURVE = 2e-3


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small synthetic data set."""
    folder = tmp_path_factory.mktemp("images")
    synthetic_images.write_domains(folder, seed=2, size=16, share=0.06)
    return folder


@pytest.fixture(scope="module")
def gradients(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Every loss's gradient by each backend."""
    folder = tmp_path_factory.mktemp("gradients")
    for backend in launch.LAUNCHERS:
        script = Path(__file__).with_name("gradients.py")
        launch.launched(backend, script, str(launch.JOB), str(folder / f"{backend}.npz"))
    return {backend: dict(np.load(folder / f"{backend}.npz")) for backend in launch.LAUNCHERS}


@pytest.fixture(scope="module")
def runs(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The same training by each backend: folder -> metrics."""
    top = tmp_path_factory.mktemp("runs")
    metrics = {backend: launch.train(backend, data, top / backend, WORDS) for backend in launch.LAUNCHERS}
    return {"folder": top, **metrics}


def distance(one: Any, other: Any) -> float:
    """Relative, in the largest component."""
    return float(np.abs(one - other).max() / np.abs(other).max())


@pytest.mark.parametrize("backend", ["horovod", "ddp"])
@pytest.mark.parametrize("method", losses.METHODS)
def test_two_ranks_have_the_gradient_of_one_process(gradients: dict[str, Any], backend: str, method: str) -> None:
    found, alone = gradients[backend], gradients["none"]

    assert (str(found["backend"]), int(found["size"]), int(alone["size"])) == (backend, 2, 1)
    assert distance(found[method], alone[method]) < 1e-12
    assert distance(found[f"{method}-in-parts"], alone[f"{method}-in-parts"]) < 1e-12


@pytest.mark.parametrize("backend", ["horovod", "ddp"])
@pytest.mark.parametrize("method", losses.METHODS)
def test_two_ranks_have_the_gradient_of_one_process_between_two_sensors(
    gradients: dict[str, Any], backend: str, method: str
) -> None:
    found, alone = gradients[backend], gradients["none"]

    for name in (f"{method}-of-pairs", f"{method}-of-pairs-in-parts"):
        assert distance(found[name], alone[name]) < 1e-12
    assert distance(alone["other-pairs"], alone["none-of-pairs"]) > 0.01, "pairs would not be noticed"


@pytest.mark.parametrize("method", ["coral", "dan"])
def test_rank_local_losses_are_another_objective(gradients: dict[str, Any], method: str) -> None:
    """Also shows that the comparison above would notice."""
    assert distance(gradients["horovod"][f"{method}-local"], gradients["none"][method]) > 0.01


@pytest.mark.parametrize("method", ["none", "dann"])
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


def test_a_run_goes_on_under_another_launcher_with_the_same_bits(runs: dict[str, Any], data: Path) -> None:
    out = runs["folder"] / "resumed"
    half = [word if word != "3" else "1" for word in WORDS]
    first = launch.train("ddp", data, out, half)
    whole = launch.train("horovod", data, out, [*WORDS, "--resume"])

    assert len(first["history"]) == 1
    assert whole["history"] == runs["horovod"]["history"]
    assert whole["weights_sha256"] == runs["horovod"]["weights_sha256"]


def test_results_say_what_they_are(runs: dict[str, Any]) -> None:
    out = runs["folder"] / "horovod"
    found = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    best = torch.load(out / "best.pt", weights_only=True)

    assert found["data"]["kind"] == "synthetic"
    assert "synthetic images" in found["headline"]
    assert {"torch", "horovod", "python", "numpy"} <= found["run"]["versions"].keys()
    assert best["epoch"] == found["best"]["epoch"]
    assert best["source_accuracy"] == max(row["source_accuracy"] for row in found["history"])
    assert "target labels have no part" in found["best"]["chosen_by"]
    assert (out / "curves.png").stat().st_size > 10_000
