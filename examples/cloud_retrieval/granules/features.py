"""What the forest sees of a pixel: sixteen bands, the light, and the eight neighbours.

- M01 to M11 as reflectances (the stored value over the cosine of the sun's zenith angle); nothing where the sun is
  lower than 5 degrees, where that means little. M12 to M16 as brightness temperatures (K).
- Per band the mean and the standard deviation over the valid ones of 3 x 3 pixels.
- Three differences of brightness temperatures, which tell ice from water and thin from thick: M14-M15, M15-M16,
  M12-M15.
- Zenith angles of sun and satellite (degrees), the cosine of the azimuth between them, land or water.

No place and no time: what has been learnt there should hold elsewhere. A missing value is NaN, and the trees learn
which way such pixels go. Beyond the granule there is nothing, so a pixel's features do not depend on how a granule is
cut.
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
    *(f"{one}-{other}" for one, other in DIFFERENCES),
    *ANGLE_FEATURES,
)
# Which columns belong together when their worth is asked for.
GROUPS = {
    **{band.name: tuple(range(3 * turn, 3 * turn + 3)) for turn, band in enumerate(BANDS)},
    "differences": tuple(FEATURE_NAMES.index(f"{one}-{other}") for one, other in DIFFERENCES),
    "light": tuple(FEATURE_NAMES.index(name) for name in ANGLE_FEATURES[:3]),
    "land": (FEATURE_NAMES.index("land"),),
}
HALO = 1


def compute(granule: Granule, window: Window) -> FeatureTable:
    """Features of a window inside the granule, one line per pixel."""
    table = np.empty((window.shape[0] * window.shape[1], len(FEATURE_NAMES)), np.float32)
    around, inside = clip_to_granule(window, granule.shape)
    geometry = granule.geometry(around)
    centres: dict[str, Plane] = {}
    for turn, band in enumerate(BANDS):
        plane = (
            granule.brightness_temperature(band, around)
            if band.thermal
            else sunlit_reflectance(granule.band(band, around), geometry)
        )
        planes = neighborhood_statistics(pad_to_window(plane, around, window.expanded(HALO)))
        centres[band.name] = planes[0]
        for column, values in enumerate(planes):
            table[:, 3 * turn + column] = values.ravel()
    light = angle_features(geometry, inside)
    rest = [centres[one] - centres[other] for one, other in DIFFERENCES] + [light[name] for name in ANGLE_FEATURES]
    for column, values in enumerate(rest, start=3 * len(BANDS)):
        table[:, column] = values.ravel()
    return table


def clip_to_granule(window: Window, shape: tuple[int, int]) -> tuple[Window, tuple[slice, slice]]:
    """The window with its halo as far as the granule goes, and where in it the window lies."""
    grown = window.expanded(HALO)
    around = Window(max(grown.first, 0), min(grown.last, shape[0]), max(grown.left, 0), min(grown.right, shape[1]))
    down, across = window.first - around.first, window.left - around.left
    return around, (slice(down, down + window.shape[0]), slice(across, across + window.shape[1]))


def pad_to_window(plane: Plane, have: Window, want: Window) -> Plane:
    """A plane of the window ``have`` brought to the window ``want``, NaN beyond."""
    margins = ((have.first - want.first, want.last - have.last), (have.left - want.left, want.right - have.right))
    if not any(side for pair in margins for side in pair):
        return plane
    return np.pad(plane, margins, constant_values=np.nan)


def sunlit_reflectance(stored: Plane, geometry: Geometry) -> Plane:
    """Reflectance of a band that is stored times the cosine of the sun's zenith angle."""
    sun = geometry.angles["solar_zenith"]
    return np.where(
        sun < MAX_SOLAR_ZENITH, stored / np.cos(np.radians(np.minimum(sun, MAX_SOLAR_ZENITH))), np.float32(np.nan)
    )


def angle_features(geometry: Geometry, inside: tuple[slice, slice]) -> dict[str, Plane]:
    """Angles and land of a window."""
    angles = {name: plane[inside] for name, plane in geometry.angles.items()}
    between = np.cos(np.radians(angles["solar_azimuth"] - angles["sensor_azimuth"])).astype(np.float32)
    known = {name: angles[name] for name in ("solar_zenith", "sensor_zenith")}
    return known | {"azimuth_cosine": between, "land": geometry.land[inside]}


def neighborhood_statistics(plane: Plane) -> tuple[Plane, Plane, Plane]:
    """Value, mean and standard deviation over the valid ones of 3 x 3 pixels; the plane comes with a halo of one.

    Sums run over differences to the pixel itself, in a fixed order: exact enough in single precision, and the same bits
    wherever the granule is cut.
    """
    rows, columns = plane.shape[0] - 2, plane.shape[1] - 2
    centre = plane[1:-1, 1:-1]
    count, total, square = (np.zeros((rows, columns), np.float32) for _ in range(3))
    for down in range(3):
        for right in range(3):
            away = plane[down : down + rows, right : right + columns] - centre
            valid = np.isfinite(away)
            away = np.where(valid, away, np.float32(0.0))
            count += valid
            total += away
            square += away * away
    count = np.maximum(count, np.float32(1.0))
    mean = total / count
    spread = np.sqrt(np.maximum(square / count - mean * mean, np.float32(0.0)))
    hole = np.where(np.isfinite(centre), np.float32(0.0), np.float32(np.nan))
    return centre, (centre + mean).astype(np.float32), (spread + hole).astype(np.float32)
