"""Which pixels train and which are judged, when no scene is held out.

Neighbouring pixels are alike, so a random choice of pixels would judge the forest on what it has all but seen. Here a
scene is cut into 4 x 4 tiles, and of each row and each column of tiles one is judged (a Latin square): the
judged pixels come from all over the scene. ``fold`` 0 to 3 picks the diagonal; the four folds judge each pixel once.

Between them lies a buffer. A pixel's features look ``halo`` pixels far (see features), a training pixel's as well: with
2 x halo pixels left out around each judged tile, no reflectance is seen by both. Mirroring at the
scene's edge looks no further than the halo either, so that holds there too. What the buffer cannot
remove is that one scene's clouds are of one kind: how the forest does on another day, only held-out scenes can tell.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

TILES = 4
TRAIN, BUFFER, TEST = 0, 1, 2
Roles = NDArray[np.uint8]


def pixel_roles(shape: tuple[int, int], first: int, last: int, *, fold: int, buffer: int) -> Roles:
    """TRAIN, BUFFER or TEST for each pixel of rows ``first`` to ``last`` of a scene.

    :param fold: any integer; only its remainder by 4 counts.
    :param buffer: pixels (Chebyshev distance) kept free around judged tiles.
    """
    rows, columns = shape
    tile_row = np.arange(first - buffer, last + buffer) * TILES // rows
    tile_column = np.arange(columns) * TILES // columns
    judged = (tile_row[:, None] + tile_column[None, :] + fold) % TILES == 0
    # Rows outside the scene belong to no tile.
    judged &= ((tile_row >= 0) & (tile_row < TILES))[:, None]
    inner = judged[buffer : buffer + last - first]
    near = dilate(judged, buffer)
    return np.where(inner, TEST, np.where(near, BUFFER, TRAIN)).astype(np.uint8)


def dilate(judged: NDArray[np.bool_], reach: int) -> NDArray[np.bool_]:
    """Whether a judged pixel lies within ``reach``; the ``reach`` rows of margin above and below are consumed."""
    height = len(judged) - 2 * reach
    rows = np.logical_or.reduce([judged[shift : shift + height] for shift in range(2 * reach + 1)])
    padded = np.pad(rows, ((0, 0), (reach, reach)))
    shifts = [padded[:, shift : shift + judged.shape[1]] for shift in range(2 * reach + 1)]
    return np.asarray(np.logical_or.reduce(shifts))
