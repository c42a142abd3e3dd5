"""CALIOP 1 km cloud layers (CAL_LID_L2_01kmCLay, HDF4): the track, its layers, and what they say of a column.

Feature_Classification_Flags, 16 bits, counted from the lowest. Source: CALIPSO Data Management System Data Products
Catalog (PC-SCI-503), table of the feature classification flags, which counts bits from 1; NASA's own reader
``vfm_feature_flags.pro`` reads them in the same way:

    bits 1-3    flags & 7            feature type
    bits 4-5    (flags >> 3) & 3     confidence in the type
    bits 6-7    (flags >> 5) & 3     ice/water phase
    bits 8-9    (flags >> 7) & 3     confidence in the phase
    bits 10-12  (flags >> 9) & 7     subtype (of clouds: 6 cirrus, 7 deep convection, ...)
    bit 13      (flags >> 12) & 1    confidence in the subtype
    bits 14-16  (flags >> 13) & 7    horizontal averaging needed to find the feature

Up to version 2 phase 3 meant mixed phase; since version 3 it is horizontally oriented ice (Hu et al. 2009, J. Atmos.
Oceanic Technol. 26, 2293), so "mixed" here is said of columns that hold layers of both phases.
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
# First bit and number of bits of each part.
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
# What a column is; CLOUDY counts for the mask only, OTHER (invalid or stratospheric features) not at all.
CLASSES = ("clear", "water", "ice", "mixed")
CLEAR, WATER, ICE, MIXED, CLOUDY, OTHER = range(6)
MIN_PHASE_CONFIDENCE = 2


@dataclass(frozen=True)
class LayerTable:
    """Layers of each profile, (profiles, layers): flags, and top above sea level (km; NaN where there is no layer)."""

    flags: NDArray[np.uint16]
    tops_km: NDArray[np.float32]


@dataclass(frozen=True)
class ColumnTruth:
    """What each profile's column is (see :data:`CLASSES`), and its highest cloud top (km; NaN where clear)."""

    column_class: NDArray[np.int8]
    top_km: NDArray[np.float32]


def decode_flags(flags: NDArray[Any], part: str) -> NDArray[np.uint16]:
    """One part of the flags, as the number that the catalog lists."""
    first, count = FLAG_BITS[part]
    return (np.asarray(flags, np.uint16) >> np.uint16(first)) & np.uint16((1 << count) - 1)


def encode_flags(**parts: Any) -> NDArray[np.uint16]:
    """Flags from their parts; what is not given is 0."""
    total: NDArray[np.uint16] = np.zeros((), np.uint16)
    for part, value in parts.items():
        first, count = FLAG_BITS[part]
        total = np.asarray(
            total | ((np.asarray(value, np.uint16) & np.uint16((1 << count) - 1)) << np.uint16(first)), np.uint16
        )
    return total


def classify_columns(layers: LayerTable) -> ColumnTruth:
    """The class of each column.

    A phase counts if it was determined with at least medium confidence; a column with a cloud layer whose phase was not
    is cloudy, of unknown phase.
    """
    there = np.isfinite(layers.tops_km)
    cloud = there & (decode_flags(layers.flags, "type") == CLOUD)
    odd = there & np.isin(decode_flags(layers.flags, "type"), (0, 4, 7))
    phase = decode_flags(layers.flags, "phase")
    sure = cloud & (decode_flags(layers.flags, "phase_confidence") >= MIN_PHASE_CONFIDENCE) & (phase > 0)
    water, ice = (sure & (phase == 2)).any(axis=1), (sure & (phase != 2)).any(axis=1)
    cases = [odd.any(axis=1), ~cloud.any(axis=1), (cloud & ~sure).any(axis=1), water & ice, water]
    kind = np.select(cases, [OTHER, CLEAR, CLOUDY, MIXED, WATER], ICE)
    return ColumnTruth(kind.astype(np.int8), highest_top(np.where(cloud, layers.tops_km, np.nan)))


def highest_top(tops: NDArray[Any]) -> NDArray[np.float32]:
    """The largest of each row, NaN where there is none."""
    best = np.where(np.isfinite(tops), tops, -np.inf).max(axis=1)
    return np.where(np.isfinite(best), best, np.nan).astype(np.float32)


@dataclass(frozen=True)
class LidarTrack:
    """A track with its columns."""

    name: str
    track: Track
    columns: ColumnTruth
    synthetic: bool


def read_track(path: Path, *, label: str) -> LidarTrack:
    """Read a file of cloud layers.

    :raises SceneError: when it cannot be read or lacks a dataset.
    """
    with hdf_files.open_hdf4(path, label) as file:
        held = {name: read_dataset(file, name, label) for name in ("Latitude", "Longitude", "Profile_Time")}
        flags = read_dataset(file, "Feature_Classification_Flags", label).astype(np.uint16)
        tops = read_dataset(file, "Layer_Top_Altitude", label)
        synthetic = bool(file.attributes().get("synthetic", 0))
    track = Track(*(middle_value(held[name]) for name in held))
    if len(flags) != len(track.time) or flags.shape != tops.shape:
        raise SceneError(f"{label}: {len(track.time)} profiles, flags {flags.shape}, tops {tops.shape}")
    layers = LayerTable(flags, np.where(tops > -9000.0, tops, np.nan).astype(np.float32))
    return LidarTrack(path.name, track, classify_columns(layers), synthetic)


def read_dataset(file: Any, name: str, label: str) -> NDArray[Any]:
    """A dataset of an HDF4 file.

    :raises SceneError: when there is none, or it cannot be unpacked.
    """
    from pyhdf.error import HDF4Error

    if name not in file.datasets():
        raise SceneError(f"{label}: no dataset {name}")
    try:
        return np.asarray(file.select(name).get())
    except (HDF4Error, ValueError) as error:
        raise SceneError(f"{label}: {name} cannot be read; damaged? ({error})") from error


def middle_value(values: NDArray[Any]) -> NDArray[np.float64]:
    """One number per profile: the middle one where a product gives several."""
    flat = values.reshape(len(values), -1)
    return np.asarray(flat[:, flat.shape[1] // 2], np.float64)
