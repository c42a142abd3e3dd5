"""Which images make up which batch: a pure function of the seed and the iteration.

No rank remembers where it is, so any number of ranks sees the same global batches, and a run that is continued, on
fewer ranks or more, sees what it would have seen.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


class BatchStream:
    """Passes over ``count`` images one after another, each in its own order.

    :param seed: words that set it apart from other streams.
    """

    def __init__(self, count: int, *seed: int) -> None:
        self._count, self._seed = count, seed
        self._held: dict[int, Indices] = {}

    def batch(self, iteration: int, size: int) -> Indices:
        """The images of one global batch, (size,); a batch may reach over the end of a pass."""
        passes, places = np.divmod(np.arange(iteration * size, (iteration + 1) * size), self._count)
        return np.concatenate([self._pass(int(number))[places[passes == number]] for number in np.unique(passes)])

    def _pass(self, number: int) -> Indices:
        if number not in self._held:
            self._held = {key: value for key, value in self._held.items() if key >= number - 1}
            self._held[number] = np.random.default_rng([*self._seed, number]).permutation(self._count)
        return self._held[number]


def split_evenly(rows: int, size: int) -> list[int]:
    """How many of ``rows`` each of ``size`` ranks takes; where it does not come out even the first take one more."""
    least, more = divmod(rows, size)
    return [least + (rank < more) for rank in range(size)]


def rank_slice(batch: Indices, counts: Sequence[int], rank: int) -> Indices:
    """A rank's part of a batch."""
    start = sum(counts[:rank])
    return batch[start : start + counts[rank]]


def stratified_split(labels: Sequence[int], share: float, seed: int) -> tuple[Indices, Indices]:
    """Split images into training and validation, the same share of each class (one at least stays in training).

    :return: sorted indices of both.
    """
    rng = np.random.default_rng([seed, 2])
    known = np.asarray(labels)
    kept: list[Indices] = []
    judged: list[Indices] = []
    for label in np.unique(known):
        members = rng.permutation(np.flatnonzero(known == label))
        count = min(len(members) - 1, max(1, round(share * len(members))))
        judged.append(members[:count])
        kept.append(members[count:])
    return np.sort(np.concatenate(kept)), np.sort(np.concatenate(judged))
