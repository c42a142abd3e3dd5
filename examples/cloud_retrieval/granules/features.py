"""Features of a pixel for the forest: sixteen bands, sun and view angles, and the eight neighbors.

- M01 to M11 as reflectances (stored value / cosine of the solar zenith angle); NaN where the sun is lower than 5
  degrees, where the quotient is unreliable. M12 to M16 as brightness temperatures (K).
- Per band the mean and the standard deviation over the valid ones of 3 x 3 pixels.
- Three differences of brightness temperatures, which separate ice from water and thin from thick cloud: M14-M15,
  M15-M16, M12-M15.
- Zenith angles of sun and satellite (degrees), the cosine of the azimuth between them, land or water.

Neither location nor time are features, so that the model generalizes to other places. Missing values are NaN; the trees
learn the branch for them. There is no value beyond the granule, so the features of a pixel do not depend on how a
granule is divided.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from granules.viirs import BANDS, Geometry, Granule, Window

Plane = NDArray[np.float32]
FeatureTable = NDArray[np.float32]

DIFFERENCES = (("M14", "M15"), ("M15", "M16"), ("M12", "M15"))
ANGLE_FEATURES = ("solar_zenith", "sensor_zenith", "azimuth_cosine", "land")
MAX_SOLAR_ZENITH = 85.0
FEATURE_NAMES = (
    *(name for band in BANDS for name in (band.name, f"{band.name}_mean", f"{band.name}_spread")),
    *(f"{first}-{second}" for first, second in DIFFERENCES),
    *ANGLE_FEATURES,
)
# Columns that are permuted together for the feature importance.
GROUPS = {
    **{band.name: tuple(range(3 * index, 3 * index + 3)) for index, band in enumerate(BANDS)},
    "differences": tuple(FEATURE_NAMES.index(f"{first}-{second}") for first, second in DIFFERENCES),
    "light": tuple(FEATURE_NAMES.index(name) for name in ANGLE_FEATURES[:3]),
    "land": (FEATURE_NAMES.index("land"),),
}
HALO = 1


def compute(granule: Granule, window: Window) -> FeatureTable:
    """Return features of a window inside the granule, one line per pixel."""
    table = np.empty((window.shape[0] * window.shape[1], len(FEATURE_NAMES)), np.float32)
    padded_window, inside = clip_to_granule(window, granule.shape)
    geometry = granule.geometry(padded_window)
    centers: dict[str, Plane] = {}
    for number, band in enumerate(BANDS):
        plane = (
            granule.brightness_temperature(band, padded_window)
            if band.thermal
            else sunlit_reflectance(granule.band(band, padded_window), geometry)
        )
        planes = neighborhood_statistics(pad_to_window(plane, padded_window, window.expanded(HALO)))
        centers[band.name] = planes[0]
        for column, values in enumerate(planes):
            table[:, 3 * number + column] = values.ravel()
    angles = angle_features(geometry, inside)
    other_features = [centers[first] - centers[second] for first, second in DIFFERENCES] + [
        angles[name] for name in ANGLE_FEATURES
    ]
    for column, values in enumerate(other_features, start=3 * len(BANDS)):
        table[:, column] = values.ravel()
    return table


def clip_to_granule(window: Window, shape: tuple[int, int]) -> tuple[Window, tuple[slice, slice]]:
    """Return the window with its halo, clipped to the granule, and the position of the window in it."""
    expanded = window.expanded(HALO)
    clipped = Window(
        max(expanded.first, 0), min(expanded.last, shape[0]), max(expanded.left, 0), min(expanded.right, shape[1])
    )
    down, across = window.first - clipped.first, window.left - clipped.left
    return clipped, (slice(down, down + window.shape[0]), slice(across, across + window.shape[1]))


def pad_to_window(plane: Plane, have: Window, want: Window) -> Plane:
    """Extend a plane from the window ``have`` to the window ``want`` with NaN."""
    margins = ((have.first - want.first, want.last - have.last), (have.left - want.left, want.right - have.right))
    if not any(side for pair in margins for side in pair):
        return plane
    return np.pad(plane, margins, constant_values=np.nan)


def sunlit_reflectance(stored: Plane, geometry: Geometry) -> Plane:
    """Return the reflectance of a band that is stored as reflectance times the cosine of the solar zenith angle."""
    solar_zenith = geometry.angles["solar_zenith"]
    return np.where(
        solar_zenith < MAX_SOLAR_ZENITH,
        stored / np.cos(np.radians(np.minimum(solar_zenith, MAX_SOLAR_ZENITH))),
        np.float32(np.nan),
    )


def angle_features(geometry: Geometry, inside: tuple[slice, slice]) -> dict[str, Plane]:
    """Return angles and land mask of a window."""
    angles = {name: plane[inside] for name, plane in geometry.angles.items()}
    azimuth_cosine = np.cos(np.radians(angles["solar_azimuth"] - angles["sensor_azimuth"])).astype(np.float32)
    zeniths = {name: angles[name] for name in ("solar_zenith", "sensor_zenith")}
    return zeniths | {"azimuth_cosine": azimuth_cosine, "land": geometry.land[inside]}


def neighborhood_statistics(plane: Plane) -> tuple[Plane, Plane, Plane]:
    """Return value, mean and standard deviation over the valid ones of 3 x 3 pixels; the plane has a halo of one.

    Sums run over differences from the center pixel, in a fixed order: accurate enough in single precision, and the same
    bits regardless of how the granule is divided.
    """
    rows, columns = plane.shape[0] - 2, plane.shape[1] - 2
    center = plane[1:-1, 1:-1]
    count, total, square = (np.zeros((rows, columns), np.float32) for _ in range(3))
    for down in range(3):
        for right in range(3):
            difference = plane[down : down + rows, right : right + columns] - center
            valid = np.isfinite(difference)
            difference = np.where(valid, difference, np.float32(0.0))
            count += valid
            total += difference
            square += difference * difference
    # Avoids 0 / 0 where no pixel is valid; the result is NaN there anyway.
    count = np.maximum(count, np.float32(1.0))
    mean = total / count
    spread = np.sqrt(np.maximum(square / count - mean * mean, np.float32(0.0)))
    nan_where_missing = np.where(np.isfinite(center), np.float32(0.0), np.float32(np.nan))
    return center, (center + mean).astype(np.float32), (spread + nan_where_missing).astype(np.float32)
