"""The rows of a run: images (bytes) or columns, held on the device that uses them, or images read when needed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from adaptation import batching, image_folders
from adaptation.rows import augmentation, streaming

if TYPE_CHECKING:
    from torch import Tensor

#: Share of the source images held out from training, for the choice of the best weights.
VALIDATION_SHARE = 0.2
#: Available memory, on Linux.
MEMORY = Path("/proc/meminfo")


@dataclass(frozen=True)
class ImageSettings:
    """Settings of reading images.

    :param size: side of the network's input in pixels; with ``augment`` images are held larger.
    :param keep_aspect: see :func:`adaptation.image_folders.read_image`.
    :param validation: share of the source images that is held out.
    :param workers: threads that decode images when they are needed; 0: all images are held in memory.
    """

    size: int
    augment: bool = False
    keep_aspect: bool = False
    validation: float = VALIDATION_SHARE
    workers: int = 0

    @property
    def held_size(self) -> int:
        """Side of the images that are held, in pixels."""
        return augmentation.held_size(self.size, augment=self.augment)


@dataclass(frozen=True)
class Dataset:
    """Rows of both domains and their uses; rows are a tensor, or images that are decoded when they are indexed.

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
    settings: ImageSettings,
    device_and_seed: tuple[Any, int],
) -> Dataset:
    """Read both domains.

    :param device_and_seed: the device of the images, and the seed of the validation split.
    :raises image_folders.DataError: if a file is not an image, or the images do not fit into memory.
    """
    device, seed = device_and_seed
    images = [read_rows(listing, settings, device) for listing in pair]
    labels = [torch.tensor(listing.labels, device=device) for listing in pair]
    training, validation = (
        torch.from_numpy(indices).to(device)
        for indices in batching.stratified_split(pair[0].labels, settings.validation, seed)
    )
    return Dataset(kind, pair[0].classes, images[0], labels[0], training, validation, images[1], images[1], labels[1])


def read_rows(listing: image_folders.DomainFiles, settings: ImageSettings, device: Any) -> Any:
    """Return the images of a domain, as bytes: a tensor on the device, or images to be decoded when they are needed.

    :raises image_folders.DataError: see :func:`read_dataset`.
    """
    size, keep_aspect = settings.held_size, settings.keep_aspect
    if settings.workers:
        return streaming.StreamedImages(
            listing.paths, size, keep_aspect=keep_aspect, device=device, workers=settings.workers
        )
    check_memory(len(listing.paths) * 3 * size * size, listing.domain)
    # As bytes, a quarter of the memory of floats; they are normalized per batch.
    return torch.from_numpy(image_folders.read_images(listing, size, keep_aspect=keep_aspect)).to(device)


def check_memory(size_bytes: int, domain: str) -> None:
    """Check that images fit into the host's memory.

    :raises image_folders.DataError: if they are larger than what is available.
    """
    try:
        lines = MEMORY.read_text(encoding="ascii").splitlines()
    except OSError:
        return  # not Linux
    available_bytes = 1024 * next((int(line.split()[1]) for line in lines if line.startswith("MemAvailable")), 2**62)
    # Images are decoded one by one and then joined, which holds them twice.
    if 2 * size_bytes > available_bytes:
        raise image_folders.DataError(
            f"the images of {domain} need {2 * size_bytes / 2**30:.1f} GiB of memory, "
            f"{available_bytes / 2**30:.1f} GiB are available: --workers 8 decodes them when they are needed"
        )


def list_images(
    data: Path, source: str, target: str
) -> tuple[tuple[image_folders.DomainFiles, image_folders.DomainFiles], str]:
    """Return the files of both domains and the kind of the data; reads no image.

    :raises image_folders.DataError: see :func:`adaptation.image_folders.list_domains`.
    """
    return image_folders.list_domains(data, source, target), image_folders.data_kind(data)
