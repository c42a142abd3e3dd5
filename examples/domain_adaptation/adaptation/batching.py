"""The rows of each batch, as a pure function of the seed and the iteration.

There is no sampler state, so any number of ranks uses the same global batches, and a resumed run continues with the
batches of the original run, also on fewer or more ranks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


class BatchStream:
    """Passes over ``count`` rows, one after another, each in its own random order.

    :param seed: numbers that distinguish this stream from others.
    """

    def __init__(self, count: int, *seed: int) -> None:
        self._count, self._seed = count, seed
        self._held: dict[int, Indices] = {}

    def batch(self, iteration: int, size: int) -> Indices:
        """Return the row indices of one global batch, (size,); a batch may extend into the next pass."""
        passes, positions = np.divmod(np.arange(iteration * size, (iteration + 1) * size), self._count)
        return np.concatenate([self._pass(int(number))[positions[passes == number]] for number in np.unique(passes)])

    def _pass(self, number: int) -> Indices:
        if number not in self._held:
            # A batch spans at most two passes unless it is larger than a pass; older permutations are dropped.
            self._held = {key: value for key, value in self._held.items() if key >= number - 1}
            self._held[number] = np.random.default_rng([*self._seed, number]).permutation(self._count)
        return self._held[number]


def split_evenly(rows: int, size: int) -> list[int]:
    """Divide ``rows`` among ``size`` ranks; the first ranks get one more if the division has a remainder."""
    quotient, remainder = divmod(rows, size)
    return [quotient + (rank < remainder) for rank in range(size)]


def rank_slice(batch: Indices, counts: Sequence[int], rank: int) -> Indices:
    """Return the part of a batch that belongs to a rank."""
    start = sum(counts[:rank])
    return batch[start : start + counts[rank]]


def stratified_split(labels: Sequence[int], share: float, seed: int) -> tuple[Indices, Indices]:
    """Split images into training and validation with the same share of each class; at least one stays in training.

    :param share: for validation, at least one image of a class that has two; 0: none.
    :return: sorted indices of both.
    """
    # 0 and 1 are the streams of source and target, 3 the uses of granules.
    rng = np.random.default_rng([seed, 2])
    classes = np.asarray(labels)
    training: list[Indices] = []
    validation: list[Indices] = []
    for label in np.unique(classes):
        members = rng.permutation(np.flatnonzero(classes == label))
        count = min(len(members) - 1, max(1, round(share * len(members)))) if share else 0
        validation.append(members[:count])
        training.append(members[count:])
    return np.sort(np.concatenate(training)), np.sort(np.concatenate(validation))
