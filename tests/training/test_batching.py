"""Batches do not depend on the number of ranks; training and validation images are disjoint."""

from __future__ import annotations

import numpy as np
import pytest
from adaptation import batching


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_any_number_of_ranks_uses_the_same_global_batches(size: int) -> None:
    stream, again = batching.BatchStream(23, 7, 0), batching.BatchStream(23, 7, 0)
    for iteration in range(9):
        batch = stream.batch(iteration, 8)
        counts = batching.split_evenly(8, size)
        parts = [batching.rank_slice(again.batch(iteration, 8), counts, rank) for rank in range(size)]

        assert np.concatenate(parts).tolist() == batch.tolist()


def test_each_pass_has_each_image_once_in_a_new_order() -> None:
    indices = np.concatenate([batching.BatchStream(20, 7, 0).batch(iteration, 10) for iteration in range(4)])

    assert sorted(indices[:20]) == sorted(indices[20:]) == list(range(20))
    assert indices[:20].tolist() != indices[20:].tolist()


def test_validation_images_are_disjoint_from_training_images_and_stratified() -> None:
    labels = [label for label in range(6) for _ in range(label + 1)]
    training, validation = batching.stratified_split(labels, 0.2, 1)

    assert sorted([*training, *validation]) == list(range(len(labels)))
    assert {labels[index] for index in training} == set(range(6))
    assert {labels[index] for index in validation} == set(range(1, 6)), "a class of one image stays in training"
