"""CALIOP 1 km cloud layers (CAL_LID_L2_01kmCLay, HDF4): the track, its layers, and the class of each column.

Feature_Classification_Flags, 16 bits, counted from the lowest. Source: CALIPSO Data Management System Data Products
Catalog (PC-SCI-503), table of the feature classification flags, which counts bits from 1; NASA's own reader
``vfm_feature_flags.pro`` interprets them in the same way:

    bits 1-3    flags & 7            feature type
    bits 4-5    (flags >> 3) & 3     confidence in the type
    bits 6-7    (flags >> 5) & 3     ice/water phase
    bits 8-9    (flags >> 7) & 3     confidence in the phase
    bits 10-12  (flags >> 9) & 7     subtype (of clouds: 6 cirrus, 7 deep convection, ...)
    bit 13      (flags >> 12) & 1    confidence in the subtype
    bits 14-16  (flags >> 13) & 7    horizontal averaging needed to detect the feature

Up to version 2 phase 3 meant mixed phase; since version 3 it is horizontally oriented ice (Hu et al. 2009, J. Atmos.
Oceanic Technol. 26, 2293). Here "mixed" denotes multilayer columns with layers of both phases, such as cirrus above
water cloud; it says nothing about ice and water within one cloud, which the lidar does not tell apart.

Snow_Ice_Surface_Type (before version 4: NSIDC_Surface_Type): 1 to 100 sea ice concentration (%), 101 permanent ice, 103
and 104 dry and wet snow. Sea ice counts from 50 % on.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from retrieval.scenes import SceneError

from granules import hdf_files
from granules.collocation import Track

FEATURE_TYPES = (
    "invalid",
    "clear air",
    "cloud",
    "aerosol",
    "stratospheric feature",
    "surface",
    "subsurface",
    "no signal",
)
PHASES = ("not determined", "randomly oriented ice", "water", "horizontally oriented ice")
CONFIDENCE = ("none", "low", "medium", "high")
AVERAGING_KM = (0.0, 1.0 / 3.0, 1.0, 5.0, 20.0, 80.0)
# First bit (from 0) and number of bits of each part.
FLAG_BITS = {
    "type": (0, 3),
    "type_confidence": (3, 2),
    "phase": (5, 2),
    "phase_confidence": (7, 2),
    "subtype": (9, 3),
    "subtype_confidence": (12, 1),
    "averaging": (13, 3),
}
CLOUD = 2
# Classes of columns; CLOUDY (unknown phase) counts for the mask only, OTHER (invalid or stratospheric features) not at
# all.
CLASSES = ("clear", "water", "ice", "mixed")
CLEAR, WATER, ICE, MIXED, CLOUDY, OTHER = range(6)
MIN_PHASE_CONFIDENCE = 2
SURFACE_DATASETS = ("Snow_Ice_Surface_Type", "NSIDC_Surface_Type")
MIN_SNOW_CODE, MAX_SNOW_CODE = 50, 104


@dataclass(frozen=True)
class LayerTable:
    """Layers of each profile, (profiles, layers): flags, and top above sea level (km; NaN where there is no layer)."""

    flags: NDArray[np.uint16]
    tops_km: NDArray[np.float32]


@dataclass(frozen=True)
class ColumnTruth:
    """Class of each profile's column (see :data:`CLASSES`), and its highest cloud top (km; NaN where clear)."""

    column_class: NDArray[np.int8]
    top_km: NDArray[np.float32]


def decode_flags(flags: NDArray[Any], part: str) -> NDArray[np.uint16]:
    """Return one part of the flags, as the number listed in the catalog."""
    first, count = FLAG_BITS[part]
    return (np.asarray(flags, np.uint16) >> np.uint16(first)) & np.uint16((1 << count) - 1)


def encode_flags(**parts: Any) -> NDArray[np.uint16]:
    """Return flags built from their parts; missing parts are 0."""
    total: NDArray[np.uint16] = np.zeros((), np.uint16)
    for part, value in parts.items():
        first, count = FLAG_BITS[part]
        total = np.asarray(
            total | ((np.asarray(value, np.uint16) & np.uint16((1 << count) - 1)) << np.uint16(first)), np.uint16
        )
    return total


def classify_columns(layers: LayerTable) -> ColumnTruth:
    """Return the class of each column.

    A phase counts if its confidence is at least medium; a column with a cloud layer of lower confidence is cloudy, of
    unknown phase.
    """
    cloud = is_cloud(layers)
    other = np.isfinite(layers.tops_km) & np.isin(decode_flags(layers.flags, "type"), (0, 4, 7))
    phase = decode_flags(layers.flags, "phase")
    known_phase = cloud & (decode_flags(layers.flags, "phase_confidence") >= MIN_PHASE_CONFIDENCE) & (phase > 0)
    water, ice = (known_phase & (phase == 2)).any(axis=1), (known_phase & (phase != 2)).any(axis=1)
    cases = [other.any(axis=1), ~cloud.any(axis=1), (cloud & ~known_phase).any(axis=1), water & ice, water]
    column_class = np.select(cases, [OTHER, CLEAR, CLOUDY, MIXED, WATER], ICE)
    return ColumnTruth(column_class.astype(np.int8), highest_top(np.where(cloud, layers.tops_km, np.nan)))


def is_cloud(layers: LayerTable) -> NDArray[np.bool_]:
    """Return True for cloud layers."""
    return np.asarray(np.isfinite(layers.tops_km) & (decode_flags(layers.flags, "type") == CLOUD))


def highest_top(tops: NDArray[Any]) -> NDArray[np.float32]:
    """Return the maximum of each row, NaN where there is none."""
    best = np.where(np.isfinite(tops), tops, -np.inf).max(axis=1)
    return np.where(np.isfinite(best), best, np.nan).astype(np.float32)


@dataclass(frozen=True)
class LidarTrack:
    """A track with its columns, their layers, and snow or ice on the surface (1; 0: none; -1: unknown)."""

    name: str
    track: Track
    columns: ColumnTruth
    synthetic: bool
    layers: LayerTable
    snow: NDArray[np.int8]


def read_track(path: Path, *, label: str) -> LidarTrack:
    """Read a file of cloud layers.

    :raises SceneError: if it cannot be read or lacks a dataset.
    """
    with hdf_files.open_hdf4(path, label) as file:
        coordinates = {name: read_dataset(file, name, label) for name in ("Latitude", "Longitude", "Profile_Time")}
        flags = read_dataset(file, "Feature_Classification_Flags", label).astype(np.uint16)
        tops = read_dataset(file, "Layer_Top_Altitude", label)
        surfaces = [read_dataset(file, name, label) for name in SURFACE_DATASETS if name in file.datasets()]
        synthetic = bool(file.attributes().get("synthetic", 0))
    lengths = {len(values) for values in (*coordinates.values(), *surfaces, flags)}
    if len(lengths) > 1 or flags.ndim != 2 or flags.shape != tops.shape or not flags.size:
        sizes = f"{sorted(lengths)} profiles, flags {flags.shape}, tops {tops.shape}"
        raise SceneError(f"{label}: its datasets differ in length ({sizes})")
    track = Track(*(middle_value(coordinates[name]) for name in coordinates))
    # Missing tops are -9999.
    layers = LayerTable(flags, np.where(tops > -9000.0, tops, np.nan).astype(np.float32))
    codes = middle_value(surfaces[0]) if surfaces else np.full(len(flags), np.nan)
    return LidarTrack(path.name, track, classify_columns(layers), synthetic, layers, decode_snow(codes))


def decode_snow(codes: NDArray[Any]) -> NDArray[np.int8]:
    """Return 1 for snow and ice, 0 for neither, -1 for unknown; see the module's description."""
    snow = (codes >= MIN_SNOW_CODE) & (codes <= MAX_SNOW_CODE)
    # Above 104 are coasts, suspect values and, in version 3, open water: no statement about snow.
    return np.select([snow, (codes >= 0) & (codes < MIN_SNOW_CODE)], [1, 0], -1).astype(np.int8)


def read_dataset(file: Any, name: str, label: str) -> NDArray[Any]:
    """Return a dataset of an HDF4 file.

    :raises SceneError: if it does not exist or cannot be decompressed.
    """
    from pyhdf.error import HDF4Error

    if name not in file.datasets():
        raise SceneError(f"{label}: no dataset {name}")
    try:
        return np.atleast_1d(file.select(name).get())
    except (HDF4Error, ValueError) as error:
        raise SceneError(f"{label}: {name} cannot be read; damaged? ({error})") from error


def middle_value(values: NDArray[Any]) -> NDArray[np.float64]:
    """Return one number per profile: the middle one if the product has several."""
    flat = values.reshape(len(values), -1)
    return np.asarray(flat[:, flat.shape[1] // 2], np.float64)
