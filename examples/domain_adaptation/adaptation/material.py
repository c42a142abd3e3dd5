"""The images of a run, read once and held where they are used: as bytes, on the GPU if there is one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from adaptation import folders, order

if TYPE_CHECKING:
    from torch import Tensor

#: Share of the source images that is kept from training, to choose weights by.
VALIDATION = 0.2


@dataclass(frozen=True)
class Material:
    """Images of both domains and who may see what.

    :param kept: the source images to train on, as indices; ``judged``: those for validation.
    :param target_labels: for judging only; no training step sees them.
    """

    kind: str
    classes: tuple[str, ...]
    source_images: Tensor
    source_labels: Tensor
    kept: Tensor
    judged: Tensor
    target_images: Tensor
    target_labels: Tensor

    @property
    def counts(self) -> dict[str, int]:
        """Numbers of images by use."""
        return {
            "source_training": len(self.kept),
            "source_validation": len(self.judged),
            "target": len(self.target_images),
        }


def read(pair: tuple[folders.Listing, folders.Listing], kind: str, size: int, place: tuple[Any, int]) -> Material:
    """Read both domains.

    :param place: the device that images go to, and the seed of the validation split.
    :raises folders.DataError: a file is no image.
    """
    device, seed = place
    images = [torch.from_numpy(folders.read_images(listing, size)).to(device) for listing in pair]
    labels = [torch.tensor(listing.labels, device=device) for listing in pair]
    kept, judged = (torch.from_numpy(part).to(device) for part in order.held_out(pair[0].labels, VALIDATION, seed))
    return Material(kind, pair[0].classes, images[0], labels[0], kept, judged, images[1], labels[1])


def listings(data: Path, source: str, target: str) -> tuple[tuple[folders.Listing, folders.Listing], str]:
    """Both domains' files and what kind of data they are, before anything heavy is done.

    :raises folders.DataError: see :func:`adaptation.folders.list_pair`.
    """
    return folders.list_pair(data, source, target), folders.kind(data)
