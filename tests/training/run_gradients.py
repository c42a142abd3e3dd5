"""Compute one gradient of every loss in double precision on the ranks of the launcher; rank 0 writes them.

run_gradients.py JOB FILE: started by test_rank_parity.py, as one process, under horovodrun and under torchrun.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, sys.argv[1])

from adaptation import batching, distributed, losses
from adaptation.networks import models

#: Odd, so that two ranks have unequal numbers of rows.
ROWS, CLASSES, STRENGTH = 11, 5, 0.7
#: Large enough that the transfer loss dominates the gradient, so that an error in it is visible.
WEIGHTS = {"none": 0.0, "coral": 1e5, "dan": 1e3, "dann": 10.0, "cdan": 10.0, "mcc": 1e4}
PAIRS = 10.0


def gradient(method: str, scope: str, parts: int, ranks: distributed.Communicator, *, pairs: float = 0.0) -> Any:
    """Return the flat gradient of one global batch: of columns if ``pairs`` has a weight, otherwise of images."""
    torch.manual_seed(5)
    shapes = ((25,), (20,), (25,)) if pairs else ((3, 16, 16),) * 3
    source, target, partners = (torch.rand(ROWS, *shape, dtype=torch.float64) for shape in shapes)
    labels = torch.arange(ROWS) % CLASSES
    net = (
        models.build_sensor_model((source, target), CLASSES, seed=3, conditional=method == "cdan")
        if pairs
        else models.build_image_model("small", CLASSES, seed=3, conditional=method == "cdan")
    )
    net.double()["domain"].requires_grad_(method in losses.ADVERSARIAL)
    objective = losses.Objective(method, weight=WEIGHTS[method], scope=scope, pair_weight=pairs)
    start = 0
    for rows in batching.split_evenly(ROWS, parts):
        counts = batching.split_evenly(rows, ranks.size)
        own = torch.from_numpy(batching.rank_slice(np.arange(start, start + rows), counts, ranks.rank))
        part = losses.BatchPart(source[own], labels[own], target[own] + 0.3, counts, ROWS, partners[own])
        losses.loss_shares(net, part, objective, STRENGTH, ranks).total.backward()
        start += rows
    ranks.sum_gradients(net.parameters())
    return torch.cat([value.grad.reshape(-1) for value in net.parameters() if value.grad is not None]).numpy()


def main() -> None:
    """Write the gradients of all methods, of sums in parts, of the rank-local objective, and between two sensors."""
    torch.set_num_threads(1)
    ranks = distributed.connect("auto", cuda=False)
    gradients = {method: gradient(method, "global", 1, ranks) for method in losses.METHODS}
    gradients |= {f"{method}-in-parts": gradient(method, "global", 3, ranks) for method in losses.METHODS}
    gradients |= {f"{method}-local": gradient(method, "local", 1, ranks) for method in losses.MEASURES}
    gradients |= {f"{method}-of-pairs": gradient(method, "global", 1, ranks, pairs=PAIRS) for method in losses.METHODS}
    gradients |= {
        f"{method}-of-pairs-in-parts": gradient(method, "global", 3, ranks, pairs=PAIRS) for method in losses.METHODS
    }
    gradients["other-pairs"] = gradient("none", "global", 1, ranks, pairs=2 * PAIRS)
    if ranks.rank == 0:
        np.savez(Path(sys.argv[2]), backend=ranks.backend, size=ranks.size, **gradients)
    ranks.barrier()
    ranks.close()


if __name__ == "__main__":
    main()
