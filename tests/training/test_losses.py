"""Alignment losses against independent NumPy code."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from adaptation import losses


def test_coral_is_the_distance_of_covariances() -> None:
    rng = np.random.default_rng(1)
    source, target = rng.normal(size=(9, 4)), rng.normal(size=(7, 4)) * 2
    expected = ((np.cov(source.T) - np.cov(target.T)) ** 2).sum() / (4 * 4 * 4)

    assert float(losses.coral(torch.tensor(source), torch.tensor(target))) == pytest.approx(expected, rel=1e-12)


def test_mmd_is_the_mean_of_gaussian_kernels_and_zero_between_equal_rows() -> None:
    rng = np.random.default_rng(1)
    source, target = rng.normal(size=(6, 3)), rng.normal(size=(5, 3)) + 1
    rows = np.concatenate([source, target])
    squares = ((rows[:, None] - rows[None]) ** 2).sum(axis=2)
    mean_distance = squares.sum() / (11 * 10)
    kernel = np.mean([np.exp(-squares / (mean_distance * 2.0**power)) for power in (-2, -1, 0, 1, 2)], axis=0)
    expected = kernel[:6, :6].mean() + kernel[6:, 6:].mean() - 2 * kernel[:6, 6:].mean()

    assert float(losses.mmd(torch.tensor(source), torch.tensor(target))) == pytest.approx(expected, rel=1e-12)
    assert float(losses.mmd(torch.tensor(source), torch.tensor(source))) == pytest.approx(0, abs=1e-12)


def test_a_reversed_gradient_is_negated_and_scaled() -> None:
    values = torch.tensor([1.0, 2.0], requires_grad=True)
    values_out = losses.reverse_gradient(values, 0.25)
    (values_out * torch.tensor([4.0, 8.0])).sum().backward()

    assert values_out.tolist() == [1.0, 2.0]
    assert values.grad.tolist() == [-1.0, -2.0]


def test_the_strength_of_the_transfer_loss_grows_from_zero_to_one() -> None:
    strengths = [losses.ramp_strength(iteration, 100) for iteration in (0, 10, 50, 100, 1000)]

    assert strengths[0] == 0
    assert strengths == sorted(strengths)
    assert strengths[3] == strengths[4] == pytest.approx(1, abs=1e-4)


class OneRank:
    """A communicator of one rank: gathering returns the rank's own rows."""

    size = 1

    def gather_rows(self, rows: torch.Tensor, counts: list[int], name: str) -> torch.Tensor:
        assert counts == [len(rows)], name
        return rows


def nearly_aligned(rows: int = 256, width: int = 64, eps: float = 0.03) -> tuple[torch.Tensor, torch.Tensor]:
    """Return features of two domains, in double precision, that differ by ``eps`` of their spread."""
    rng = np.random.default_rng(3)
    mixing = rng.normal(size=(width, width)) / width**0.5
    source, target = (torch.tensor(rng.normal(size=(rows, width)) @ mixing + 3) for _ in range(2))
    return source, source + eps * (target - target.mean(dim=0))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("method", ["coral", "dan"])
@pytest.mark.parametrize("scope", ["global", "local"])
def test_gradients_under_autocast_are_those_of_double_precision(method: str, scope: str, dtype: torch.dtype) -> None:
    """Within 1% for nearly aligned domains, which differ by less than the rounding of half precision."""
    objective = losses.Objective(method, weight=1.0, scope=scope)
    features = nearly_aligned()
    part = losses.BatchPart(features[0], torch.zeros(0), features[1], counts=[len(features[0])], total=len(features[0]))
    gradients = []
    for precision in (torch.float64, torch.float32):
        source, target = (rows.detach().to(precision).requires_grad_() for rows in features)
        with torch.autocast("cpu", dtype=dtype, enabled=precision is torch.float32):
            transfer, _share = losses.alignment_loss(source, target, part, objective, OneRank())  # type: ignore[arg-type]
        transfer.backward()
        gradients.append(torch.cat([source.grad, target.grad]).double())
    exact, mixed = gradients

    assert float((mixed - exact).norm() / exact.norm()) < 0.01


def test_without_a_method_nothing_is_computed_for_the_target() -> None:
    rows_seen: list[int] = []
    features = torch.nn.Linear(4, 3)
    features.register_forward_hook(lambda _module, inputs, _output: rows_seen.append(len(inputs[0])))
    net = torch.nn.ModuleDict({"features": features, "classifier": torch.nn.Linear(3, 2)})
    part = losses.BatchPart(torch.randn(5, 4), torch.zeros(5, dtype=torch.long), torch.randn(5, 4), [5], total=5)
    shares = losses.loss_shares(net, part, losses.Objective("none", 0.0), 1.0, OneRank())  # type: ignore[arg-type]

    assert rows_seen == [5]
    assert shares.total.item() == pytest.approx(shares.class_loss.item())
    assert float(shares.transfer_loss) == float(shares.pair_loss) == 0
