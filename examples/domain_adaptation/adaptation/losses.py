"""Losses that pull two domains together.

Every function here sees the rows of the whole global batch; how they come together is :mod:`adaptation.comm`'s matter.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

METHODS = ("none", "coral", "dan", "dann")
#: Weight of the transfer loss where none is asked for.
WEIGHTS = {"none": 0.0, "coral": 10.0, "dan": 3.0, "dann": 0.1}
#: Widths of the Gaussian kernels around the mean distance, as in DAN's published code: 2^-2 ... 2^2.
KERNEL_POWERS = (-2, -1, 0, 1, 2)


def coral(source: Tensor, target: Tensor) -> Tensor:
    """Squared distance of the two covariances, over 4 d^2 (Sun and Saenko, 2016, equations 1 to 3).

    :param source: features, (n, d), n at least 2; ``target`` likewise.
    """
    width = source.shape[1]
    return (covariance(source) - covariance(target)).square().sum() / (4 * width * width)


def covariance(rows: Tensor) -> Tensor:
    """Covariance between columns, (d, d), of rows (n, d)."""
    centred = rows - rows.mean(dim=0, keepdim=True)
    return centred.T @ centred / (len(rows) - 1)


def mmd(source: Tensor, target: Tensor) -> Tensor:
    """Squared maximum mean discrepancy with a mean of Gaussian kernels (Long et al., 2015; Gretton et al., 2012).

    The kernels' middle width is the mean squared distance between rows; no gradient flows through it.

    :param source: features, (n, d); ``target`` (m, d).
    """
    rows = torch.cat([source, target])
    norms = rows.square().sum(dim=1)
    distances = (norms[:, None] + norms[None, :] - 2 * rows @ rows.T).clamp(min=0)
    count = len(rows)
    middle = (distances.detach().sum() / (count * (count - 1))).clamp(min=1e-12)
    kernel = sum(torch.exp(-distances / (middle * 2.0**power)) for power in KERNEL_POWERS) / len(KERNEL_POWERS)
    n = len(source)
    return kernel[:n, :n].mean() + kernel[n:, n:].mean() - 2 * kernel[:n, n:].mean()


def reversed_gradient(values: Tensor, strength: float) -> Tensor:
    """The same values; on the way back the gradient is turned round and scaled (Ganin et al., 2016, section 4.2)."""
    held = values.clone()
    held.register_hook(lambda gradient: gradient * -strength)
    return held


def ramp(iteration: int, length: int) -> float:
    """Strength of the transfer loss in [0, 1): 2 / (1 + exp(-10 p)) - 1 (Ganin et al., 2016, section 5.2).

    :param length: iterations until p is 1; the run may be longer or shorter, so that it can be continued.
    """
    return 2 / (1 + math.exp(-10 * min(1.0, iteration / max(1, length)))) - 1
