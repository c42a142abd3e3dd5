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
