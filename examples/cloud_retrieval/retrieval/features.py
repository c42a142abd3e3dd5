"""Features of a pixel for the forest.

All features derive from the two reflectances within a square around the pixel:

- the square itself, n x n values per band, and n x n ratios of 2.13 to 0.66 um. The ratio carries droplet size
  (absorption at 2.13 um) with the illumination of the slope mostly divided out;
- local mean, standard deviation, minimum and maximum per band, which distinguish sunlit sides, shadows and cloud
  interiors;
- central differences along rows and columns, for the orientation of cloud sides;
- with ``contrast``: the pixel less its surroundings, for both reflectances, their logarithms and the logarithm of their
  ratio; surroundings are means over 3, 5 and 9 pixels, and single pixels 1, 2, 3 and 5 columns to either side. Sunlight
  arrives along the rows in the large-eddy series, so these are the pixels towards and away from the sun;
- solar and viewing zenith angle and albedo of the scene. A tree cannot split on a constant, so they count only where
  scenes differ.

Edges are mirrored, which reaches no further than the footprint. Each value is summed in an order that depends on the
pixel alone (no running sums), so dividing a scene into other blocks of rows does not change a single bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float64]
FeatureTable = NDArray[np.float32]

MIN_REFLECTANCE = 1e-3
# A square of 9 pixels reaches 4 pixels far, less than the longest distance along the sun's direction.
CONTRAST_WIDTHS = (3, 5, 9)
CONTRAST_DISTANCES = (1, 2, 3, 5)


@dataclass(frozen=True)
class Footprint:
    """Surroundings of a pixel used by its features; ``neighbourhood`` is odd, and 1 means the pixel alone.

    ``contrast`` adds differences from the surroundings. ``context`` is the reach (pixels) of a second stage, which uses
    what a first stage predicts for the pixels around.
    """

    neighbourhood: int = 3
    contrast: bool = False
    context: int = 0

    @property
    def windows(self) -> tuple[int, ...]:
        """Widths of the windows for local statistics."""
        return (self.neighbourhood, self.neighbourhood + 2) if self.neighbourhood > 1 else ()

    @property
    def halo(self) -> int:
        """Largest distance (pixels, Chebyshev) between a pixel and the reflectances its features use."""
        distances = CONTRAST_DISTANCES if self.contrast else ()
        return max(max((self.neighbourhood, *self.windows)) // 2, *distances, 0)

    @property
    def reach(self) -> int:
        """Largest distance between a pixel and the reflectances its prediction depends on."""
        return self.halo + self.context

    @property
    def count(self) -> int:
        """Number of features."""
        patch = 3 * self.neighbourhood**2
        contrast = 5 * (len(CONTRAST_WIDTHS) + 2 * len(CONTRAST_DISTANCES)) if self.contrast else 0
        return patch + (2 * (2 * len(self.windows) + 2 + 2) if self.windows else 0) + contrast + 3


def compute(
    bands: Plane,
    geometry: tuple[float, float, float],
    footprint: Footprint,
    pixels: NDArray[np.intp] | slice = slice(None),
) -> FeatureTable:
    """Return the features of a block of rows, one line per pixel.

    :param bands: reflectances (2, rows + 2 halo, columns), with the halo above and below.
    :param geometry: solar zenith, viewing zenith (degrees), albedo.
    :param pixels: flat indices of the pixels that are wanted; default: all.
    """
    halo = footprint.halo
    padded = np.pad(bands, ((0, 0), (0, 0), (halo, halo)), mode="reflect") if halo else bands
    rows, columns = bands.shape[1] - 2 * halo, bands.shape[2]
    count = rows * columns if isinstance(pixels, slice) else len(pixels)
    table = np.empty((count, footprint.count), dtype=np.float32)
    for index, plane in enumerate(iter_feature_planes(padded, footprint)):
        table[:, index] = plane.ravel()[pixels]
    table[:, -3:] = geometry
    return table


def iter_feature_planes(padded: Plane, footprint: Footprint) -> Iterator[Plane]:
    """Yield the features that differ from pixel to pixel, one plane at a time to limit memory."""
    halo, patch = footprint.halo, footprint.neighbourhood // 2
    # Dark pixels would otherwise divide by almost zero.
    ratio = padded[1] / np.maximum(padded[0], MIN_REFLECTANCE)
    for plane in (*padded, ratio):
        for down in range(-patch, patch + 1):
            for right in range(-patch, patch + 1):
                yield shift(plane, halo, down, right)
    if footprint.windows:
        for band in padded:
            yield from local_statistics(band, footprint)
    if footprint.contrast:
        logs = [np.log(np.maximum(band, MIN_REFLECTANCE)) for band in padded]
        for plane in (*padded, *logs, logs[1] - logs[0]):
            yield from contrasts(plane, halo)


def contrasts(plane: Plane, halo: int) -> Iterator[Plane]:
    """Yield the pixel less means around it, and less single pixels towards and away from the sun."""
    pixel = shift(plane, halo, 0, 0)
    for width in CONTRAST_WIDTHS:
        yield pixel - reduce_window(plane, halo, width, np.add) / width**2
    for distance in CONTRAST_DISTANCES:
        yield pixel - shift(plane, halo, 0, -distance)
        yield pixel - shift(plane, halo, 0, distance)


def local_statistics(band: Plane, footprint: Footprint) -> Iterator[Plane]:
    """Yield local statistics and gradients of one band."""
    halo = footprint.halo
    for width in footprint.windows:
        mean = reduce_window(band, halo, width, np.add) / width**2
        square = reduce_window(band * band, halo, width, np.add) / width**2
        yield mean
        # Rounding can make the variance of a uniform window slightly negative.
        yield np.sqrt(np.maximum(square - mean * mean, 0.0))
    yield reduce_window(band, halo, footprint.neighbourhood, np.minimum)
    yield reduce_window(band, halo, footprint.neighbourhood, np.maximum)
    yield (shift(band, halo, 1, 0) - shift(band, halo, -1, 0)) / 2.0
    yield (shift(band, halo, 0, 1) - shift(band, halo, 0, -1)) / 2.0


def shift(plane: Plane, halo: int, down: int, right: int) -> Plane:
    """Return the plane without its halo, displaced by ``down`` rows and ``right`` columns."""
    rows, columns = plane.shape
    return plane[halo + down : rows - halo + down, halo + right : columns - halo + right]


def reduce_window(plane: Plane, halo: int, width: int, combine: Callable[..., Plane]) -> Plane:
    """Combine the values of a width x width window around each pixel, rows first, always in the same order."""
    reach = width // 2
    rows, columns = plane.shape
    column = plane[halo - reach : rows - halo - reach].copy()
    for down in range(1 - reach, reach + 1):
        combine(column, plane[halo + down : rows - halo + down], out=column)
    total = column[:, halo - reach : columns - halo - reach].copy()
    for right in range(1 - reach, reach + 1):
        combine(total, column[:, halo + right : columns - halo + right], out=total)
    return total
