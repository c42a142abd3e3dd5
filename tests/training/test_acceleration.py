"""Settings for speed on a CPU: the same training, whatever they are."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torch._dynamo.utils
from adaptation import acceleration, distributed
from adaptation.options import Options

from tests.support.examples.training_runs import train_here


class CountedSums(distributed.Communicator):
    """Two ranks with the same gradients, which notes the size of each message."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    @property
    def size(self) -> int:
        return 2

    def sum(self, values: torch.Tensor, _name: str) -> torch.Tensor:
        self.sizes.append(len(values))
        return 2 * values


def test_gradients_are_summed_bucket_by_bucket_during_the_backward_pass() -> None:
    """The last layer first; a layer without gradient counts as zero, and messages do not differ."""
    net = torch.nn.Sequential(torch.nn.Linear(8, 8, bias=False), torch.nn.Linear(8, 4, bias=False))
    unused = torch.nn.Linear(8, 1, bias=False)
    buckets = acceleration.GradientBuckets([*net.parameters(), *unused.parameters()], bucket_bytes=1)
    comm = CountedSums()
    net(torch.ones(2, 8)).sum().backward()
    alone = [value.grad.clone() for value in net.parameters()]
    assert comm.sizes == [], "only the last part of a batch is summed"

    net.zero_grad()
    buckets.begin(comm)
    net(torch.ones(2, 8)).sum().backward()
    buckets.finish()
    assert comm.sizes == [8, 32, 64]
    assert all(torch.equal(value.grad, 2 * before) for value, before in zip(net.parameters(), alone, strict=True))
    assert torch.equal(unused.weight.grad, torch.zeros(1, 8))


def test_channels_last_follows_the_plain_run(image_folder: Path, tmp_path: Path) -> None:
    args = ["--method", "dann", "--iters", "6"]
    plain = train_here(image_folder, tmp_path / "plain", *args)
    fast = train_here(image_folder, tmp_path / "fast", *args, "--channels-last", "--tf32")

    for name in ("class_loss", "transfer_loss"):
        np.testing.assert_allclose(fast["final"][name], plain["final"][name], rtol=1e-3)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="no g++ here (CI installs it)")
def test_a_compiled_network_keeps_its_names_and_values() -> None:
    net = torch.nn.ModuleDict({"features": torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU())})
    names, rows = set(net.state_dict()), torch.randn(5, 4)
    expected = net["features"](rows)
    torch._dynamo.utils.counters.clear()
    options = Options(data=Path(), out=Path(), compile=True)
    compiled = acceleration.prepare_network(net, options, torch.device("cpu"))

    torch.testing.assert_close(compiled["features"](rows), expected)
    assert set(compiled.state_dict()) == names
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
