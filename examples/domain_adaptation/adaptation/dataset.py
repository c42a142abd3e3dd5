"""The rows of a run, images (bytes) or columns, read once and held where they are used: on the GPU if there is one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from adaptation import batching, image_folders

if TYPE_CHECKING:
    from torch import Tensor

#: Share of the source images that is kept from training, to choose weights by.
VALIDATION_SHARE = 0.2


@dataclass(frozen=True)
class Dataset:
    """Rows of both domains and who may see what.

    :param kept: the source's rows to train on, as indices; ``judged``: those for validation.
    :param target_rows: to train on without labels; ``partners``: what the other sensor saw of each, if there are two.
    :param test_rows: to judge on, with ``test_labels``, which no training step sees; images: ``target_rows`` again.
    :param rows: what a row is, for lines and names.
    :param direct: the same rows as the target sees them, with the source's labels: to compare with.
    """

    kind: str
    classes: tuple[str, ...]
    source_rows: Tensor
    source_labels: Tensor
    training_indices: Tensor
    validation_indices: Tensor
    target_rows: Tensor
    test_rows: Tensor
    test_labels: Tensor
    row_name: str = "images"
    paired_rows: Tensor | None = None
    target_supervised: Dataset | None = None

    @property
    def counts(self) -> dict[str, int]:
        """Numbers of rows by use."""
        tested = {} if self.test_rows is self.target_rows else {"judged": len(self.test_rows)}
        return {
            "source_training": len(self.training_indices),
            "source_validation": len(self.validation_indices),
            "target": len(self.target_rows),
            **tested,
        }

    @property
    def description(self) -> str:
        """What they are; said wherever a figure stands."""
        return f"synthetic {self.row_name}" if self.kind == "synthetic" else f"{self.row_name} from files"

    @property
    def majority_class_accuracy(self) -> float:
        """Accuracy of always saying the class that is most frequent in training."""
        most = self.source_labels[self.training_indices].bincount().argmax()
        return float((self.test_labels == most).double().mean())


def read_dataset(
    pair: tuple[image_folders.DomainFiles, image_folders.DomainFiles], kind: str, size: int, place: tuple[Any, int]
) -> Dataset:
    """Read both domains.

    :param place: the device that images go to, and the seed of the validation split.
    :raises folders.DataError: a file is no image.
    """
    device, seed = place
    images = [torch.from_numpy(image_folders.read_images(listing, size)).to(device) for listing in pair]
    labels = [torch.tensor(listing.labels, device=device) for listing in pair]
    kept, judged = (
        torch.from_numpy(part).to(device) for part in batching.stratified_split(pair[0].labels, VALIDATION_SHARE, seed)
    )
    return Dataset(kind, pair[0].classes, images[0], labels[0], kept, judged, images[1], images[1], labels[1])


def list_images(
    data: Path, source: str, target: str
) -> tuple[tuple[image_folders.DomainFiles, image_folders.DomainFiles], str]:
    """Both domains' files and what kind of data they are, before anything heavy is done.

    :raises folders.DataError: see :func:`adaptation.image_folders.list_pair`.
    """
    return image_folders.list_domains(data, source, target), image_folders.data_kind(data)
