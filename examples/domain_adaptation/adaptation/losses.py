"""Losses: classification, alignment (:data:`METHODS`) and pairs, as each rank's share of the global batch.

The losses of :mod:`adaptation.alignment` are defined over the rows of the global batch; :mod:`adaptation.distributed`
gathers them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from adaptation import alignment
from adaptation.networks import models

if TYPE_CHECKING:
    from torch import Tensor

    from adaptation.distributed import Communicator

METHODS = ("none", "coral", "dan", "dann", "cdan", "mcc")
#: Methods with a domain classifier.
ADVERSARIAL = ("dann", "cdan")
#: Default weight of the transfer loss, by method.
DEFAULT_WEIGHTS = {"none": 0.0, "coral": 10.0, "dan": 3.0, "dann": 0.3, "cdan": 0.1, "mcc": 1.0}
#: Losses over all rows of a batch, which are not sums over rows.
MEASURES: dict[str, Callable[..., Tensor]] = {
    "coral": alignment.coral,
    "dan": alignment.mmd,
    "mcc": alignment.class_confusion,
}


def reverse_gradient(values: Tensor, strength: float) -> Tensor:
    """Return the same values, with a gradient that is negated and scaled (Ganin et al., 2016, section 4.2)."""
    copy = values.clone()
    copy.register_hook(lambda gradient: gradient * -strength)
    return copy


def ramp_strength(iteration: int, length: int) -> float:
    """Return the strength of the transfer loss in [0, 1): 2 / (1 + exp(-10 p)) - 1 (Ganin et al., 2016, section 5.2).

    :param length: iterations until p is 1. It is independent of the length of the run, so that a run can be extended.
    """
    return 2 / (1 + math.exp(-10 * min(1.0, iteration / max(1, length)))) - 1


@dataclass(frozen=True)
class Objective:
    """The loss to minimize.

    :param weight: of the transfer loss.
    :param scope: ``global``: CORAL, MMD, class confusion over the rows of all ranks; ``local``: over each rank's own.
    :param pair_weight: of the distance between the features of two sensors for the same column.
    """

    method: str
    weight: float
    scope: str = "global"
    pair_weight: float = 0.0

    @property
    def uses_target(self) -> bool:
        """True if the loss depends on rows of the target."""
        return self.method != "none" or self.pair_weight > 0


@dataclass(frozen=True)
class BatchPart:
    """This rank's rows of one part of a batch.

    :param source: (n, ...) numbers; ``labels`` (n,); ``target`` (n, ...).
    :param counts: n of each rank.
    :param total: rows per domain in the whole batch: all ranks, all parts.
    :param paired: the columns of ``target`` as observed by the source's sensor, (n, ...).
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

    :param total: the weighted sum, to call ``backward`` on.
    :param class_loss: cross entropy, detached; ``transfer_loss`` and ``pair_loss`` likewise, without their weights.
    """

    total: Tensor
    class_loss: Tensor
    transfer_loss: Tensor
    pair_loss: Tensor


def loss_shares(net: Any, part: BatchPart, objective: Objective, strength: float, comm: Communicator) -> LossShares:
    """Return the rank's shares of the loss of one part; the shares of all ranks add up to the loss.

    :param strength: of the transfer loss, in [0, 1] (:func:`ramp_strength`).
    """
    if not objective.uses_target:
        loss = class_loss(net, net["features"](part.source), part)
        return LossShares(loss, loss.detach(), torch.zeros_like(loss.detach()), torch.zeros_like(loss.detach()))
    source, target = models.domain_features(net, part.source, part.target)
    classes = class_loss(net, source, part)
    pairs = pair_loss(net, part, target) / part.total if objective.pair_weight else torch.zeros_like(classes)
    supervised = classes + objective.pair_weight * pairs
    classes, pairs = classes.detach(), pairs.detach()
    if objective.method == "none":
        return LossShares(supervised, classes, torch.zeros_like(classes), pairs)
    if objective.method in ADVERSARIAL:
        # Weight and strength scale the reversed gradient only; the domain head is always trained at full rate.
        transfer = domain_loss(net, source, target, objective.weight * strength) / part.total
        return LossShares(supervised + transfer, classes, transfer.detach(), pairs)
    if objective.method == "mcc":
        target = net["classifier"](target)
    transfer, share = alignment_loss(source, target, part, objective, comm)
    return LossShares(supervised + objective.weight * strength * transfer, classes, share, pairs)


def class_loss(net: Any, source: Tensor, part: BatchPart) -> Tensor:
    """Return this rank's share of the cross entropy of the source's labels."""
    logits = at_least_float32(net["classifier"](source))
    return functional.cross_entropy(logits, part.labels, reduction="sum") / part.total


def alignment_loss(
    source: Tensor, target: Tensor, part: BatchPart, objective: Objective, comm: Communicator
) -> tuple[Tensor, Tensor]:
    """Return a loss over all rows to differentiate, and this rank's share of its value, detached.

    :param target: features; logits for ``mcc``, which does not use ``source``.
    """
    # Autocast would compute the matrix products in half precision again: between nearly aligned domains their
    # difference is smaller than its rounding.
    with torch.autocast(target.device.type, enabled=False):
        rows = [at_least_float32(target)]
        if objective.method != "mcc":
            rows.insert(0, at_least_float32(source))
        if objective.scope == "local":
            transfer = MEASURES[objective.method](*rows) * (len(target) / part.total)
            return transfer, transfer.detach()
        gathered = comm.gather_rows(torch.cat(rows, dim=1), part.counts, "features")
        measured = MEASURES[objective.method](*gathered.split(target.shape[1], dim=1))
        transfer = measured * (sum(part.counts) / part.total)
    # Every rank computes the whole loss, so each reports an equal share.
    return transfer, transfer.detach() / comm.size


def pair_loss(net: Any, part: BatchPart, target: Tensor) -> Tensor:
    """Return the sum over columns of the mean squared difference between the features of both sensors."""
    paired_features = net["features"](part.paired)
    return (at_least_float32(target) - at_least_float32(paired_features)).square().mean(dim=1).sum()


def domain_loss(net: Any, source: Tensor, target: Tensor, strength: float) -> Tensor:
    """Return the sum over rows of half the domain head's cross entropy, with reversed gradient to the features.

    The head's input is the features (DANN), or their products with the predicted probabilities of the classes (CDAN,
    Long et al., 2018), through which no gradient flows to the classifier, as in the published code.
    """
    features = torch.cat([source, target])
    rows = reverse_gradient(features, strength)
    if "condition" in net:
        probabilities = torch.softmax(at_least_float32(net["classifier"](features.detach())), dim=1).detach()
        rows = net["condition"](rows, probabilities)
    logits = at_least_float32(net["domain"](rows)).squeeze(1)
    truth = torch.cat([torch.ones_like(logits[: len(source)]), torch.zeros_like(logits[len(source) :])])
    return functional.binary_cross_entropy_with_logits(logits, truth, reduction="sum") / 2


def at_least_float32(values: Tensor) -> Tensor:
    """Return values in single precision or better: half precision is for layers, not for losses."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
