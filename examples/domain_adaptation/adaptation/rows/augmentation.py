"""Random crops and flips of images on their device, as a pure function of the seed and the iteration.

Images are held larger than the network's input: 256 pixels for 224, as usual for Office-31 (Long et al., 2018).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from adaptation.batching import Indices

if TYPE_CHECKING:
    from torch import Tensor

#: Side of the images that are held, relative to that of a crop.
MARGIN = 8 / 7


def held_size(size: int, *, augment: bool) -> int:
    """Return the side in pixels of the images to hold for crops with side ``size``."""
    return round(size * MARGIN) if augment else size


def draw_views(count: int, margin: int, *seed: int) -> Indices:
    """Draw the crop of each image of a batch: first row, first column and flip, (count, 3).

    :param margin: pixels by which the images are larger than a crop.
    """
    # Drawn for the global batch: ranks take their rows of it, and any number of ranks sees the same crops.
    return np.random.default_rng(seed).integers(0, (margin + 1, margin + 1, 2), size=(count, 3))


def crop(images: Tensor, size: int, views: Tensor) -> Tensor:
    """Return a crop of each image, (n, 3, size, size), as drawn by :func:`draw_views`."""
    steps = torch.arange(size, device=images.device)
    rows = views[:, :1] + steps
    columns = views[:, 1:2] + torch.where(views[:, 2:] == 1, size - 1 - steps, steps)
    numbers = torch.arange(len(images), device=images.device)[:, None, None, None]
    channels = torch.arange(images.shape[1], device=images.device)[None, :, None, None]
    return images[numbers, channels, rows[:, None, :, None], columns[:, None, None, :]]


def center_crop(images: Tensor, size: int) -> Tensor:
    """Return the middle of each image, (n, 3, size, size)."""
    start = (images.shape[-1] - size) // 2
    return images[..., start : start + size, start : start + size]
