"""The rows of a run, images (bytes) or columns, read once and held on the device that uses them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from adaptation import batching, image_folders

if TYPE_CHECKING:
    from torch import Tensor

#: Share of the source images held out from training, for the choice of the best weights.
VALIDATION_SHARE = 0.2


@dataclass(frozen=True)
class Dataset:
    """Rows of both domains and their uses.

    :param training_indices: source rows for training; ``validation_indices``: source rows for validation.
    :param target_rows: rows for training without labels; ``paired_rows``: the same columns as observed by the other
        sensor, if there are two.
    :param test_rows: rows for evaluation, with ``test_labels``, which no training step uses; images: ``target_rows``
        again.
    :param row_name: plural noun for rows, used in messages and keys.
    :param target_supervised: the source columns as observed by the target sensor, with labels, for comparison.
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
        """Numbers of rows by use, under the keys of metrics.json."""
        evaluated = {} if self.test_rows is self.target_rows else {"judged": len(self.test_rows)}
        return {
            "source_training": len(self.training_indices),
            "source_validation": len(self.validation_indices),
            "target": len(self.target_rows),
            **evaluated,
        }

    @property
    def description(self) -> str:
        """Description of the rows, which always names synthetic data."""
        return f"synthetic {self.row_name}" if self.kind == "synthetic" else f"{self.row_name} from files"

    @property
    def majority_class_accuracy(self) -> float:
        """Accuracy of predicting the most frequent class of the training rows for every row."""
        majority = self.source_labels[self.training_indices].bincount().argmax()
        return float((self.test_labels == majority).double().mean())


def read_dataset(
    pair: tuple[image_folders.DomainFiles, image_folders.DomainFiles],
    kind: str,
    size: int,
    device_and_seed: tuple[Any, int],
) -> Dataset:
    """Read both domains.

    :param device_and_seed: the device of the images, and the seed of the validation split.
    :raises image_folders.DataError: if a file is not an image.
    """
    device, seed = device_and_seed
    # As bytes, a quarter of the memory of floats; they are normalized per batch.
    images = [torch.from_numpy(image_folders.read_images(listing, size)).to(device) for listing in pair]
    labels = [torch.tensor(listing.labels, device=device) for listing in pair]
    training, validation = (
        torch.from_numpy(indices).to(device)
        for indices in batching.stratified_split(pair[0].labels, VALIDATION_SHARE, seed)
    )
    return Dataset(kind, pair[0].classes, images[0], labels[0], training, validation, images[1], images[1], labels[1])


def list_images(
    data: Path, source: str, target: str
) -> tuple[tuple[image_folders.DomainFiles, image_folders.DomainFiles], str]:
    """Return the files of both domains and the kind of the data; reads no image.

    :raises image_folders.DataError: see :func:`adaptation.image_folders.list_domains`.
    """
    return image_folders.list_domains(data, source, target), image_folders.data_kind(data)
