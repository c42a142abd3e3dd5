"""CALIOP layers of the 5 km product (CAL_LID_L2_05kmMLay, HDF4), and columns classified from both products.

The 1 km product holds layers that are detected within one kilometer. Thin cirrus needs averages over 5, 20 or 80 km and
is in the 5 km product only, so a column without a layer in the 1 km product need not be clear. Per 5 km profile, which
covers five profiles of 1 km (Profile_Time: first, middle and last laser shot):

- A cloud layer found in an average over 5 km or more is added to a column if its top lies more than 1 km above all
  clouds that the 1 km product has there; below them the 1 km product decides.
- If one of the other four columns has, in the 1 km product, a cloud with a top within 1 km of that layer, the layer may
  be the average of that cloud and clear air: such a column is not judged.
- A column that is clear in the 1 km product, and that no 5 km profile covers, is not judged.

The optical depth of a column is the sum of ``Feature_Optical_Depth_532`` over the cloud layers of its 5 km profile (the
1 km product has none); unknown if one of them has no valid value.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from granules import caliop, hdf_files
from granules.caliop import CLEAR, OTHER, ColumnTruth, LayerTable, LidarTrack
from numpy.typing import NDArray
from retrieval.scenes import SceneError

AVERAGED_CODE = 3  # smallest code of the averaging (see caliop) that stands for 5 km or more
SAME_TOP_KM = 1.0
COLUMNS_PER_PROFILE = 5
SHOT_SECONDS = 0.0496  # between laser shots (20.16 Hz)
# Origin of a column's class, by number.
ORIGINS = (
    "1 km product",
    "cloud in the 5 km product only",
    "beside a cloud, left out",
    "clear without 5 km profile, left out",
)
ONE_KM, FIVE_KM, BESIDE_CLOUD, NOT_COVERED = range(4)
DATASETS = ("Profile_Time", "Feature_Classification_Flags", "Layer_Top_Altitude", "Feature_Optical_Depth_532")


@dataclass(frozen=True)
class LayerProduct:
    """Profiles of 5 km: times of the first and last shot, layers, and optical depth of all clouds (NaN: unknown)."""

    start_s: NDArray[np.float64]
    end_s: NDArray[np.float64]
    layers: LayerTable
    optical_depth: NDArray[np.float32]


@dataclass(frozen=True)
class JointColumns:
    """Columns of a track: class and top, optical depth (NaN: unknown), and origin of the class (see ORIGINS)."""

    truth: ColumnTruth
    optical_depth: NDArray[np.float32]
    origin: NDArray[np.int8]


def read_product(path: Path, *, label: str) -> LayerProduct:
    """Read a file of 5 km layers.

    :raises SceneError: if it cannot be read, or lacks a dataset.
    """
    with hdf_files.open_hdf4(path, label) as file:
        times, flags, tops, depths = (caliop.read_dataset(file, name, label) for name in DATASETS)
    shapes = f"times {times.shape}, flags {flags.shape}, tops {tops.shape}, optical depths {depths.shape}"
    if times.ndim != 2 or times.shape[1] != 3 or len(times) != len(flags) or not len(times):
        raise SceneError(f"{label}: {shapes}; three times per profile of 5 km are needed")
    if flags.ndim != 2 or not flags.shape == tops.shape == depths.shape:
        raise SceneError(f"{label}: {shapes}")
    layers = LayerTable(flags.astype(np.uint16), np.where(tops > -9000.0, tops, np.nan).astype(np.float32))
    order = np.argsort(times[:, 0], kind="stable")
    ordered = LayerTable(layers.flags[order], layers.tops_km[order])
    return LayerProduct(times[order, 0], times[order, 2], ordered, column_optical_depth(ordered, depths[order]))


def column_optical_depth(layers: LayerTable, depths: NDArray[Any]) -> NDArray[np.float32]:
    """Return the sum over the cloud layers of each profile; NaN without a cloud, or if one has no valid value."""
    cloud = caliop.is_cloud(layers)
    # Missing values are -9999.
    known = np.where(cloud & (depths < 0.0), np.nan, np.where(cloud, depths, 0.0)).sum(axis=1)
    return np.where(cloud.any(axis=1), known, np.nan).astype(np.float32)


def use_one_km_only(lidar: LidarTrack) -> JointColumns:
    """Return the columns of a track without 5 km product: thin cirrus counts as clear."""
    count = len(lidar.columns.column_class)
    return JointColumns(lidar.columns, np.full(count, np.nan, np.float32), np.full(count, ONE_KM, np.int8))


def join(lidar: LidarTrack, product: LayerProduct) -> JointColumns:
    """Return the columns of a track, classified from both products; see the module's description."""
    profile, covered = enclosing_profiles(lidar.track.time, product)
    flags, tops = product.layers.flags[profile], product.layers.tops_km[profile]
    # A column that is clear at 1 km has no top (NaN), and any top lies above that.
    is_new = averaged_clouds(LayerTable(flags, tops)) & covered[:, None]
    is_new &= ~(tops <= lidar.columns.top_km[:, None] + SAME_TOP_KM)
    beside = is_beside_cloud(lidar, np.where(covered, profile, -1), np.where(is_new, tops, np.nan))
    added = LayerTable(flags, np.where(is_new, tops, np.nan).astype(np.float32))
    truth = caliop.classify_columns(append_layers(lidar.layers, added))
    cases = [beside, is_new.any(axis=1), ~covered & (lidar.columns.column_class == CLEAR)]
    origin = np.select(cases, [BESIDE_CLOUD, FIVE_KM, NOT_COVERED], ONE_KM).astype(np.int8)
    column_class = np.where(np.isin(origin, (BESIDE_CLOUD, NOT_COVERED)), OTHER, truth.column_class)
    depth = np.where(covered, product.optical_depth[profile], np.float32(np.nan))
    return JointColumns(ColumnTruth(column_class.astype(np.int8), truth.top_km), depth, origin)


def enclosing_profiles(
    seconds: NDArray[np.float64], product: LayerProduct
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Return for each time the profile of 5 km that may enclose it, and True where it does.

    Matched by time rather than by position: subsets of the two products need not begin together.
    """
    profile = np.clip(np.searchsorted(product.start_s - SHOT_SECONDS, seconds, side="right") - 1, 0, None)
    inside = (seconds >= product.start_s[profile] - SHOT_SECONDS) & (seconds <= product.end_s[profile] + SHOT_SECONDS)
    return profile, inside


def averaged_clouds(layers: LayerTable) -> NDArray[np.bool_]:
    """Return True for cloud layers that were found in averages over 5 km or more."""
    return caliop.is_cloud(layers) & (caliop.decode_flags(layers.flags, "averaging") >= AVERAGED_CODE)


def is_beside_cloud(lidar: LidarTrack, profile: NDArray[Any], tops: NDArray[Any]) -> NDArray[np.bool_]:
    """Return True for columns with a layer that may be a cloud of another column of the same 5 km profile.

    :param profile: number of the 5 km profile of each column, -1: none; ``tops``: of the layers in question, NaN: none.
    """
    rows = np.flatnonzero(np.isfinite(tops).any(axis=1))
    clouds = np.where(caliop.is_cloud(lidar.layers), lidar.layers.tops_km, np.nan)
    beside = np.zeros(len(profile), bool)
    for shift in range(1 - COLUMNS_PER_PROFILE, COLUMNS_PER_PROFILE):
        other = np.clip(rows + shift, 0, len(profile) - 1)
        same_profile = (other != rows) & (profile[other] == profile[rows])
        near = np.abs(clouds[other][:, None, :] - tops[rows][:, :, None]) <= SAME_TOP_KM
        beside[rows] |= same_profile & near.any(axis=(1, 2))
    return beside


def append_layers(layers: LayerTable, more: LayerTable) -> LayerTable:
    """Return a table with the layers of two tables side by side."""
    return LayerTable(np.hstack((layers.flags, more.flags)), np.hstack((layers.tops_km, more.tops_km)))
