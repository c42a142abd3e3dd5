"""Distances between domains, and class confusion: formulas over the rows of one batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

#: Widths of the Gaussian kernels around the mean distance, as in DAN's published code: 2^-2 ... 2^2.
KERNEL_POWERS = (-2, -1, 0, 1, 2)
#: Temperature of the predictions of which the confusion is computed (Jin et al., 2020: their value).
CONFUSION_TEMPERATURE = 2.5


def coral(source: Tensor, target: Tensor) -> Tensor:
    """Return the squared distance of the two covariances, divided by 4 d^2 (Sun and Saenko, 2016, equations 1 to 3).

    :param source: features, (n, d), n at least 2; ``target`` likewise.
    """
    width = source.shape[1]
    return (covariance(source) - covariance(target)).square().sum() / (4 * width * width)


def covariance(rows: Tensor) -> Tensor:
    """Return the covariance between columns, (d, d), of rows (n, d)."""
    centered = rows - rows.mean(dim=0, keepdim=True)
    return centered.T @ centered / (len(rows) - 1)


def mmd(source: Tensor, target: Tensor) -> Tensor:
    """Return the squared maximum mean discrepancy with Gaussian kernels (Long et al., 2015; Gretton et al., 2012).

    The median kernel width is the mean squared distance between rows; no gradient flows through it.

    :param source: features, (n, d); ``target`` (m, d).
    """
    rows = torch.cat([source, target])
    norms = rows.square().sum(dim=1)
    # Rounding can make the smallest distances negative.
    distances = (norms[:, None] + norms[None, :] - 2 * rows @ rows.T).clamp(min=0)
    count = len(rows)
    mean_distance = (distances.detach().sum() / (count * (count - 1))).clamp(min=1e-12)
    kernel = sum(torch.exp(-distances / (mean_distance * 2.0**power)) for power in KERNEL_POWERS) / len(KERNEL_POWERS)
    n = len(source)
    return kernel[:n, :n].mean() + kernel[n:, n:].mean() - 2 * kernel[:n, n:].mean()


def class_confusion(logits: Tensor) -> Tensor:
    """Return the confusion between classes in predictions (Jin et al., 2020, section 3).

    Rows are weighted by 1 + exp(-entropy), as certain predictions show confusion better; no gradient flows through the
    weights, as in the published code. Each class's confusions are divided by their sum, against unequal classes.

    :param logits: of target rows, (n, classes).
    :return: 0 if no row has probability for two classes, up to 1 - 1 / classes for uniform predictions.
    """
    log_probabilities = torch.log_softmax(logits / CONFUSION_TEMPERATURE, dim=1)
    probabilities = log_probabilities.exp()
    entropy = -(probabilities * log_probabilities).sum(dim=1).detach()
    weights = 1 + torch.exp(-entropy)
    weights = len(logits) * weights / weights.sum()
    confusion = probabilities.T @ (weights[:, None] * probabilities)
    confusion = confusion / confusion.sum(dim=1, keepdim=True)
    return 1 - confusion.diagonal().mean()
