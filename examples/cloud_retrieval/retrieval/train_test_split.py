"""Roles of pixels - training, buffer, test - when no scene is held out.

Neighboring pixels are alike, so a random split would test the forest on near-duplicates of its training pixels.
Instead, a scene is divided into 4 x 4 tiles, and one tile in each row and column of tiles is tested (a Latin square),
so that the test pixels come from all over the scene. ``fold`` 0 to 3 selects the diagonal; the four folds test each
pixel once.

A buffer separates training from test pixels. The features of a pixel reach ``halo`` pixels far (see features), those of
a test pixel as well: with 2 x halo pixels left out around each test tile, no reflectance is used by both. Mirroring at
the edge of the scene reaches no further than the halo, so the same holds there. The buffer cannot remove the
correlation between the clouds of one scene: only held-out scenes measure how the forest generalizes to another day.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

TILES = 4
TRAIN, BUFFER, TEST = 0, 1, 2
Roles = NDArray[np.uint8]


def pixel_roles(shape: tuple[int, int], first: int, last: int, *, fold: int, buffer: int) -> Roles:
    """Return TRAIN, BUFFER or TEST for each pixel of rows ``first`` to ``last`` of a scene.

    :param fold: any integer; only the remainder modulo 4 counts.
    :param buffer: width of the buffer around test tiles (pixels, Chebyshev distance).
    """
    rows, columns = shape
    tile_row = np.arange(first - buffer, last + buffer) * TILES // rows
    tile_column = np.arange(columns) * TILES // columns
    is_test = (tile_row[:, None] + tile_column[None, :] + fold) % TILES == 0
    # Rows outside the scene belong to no tile.
    is_test &= ((tile_row >= 0) & (tile_row < TILES))[:, None]
    is_test_row = is_test[buffer : buffer + last - first]
    is_buffered = dilate(is_test, buffer)
    return np.where(is_test_row, TEST, np.where(is_buffered, BUFFER, TRAIN)).astype(np.uint8)


def pixel_groups(shape: tuple[int, int], indices: NDArray[np.int64], shift: int) -> NDArray[np.int8]:
    """Return the tile group of pixels, 0 to 3: fold ``f`` of a scene with this ``shift`` tests group ``-f`` modulo 4.

    :param indices: flat indices of the pixels.
    """
    rows, columns = shape
    row, column = np.divmod(indices, columns)
    group = (row * TILES // rows + column * TILES // columns + shift) % TILES
    return np.asarray(group, dtype=np.int8)


def dilate(mask: NDArray[np.bool_], reach: int) -> NDArray[np.bool_]:
    """Return True where a test pixel lies within ``reach``; consumes ``reach`` rows of margin above and below."""
    height = len(mask) - 2 * reach
    rows = np.logical_or.reduce([mask[shift : shift + height] for shift in range(2 * reach + 1)])
    padded = np.pad(rows, ((0, 0), (reach, reach)))
    shifts = [padded[:, shift : shift + mask.shape[1]] for shift in range(2 * reach + 1)]
    return np.asarray(np.logical_or.reduce(shifts))
