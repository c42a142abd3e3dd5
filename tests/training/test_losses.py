"""Alignment losses against independent NumPy code."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from adaptation import alignment, losses
from adaptation.networks import models


def test_coral_is_the_distance_of_covariances() -> None:
    rng = np.random.default_rng(1)
    source, target = rng.normal(size=(9, 4)), rng.normal(size=(7, 4)) * 2
    expected = ((np.cov(source.T) - np.cov(target.T)) ** 2).sum() / (4 * 4 * 4)

    assert float(alignment.coral(torch.tensor(source), torch.tensor(target))) == pytest.approx(expected, rel=1e-12)


def test_mmd_is_the_mean_of_gaussian_kernels_and_zero_between_equal_rows() -> None:
    rng = np.random.default_rng(1)
    source, target = rng.normal(size=(6, 3)), rng.normal(size=(5, 3)) + 1
    rows = np.concatenate([source, target])
    squares = ((rows[:, None] - rows[None]) ** 2).sum(axis=2)
    mean_distance = squares.sum() / (11 * 10)
    kernel = np.mean([np.exp(-squares / (mean_distance * 2.0**power)) for power in (-2, -1, 0, 1, 2)], axis=0)
    expected = kernel[:6, :6].mean() + kernel[6:, 6:].mean() - 2 * kernel[:6, 6:].mean()

    assert float(alignment.mmd(torch.tensor(source), torch.tensor(target))) == pytest.approx(expected, rel=1e-12)
    assert float(alignment.mmd(torch.tensor(source), torch.tensor(source))) == pytest.approx(0, abs=1e-12)


def test_class_confusion_is_that_of_the_published_formula() -> None:
    logits = np.random.default_rng(1).normal(size=(7, 4)) * 3
    rows = np.exp(logits / 2.5)
    rows /= rows.sum(axis=1, keepdims=True)
    weights = 1 + np.exp((rows * np.log(rows)).sum(axis=1))
    confusion = rows.T @ np.diag(7 * weights / weights.sum()) @ rows
    confusion /= confusion.sum(axis=1, keepdims=True)
    expected = (confusion.sum() - np.trace(confusion)) / 4

    assert float(alignment.class_confusion(torch.tensor(logits))) == pytest.approx(expected, rel=1e-12)
    assert float(alignment.class_confusion(torch.zeros(5, 4))) == pytest.approx(0.75), "uniform predictions"
    assert float(alignment.class_confusion(torch.eye(4) * 1000)) == pytest.approx(0, abs=1e-6), "certain predictions"


def finite_differences(function: Callable[[torch.Tensor], torch.Tensor], at: torch.Tensor) -> torch.Tensor:
    """Return the central differences of a function with a scalar value."""
    step = 1e-6
    flat = at.detach().reshape(-1)
    values = []
    for index in range(len(flat)):
        ends = []
        for sign in (1, -1):
            moved = flat.clone()
            moved[index] += sign * step
            ends.append(float(function(moved.view_as(at)).detach()))
        values.append((ends[0] - ends[1]) / (2 * step))
    return torch.tensor(values, dtype=at.dtype).view_as(at)


def entropy_weights(logits: torch.Tensor) -> torch.Tensor:
    """Return the weights of the rows in :func:`alignment.class_confusion`, which have no gradient."""
    rows = torch.softmax(logits / 2.5, dim=1)
    weights = 1 + torch.exp((rows * rows.log()).sum(dim=1))
    return len(logits) * weights / weights.sum()


def test_the_gradient_of_class_confusion_is_that_of_finite_differences() -> None:
    logits = torch.tensor(np.random.default_rng(2).normal(size=(6, 3)) * 2, requires_grad=True)
    weights = entropy_weights(logits.detach())

    def value(moved: torch.Tensor) -> torch.Tensor:
        rows = torch.softmax(moved / 2.5, dim=1)
        confusion = rows.T @ (weights[:, None] * rows)
        return 1 - (confusion / confusion.sum(dim=1, keepdim=True)).diagonal().mean()

    alignment.class_confusion(logits).backward()

    torch.testing.assert_close(logits.grad, finite_differences(value, logits), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("method", ["dann", "cdan"])
def test_the_domain_head_learns_at_full_rate_and_features_at_the_weight_reversed(method: str) -> None:
    """Compared with finite differences of the domain loss; the predictions that CDAN uses are constant in it."""
    weight, strength = 0.1, 0.5
    torch.manual_seed(4)
    heads = models.build_heads(5, 3, conditional=method == "cdan")
    net = torch.nn.ModuleDict({"features": torch.nn.Identity(), **heads}).double()
    source, target = (torch.randn(4, 5, dtype=torch.float64, requires_grad=True) for _ in range(2))
    part = losses.BatchPart(source, torch.zeros(4, dtype=torch.long), target, [4], total=4)
    predicted = torch.softmax(net["classifier"](torch.cat([source, target])), dim=1).detach()

    def domain_loss(rows: torch.Tensor) -> torch.Tensor:
        inputs = torch.einsum("nc,nf->ncf", predicted, rows).reshape(8, -1) if method == "cdan" else rows
        truth = torch.cat([torch.ones(4), torch.zeros(4)]).double()
        chances = torch.sigmoid(net["domain"](inputs).squeeze(1))
        return -(truth * chances.log() + (1 - truth) * (1 - chances).log()).mean()

    shares = losses.loss_shares(net, part, losses.Objective(method, weight), strength, OneRank())  # type: ignore[arg-type]
    shares.total.backward()
    rows = torch.cat([source, target]).detach()
    expected = finite_differences(domain_loss, rows)
    last = net["domain"][2].weight
    head = torch.autograd.grad(domain_loss(rows), last)[0]

    assert float(shares.transfer_loss) == pytest.approx(float(domain_loss(rows).detach()), rel=1e-12)
    torch.testing.assert_close(target.grad, -weight * strength * expected[4:], rtol=1e-5, atol=1e-9)
    torch.testing.assert_close(last.grad, head, rtol=1e-12, atol=0)


def test_many_products_of_features_and_classes_are_random_ones() -> None:
    """Their scalar products are those of the full products, on average (Long et al., 2018)."""
    torch.manual_seed(1)
    condition = models.Condition(256, 31)
    features, probabilities = torch.rand(8, 256), torch.softmax(3 * torch.randn(8, 31), dim=1)
    full = (probabilities[:, :, None] * features[:, None, :]).flatten(1)
    products = condition(features, probabilities)

    assert products.shape == (8, 1024)
    assert models.Condition(64, 31).width == 64 * 31
    assert float(torch.corrcoef(torch.stack([(products @ products.T).ravel(), (full @ full.T).ravel()]))[0, 1]) > 0.9


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
@pytest.mark.parametrize("method", ["coral", "dan", "mcc"])
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
        gradients.append(torch.cat([rows.grad for rows in (source, target) if rows.grad is not None]).double())
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
