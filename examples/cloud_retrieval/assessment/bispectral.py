"""Bispectral retrieval of single pixels from a look-up table (Nakajima and King 1990, J. Atmos. Sci. 47, 1878).

Each pixel is taken for a homogeneous, plane-parallel cloud without neighbors: the reference that retrievals from
several pixels are compared with (Okamura et al. 2017). The optical thickness is that at 0.66 um. No atmosphere.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from assessment import mie, plane_parallel

Values = NDArray[np.float64]

# Wavelength (um) and refractive index of water, Hale and Querry 1973 (Appl. Opt. 12, 555), rounded.
BANDS = ((0.66, 1.331 + 1.6e-8j), (2.13, 1.293 + 3.7e-4j))
TAU = np.geomspace(0.25, 256.0, 31)
RADIUS_UM = np.array([4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 12.0, 14.0, 17.0, 20.0, 25.0])
# Points between those computed, per interval.
REFINEMENT = 8
DARKEST = 0.01


@dataclass(frozen=True)
class LookUpTable:
    """Reflectances (points, 2), and COT and CER (um) of the points."""

    reflectance: Values
    cot: Values
    cer: Values


@cache
def look_up_table(sza: float, vza: float, albedo: float) -> LookUpTable:
    """Return the table for one geometry (degrees) and surface albedo."""
    sun, sensor = (float(np.cos(np.radians(angle))) for angle in (sza, vza))
    angles = plane_parallel.build_angles(sun, sensor)
    tables = np.empty((2, len(RADIUS_UM), len(TAU)))
    for row, radius in enumerate(RADIUS_UM):
        visible = 0.0
        for band, (wavelength, index) in enumerate(BANDS):
            extinction, single_albedo, asymmetry = mie.droplets(radius, wavelength, index)
            visible = visible or extinction
            tau = TAU * extinction / visible
            tables[band, row] = plane_parallel.reflectances(tau, single_albedo, asymmetry, angles, albedo)
    return refine(tables)


def refine(tables: Values) -> LookUpTable:
    """Interpolate the table linearly between its points, in log(COT) and CER."""
    rows = np.linspace(0, len(RADIUS_UM) - 1, (len(RADIUS_UM) - 1) * REFINEMENT + 1)
    columns = np.linspace(0, len(TAU) - 1, (len(TAU) - 1) * REFINEMENT + 1)
    low = np.minimum(rows.astype(int), len(RADIUS_UM) - 2)
    part = (rows - low)[None, :, None]
    along = tables[:, low] * (1.0 - part) + tables[:, low + 1] * part
    left = np.minimum(columns.astype(int), len(TAU) - 2)
    share = columns - left
    dense = along[:, :, left] * (1.0 - share) + along[:, :, left + 1] * share
    cot = np.exp(np.interp(columns, np.arange(len(TAU)), np.log(TAU)))
    cer = np.interp(rows, np.arange(len(RADIUS_UM)), RADIUS_UM)
    return LookUpTable(
        dense.reshape(2, -1).T, np.broadcast_to(cot, dense.shape[1:]).ravel(), np.repeat(cer, len(columns))
    )


def retrieve(reflectance: Values, geometry: tuple[float, float, float]) -> tuple[Values, Values]:
    """Return COT (1) and CER (um) of the table's point with the most similar reflectances, by ratio.

    :param reflectance: (pixels, 2) at 0.66 and 2.13 um.
    :param geometry: solar and viewing zenith angle (degrees), surface albedo.
    """
    from scipy.spatial import cKDTree

    table = look_up_table(*geometry)
    points, pixels = (np.log(np.maximum(values, 0.0) + DARKEST) for values in (table.reflectance, reflectance))
    nearest = cKDTree(points).query(pixels)[1]
    return table.cot[nearest], table.cer[nearest]


def fit_gain(reflectance: Values, cot: Values, cer: Values, geometry: tuple[float, float, float]) -> Values:
    """Return, for each band, the median ratio of measured to tabulated reflectance of pixels with known COT and CER.

    It is 1 without pixels.
    """
    from scipy.spatial import cKDTree

    if not len(cot):
        return np.ones(len(BANDS))
    table = look_up_table(*geometry)
    nearest = cKDTree(np.column_stack([np.log(table.cot), np.log(table.cer)])).query(
        np.column_stack([np.log(cot), np.log(cer)])
    )[1]
    return np.asarray(np.median(reflectance / table.reflectance[nearest], axis=0))
