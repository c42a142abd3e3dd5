"""Losses: classification, feature alignment (DeepCORAL, DAN, DANN) and pairs, as each rank's share of the global batch.

The alignment losses are defined over the rows of the global batch; :mod:`adaptation.distributed` gathers them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from adaptation import models

if TYPE_CHECKING:
    from torch import Tensor

    from adaptation.distributed import Communicator

METHODS = ("none", "coral", "dan", "dann")
#: Weight of the transfer loss where none is asked for.
DEFAULT_WEIGHTS = {"none": 0.0, "coral": 10.0, "dan": 3.0, "dann": 0.1}
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


def reverse_gradient(values: Tensor, strength: float) -> Tensor:
    """The same values; on the way back the gradient is turned round and scaled (Ganin et al., 2016, section 4.2)."""
    held = values.clone()
    held.register_hook(lambda gradient: gradient * -strength)
    return held


def ramp_strength(iteration: int, length: int) -> float:
    """Strength of the transfer loss in [0, 1): 2 / (1 + exp(-10 p)) - 1 (Ganin et al., 2016, section 5.2).

    :param length: iterations until p is 1; the run may be longer or shorter, so that it can be continued.
    """
    return 2 / (1 + math.exp(-10 * min(1.0, iteration / max(1, length)))) - 1


@dataclass(frozen=True)
class Objective:
    """What is minimised.

    :param weight: of the transfer loss.
    :param scope: ``global``: CORAL and MMD over all ranks' rows; ``local``: over each rank's own.
    :param pairs: weight of the distance between what two sensors' encoders make of one column.
    """

    method: str
    weight: float
    scope: str = "global"
    pair_weight: float = 0.0


@dataclass(frozen=True)
class BatchPart:
    """This rank's rows of one part of a batch.

    :param source: (n, ...) numbers; ``labels`` (n,); ``target`` (n, ...).
    :param counts: n of each rank.
    :param total: rows per domain in the whole batch: all ranks, all parts.
    :param partners: what the source's sensor saw of the columns in ``target``, (n, ...).
    """

    source: Tensor
    labels: Tensor
    target: Tensor
    counts: list[int]
    total: int
    paired: Tensor | None = None


@dataclass(frozen=True)
class LossShares:
    """This rank's shares of the loss.

    :param backward: what to call ``backward`` on.
    :param classes: cross entropy, detached; ``transfer`` and ``pairs`` likewise, without their weights.
    """

    total: Tensor
    class_loss: Tensor
    transfer_loss: Tensor
    pair_loss: Tensor


def loss_shares(net: Any, part: BatchPart, goal: Objective, strength: float, comm: Communicator) -> LossShares:
    """The rank's shares of the loss of one part.

    :param strength: of the transfer loss now, in [0, 1] (:func:`adaptation.losses.ramp`).
    """
    source, target = models.domain_features(net, part.source, part.target)
    logits = at_least_float32(net["classifier"](source))
    classes = functional.cross_entropy(logits, part.labels, reduction="sum") / part.total
    pairs = pair_loss(net, part, target) / part.total if goal.pair_weight else torch.zeros_like(classes)
    known = classes + goal.pair_weight * pairs
    classes, pairs = classes.detach(), pairs.detach()
    if goal.method == "none":
        return LossShares(known, classes, torch.zeros_like(classes), pairs)
    if goal.method == "dann":
        transfer = domain_loss(net, source, target, strength) / part.total
        # The strength sits in the reversal: the domain head itself always learns at full rate.
        return LossShares(known + goal.weight * transfer, classes, transfer.detach(), pairs)
    measure = coral if goal.method == "coral" else mmd
    source, target = at_least_float32(source), at_least_float32(target)
    if goal.scope == "local":
        transfer = measure(source, target) * (len(source) / part.total)
        value = transfer.detach()
    else:
        both = comm.gather_rows(torch.cat([source, target], dim=1), part.counts, "features")
        transfer = measure(*both.split(source.shape[1], dim=1)) * (sum(part.counts) / part.total)
        # Every rank holds the whole of it.
        value = transfer.detach() / comm.size
    return LossShares(known + goal.weight * strength * transfer, classes, value, pairs)


def pair_loss(net: Any, part: BatchPart, target: Tensor) -> Tensor:
    """Sum over columns of the mean squared difference between the two sensors' features."""
    partners = net["features"](part.paired)
    return (at_least_float32(target) - at_least_float32(partners)).square().mean(dim=1).sum()


def domain_loss(net: Any, source: Tensor, target: Tensor, strength: float) -> Tensor:
    """Sum over images of half the domain head's cross entropy; features get its gradient turned round."""
    rows = reverse_gradient(torch.cat([source, target]), strength)
    logits = at_least_float32(net["domain"](rows)).squeeze(1)
    truth = torch.cat([torch.ones_like(logits[: len(source)]), torch.zeros_like(logits[len(source) :])])
    return functional.binary_cross_entropy_with_logits(logits, truth, reduction="sum") / 2


def at_least_float32(values: Tensor) -> Tensor:
    """Half precision is for layers; losses are computed in single precision or better."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
