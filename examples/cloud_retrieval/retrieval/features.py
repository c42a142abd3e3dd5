"""What the forest sees of a pixel.

Everything derives from the two reflectances within a square around the pixel:

- the square itself, n x n values per band, and n x n ratios of 2.13 to 0.66 um. The ratio carries droplet size
  (absorption at 2.13 um) with the illumination of the slope mostly divided out;
- local mean, standard deviation, minimum and maximum per band: sunny side, shadow, or the inside of a cloud?
- central differences along rows and columns: which way does the cloud's side face?
- the scene's sun and viewing angle and albedo. A tree cannot split on a constant: they count where scenes differ.

Edges are mirrored, which looks no further than the square would. Each value is summed in an order that depends on the
pixel alone (no running sums), so cutting a scene into other blocks of rows changes no bit of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float64]
FeatureTable = NDArray[np.float32]

MIN_REFLECTANCE = 1e-3


@dataclass(frozen=True)
class Footprint:
    """The surroundings that features may look at; ``neighbourhood`` n is odd, 1 means the pixel alone."""

    neighbourhood: int = 3

    @property
    def windows(self) -> tuple[int, ...]:
        """Widths of the windows of local statistics."""
        return (self.neighbourhood, self.neighbourhood + 2) if self.neighbourhood > 1 else ()

    @property
    def halo(self) -> int:
        """How many pixels away from its own a pixel's features may look (Chebyshev distance)."""
        return max((self.neighbourhood, *self.windows)) // 2

    @property
    def count(self) -> int:
        """Number of features."""
        patch = 3 * self.neighbourhood**2
        return patch + (2 * (2 * len(self.windows) + 2 + 2) if self.windows else 0) + 3


def compute(bands: Plane, geometry: tuple[float, float, float], footprint: Footprint) -> FeatureTable:
    """Features of a block of rows, one line per pixel.

    :param bands: reflectances (2, rows + 2 halo, columns): the halo above and below must be there already.
    :param geometry: solar zenith, viewing zenith (degrees), albedo.
    """
    halo = footprint.halo
    padded = np.pad(bands, ((0, 0), (0, 0), (halo, halo)), mode="reflect") if halo else bands
    rows, columns = bands.shape[1] - 2 * halo, bands.shape[2]
    table = np.empty((rows * columns, footprint.count), dtype=np.float32)
    for index, plane in enumerate(iter_feature_planes(padded, footprint)):
        table[:, index] = plane.ravel()
    table[:, -3:] = geometry
    return table


def iter_feature_planes(padded: Plane, footprint: Footprint) -> Iterator[Plane]:
    """The features that differ from pixel to pixel, one plane at a time to keep memory low."""
    halo, patch = footprint.halo, footprint.neighbourhood // 2
    ratio = padded[1] / np.maximum(padded[0], MIN_REFLECTANCE)
    for plane in (*padded, ratio):
        for down in range(-patch, patch + 1):
            for right in range(-patch, patch + 1):
                yield shift(plane, halo, down, right)
    if footprint.windows:
        for band in padded:
            yield from local_statistics(band, footprint)


def local_statistics(band: Plane, footprint: Footprint) -> Iterator[Plane]:
    """Local statistics and gradients of one band."""
    halo = footprint.halo
    for width in footprint.windows:
        mean = reduce_window(band, halo, width, np.add) / width**2
        square = reduce_window(band * band, halo, width, np.add) / width**2
        yield mean
        yield np.sqrt(np.maximum(square - mean * mean, 0.0))
    yield reduce_window(band, halo, footprint.neighbourhood, np.minimum)
    yield reduce_window(band, halo, footprint.neighbourhood, np.maximum)
    yield (shift(band, halo, 1, 0) - shift(band, halo, -1, 0)) / 2.0
    yield (shift(band, halo, 0, 1) - shift(band, halo, 0, -1)) / 2.0


def shift(plane: Plane, halo: int, down: int, right: int) -> Plane:
    """The plane without its halo, seen from ``down`` rows and ``right`` columns away."""
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
