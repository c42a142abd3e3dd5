"""This rank's rows of each batch and of the evaluation, as inputs of the network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from adaptation import batching, losses
from adaptation.networks import models
from adaptation.rows import augmentation
from adaptation.rows.streaming import StreamedImages

if TYPE_CHECKING:
    from torch import Tensor

    from adaptation.dataset import Dataset
    from adaptation.distributed import Communicator
    from adaptation.options import Options

#: Rows per forward pass of the evaluation.
EVALUATION_BATCH = 256
#: Batches after the current one whose images are being decoded.
BATCHES_AHEAD = 2


@dataclass(frozen=True)
class OwnRows:
    """This rank's rows of one part of a batch.

    :param counts: rows of each rank.
    :param source: indices of source rows; ``target`` likewise.
    :param views: crops of both domains' images, if they are augmented.
    """

    counts: list[int]
    source: Tensor
    target: Tensor
    views: tuple[Tensor, ...]


class BatchLoader:
    """The rows of each iteration. Rank and size are queried for each, because an elastic run changes them.

    :param uses_target: False if the loss does not depend on rows of the target, which then are not fetched.
    """

    def __init__(self, options: Options, dataset: Dataset, *, uses_target: bool) -> None:
        self._options, self._dataset, self._uses_target = options, dataset, uses_target
        self._device = dataset.source_rows.device
        self._streams = (
            batching.BatchStream(len(dataset.training_indices), options.seed, 0),
            batching.BatchStream(len(dataset.target_rows), options.seed, 1),
        )

    def parts(self, iteration: int, comm: Communicator) -> list[losses.BatchPart]:
        """Return this rank's rows of a batch, divided into parts that are processed one after another."""
        dataset = self._dataset
        if isinstance(dataset.source_rows, StreamedImages):
            for later in range(iteration, iteration + 1 + BATCHES_AHEAD):
                self._prefetch(later, comm)
        parts = []
        for own in self._own_rows(iteration, comm):
            source_views, target_views = own.views or (None, None)
            parts.append(
                losses.BatchPart(
                    source=self._inputs(dataset.source_rows[own.source], source_views),
                    labels=dataset.source_labels[own.source],
                    target=self._inputs(dataset.target_rows[own.target], target_views),
                    counts=own.counts,
                    total=self._options.global_batch,
                    paired=None if dataset.paired_rows is None else dataset.paired_rows[own.target],
                )
            )
        return parts

    def evaluation_batches(self, rows: Any, indices: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield inputs and labels of some rows, given by their indices."""
        batches = indices.split(EVALUATION_BATCH)
        for number, (batch, truth) in enumerate(zip(batches, labels.split(EVALUATION_BATCH), strict=True)):
            if isinstance(rows, StreamedImages):
                for later in batches[number : number + 2]:
                    rows.prefetch(later)
            images = rows[batch]
            if self._options.augment:
                images = augmentation.center_crop(images, self._options.image_size)
            yield self._normalize(images), truth

    def _own_rows(self, iteration: int, comm: Communicator) -> list[OwnRows]:
        """Return this rank's row indices of a batch, part by part."""
        batch = self._options.global_batch
        source, target = (stream.batch(iteration, batch) for stream in self._streams)
        if not self._uses_target:
            target = target[:0]
        arrays = [source, target, *self._draw_views(iteration, len(target))]
        result, start = [], 0
        for rows in batching.split_evenly(batch, self._options.accumulate):
            counts = batching.split_evenly(rows, comm.size)
            own = [
                torch.from_numpy(batching.rank_slice(array[start : start + rows], counts, comm.rank))
                for array in arrays
            ]
            source_indices, target_indices, *views = (values.to(self._device) for values in own)
            source_rows = self._dataset.training_indices[source_indices]
            result.append(OwnRows(counts, source_rows, target_indices, tuple(views)))
            start += rows
        return result

    def _draw_views(self, iteration: int, target_count: int) -> list[batching.Indices]:
        """Draw the crops of both domains' images of a batch; none without augmentation."""
        options = self._options
        if not options.augment:
            return []
        margin = augmentation.held_size(options.image_size, augment=True) - options.image_size
        # 0 to 3 are other uses of the seed: see batching.
        return [
            augmentation.draw_views(count, margin, options.seed, 4 + domain, iteration)
            for domain, count in enumerate((options.global_batch, target_count))
        ]

    def _prefetch(self, iteration: int, comm: Communicator) -> None:
        for own in self._own_rows(iteration, comm):
            self._dataset.source_rows.prefetch(own.source)
            self._dataset.target_rows.prefetch(own.target)

    def _inputs(self, images: Tensor, views: Tensor | None) -> Tensor:
        if views is not None:
            images = augmentation.crop(images, self._options.image_size, views)
        return self._normalize(images)

    def _normalize(self, rows: Tensor) -> Tensor:
        inputs = models.normalize(rows)
        return inputs.contiguous(memory_format=torch.channels_last) if self._options.channels_last else inputs
