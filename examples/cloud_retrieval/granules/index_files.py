"""Index files: the pixel matched with each profile, under the names of the collocation tool that introduced them.

CALIPSO_Track_Index      (profiles)   index of the profile, -1: no match VIIRS_AlongTrack_Index   (profiles)   line
VIIRS_CrossTrack_Index   (profiles)   pixel CALIPSO_VIIRS_Distance   (profiles)   km, -9999.99: no match
CALIPSO_VIIRS_Interval   (profiles)   minutes, positive if CALIPSO observed after VIIRS observation_data/M01 ...
(matches, 5) the matched pixel and four neighbors across the track, matched pixel in the middle
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from retrieval.scenes import SceneError

from granules import hdf_files
from granules.collocation import Matches
from granules.viirs import BANDS, Granule, Window

NONE, NOTHING = -1, -9999.99
NEIGHBORS = 2  # on either side
INDEX_DATASETS = {
    "CALIPSO_Track_Index": ("profile", "CALIPSO Track Indices, start from 0. Negative if unusable."),
    "VIIRS_AlongTrack_Index": ("line", "VIIRS Along Track Indices. Negative if unusable."),
    "VIIRS_CrossTrack_Index": ("pixel", "VIIRS Cross Track Indices. Negative if unusable."),
}
VALUE_DATASETS = {
    "CALIPSO_VIIRS_Distance": (
        "km",
        "Distances between CALIPSO and VIIRS pixels in kilometer. Negative if unusable.",
    ),
    "CALIPSO_VIIRS_Interval": (
        "minutes",
        "Time interval between CALIPSO and VIIRS pixels in minute. Positive if CALIPSO observes after VIIRS",
    ),
}


def read_matches(path: Path, *, label: str, km: float, minutes: float) -> Matches:
    """Return the matches of an index file within ``km`` and ``minutes``; the limits of the original tool were wider.

    :raises SceneError: if a dataset is missing or the datasets differ in length.
    """
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise SceneError(f"{label}: not a readable HDF5 file ({str(error).splitlines()[0]})") from error
    with file:
        missing = [name for name in (*INDEX_DATASETS, *VALUE_DATASETS) if name not in file]
        if missing:
            raise SceneError(f"{label}: no dataset {missing[0]}")
        values_by_part = {
            part: read_column(file, name, label) for name, (part, _) in (INDEX_DATASETS | VALUE_DATASETS).items()
        }
    if len({len(values) for values in values_by_part.values()}) > 1:
        raise SceneError(f"{label}: its datasets differ in length")
    is_match = (values_by_part["profile"] >= 0) & (values_by_part["line"] >= 0) & (values_by_part["pixel"] >= 0)
    is_match &= (
        (values_by_part["km"] >= 0.0) & (values_by_part["km"] <= km) & (np.abs(values_by_part["minutes"]) <= minutes)
    )
    indices = [values_by_part[part][is_match].astype(np.int32) for part in ("profile", "line", "pixel")]
    return Matches(
        indices[0],
        indices[1],
        indices[2],
        values_by_part["km"][is_match],
        values_by_part["minutes"][is_match],
        len(is_match),
    )


def read_column(file: Any, name: str, label: str) -> NDArray[Any]:
    """Return a dataset of an index file, one number per profile.

    :raises SceneError: if it is no dataset of numbers, or cannot be decompressed.
    """
    try:
        values = np.asarray(file[name][()]).ravel()
    except (OSError, TypeError, RuntimeError) as error:
        raise SceneError(f"{label}: {name} cannot be read; damaged? ({str(error).splitlines()[0]})") from error
    if values.dtype.kind not in "uif":
        raise SceneError(f"{label}: {name} holds {values.dtype}, not numbers")
    return values


def read_observations(path: Path) -> dict[str, NDArray[Any]]:
    """Return the radiances of an index file's matches, by band, (matches, 5)."""
    with h5py.File(path, "r") as file:
        return {name: np.asarray(plane[()]) for name, plane in file["observation_data"].items()}


def write_matches(path: Path, matches: Matches, granule: Granule, sources: tuple[str, ...]) -> None:
    """Write an index file.

    :param sources: names of the collocated files.
    """
    with h5py.File(path, "w") as file:
        file.attrs["Description"] = "collocation of a CALIPSO track and a VIIRS granule: nearest pixel of each profile"
        file.attrs["Input_Files"] = ",".join(sources)
        file.attrs["synthetic"] = granule.synthetic
        for name, (part, text) in INDEX_DATASETS.items():
            write_dataset(file, name, per_profile(matches, part, np.int32(NONE)), text, NONE)
        for name, (part, text) in VALUE_DATASETS.items():
            write_dataset(file, name, per_profile(matches, part, np.float64(NOTHING)), text, NOTHING)
        group = file.create_group("observation_data")
        for name, values in neighbor_values(granule, matches).items():
            group.create_dataset(name, data=values)


def write_dataset(file: Any, name: str, values: NDArray[Any], text: str, fill: float) -> None:
    """Write one dataset with its attributes."""
    dataset = file.create_dataset(name, data=values, compression="gzip", compression_opts=1)
    dataset.attrs["Description"], dataset.attrs["fillvalue"] = text, fill


def per_profile(matches: Matches, part: str, fill: Any) -> NDArray[Any]:
    """Return one value per profile of the whole track."""
    values = np.full(matches.profiles, fill)
    values[matches.profile] = getattr(matches, part)
    return values


def neighbor_values(granule: Granule, matches: Matches) -> dict[str, NDArray[np.float32]]:
    """Return stored values of the matched pixels and their neighbors across the track, NaN where missing."""
    if not len(matches):
        return {band.name: np.empty((0, 2 * NEIGHBORS + 1), np.float32) for band in BANDS}
    window = Window(
        int(matches.line.min()),
        int(matches.line.max()) + 1,
        max(int(matches.pixel.min()) - NEIGHBORS, 0),
        min(int(matches.pixel.max()) + NEIGHBORS + 1, granule.shape[1]),
    )
    pixel = matches.pixel[:, None] + np.arange(-NEIGHBORS, NEIGHBORS + 1) - window.left
    inside = (pixel >= 0) & (pixel < window.shape[1])
    line = (matches.line - window.first)[:, None]
    with hdf_files.LIBRARY_LOCK:
        return {
            band.name: np.where(
                inside, granule.band(band, window)[line, np.clip(pixel, 0, window.shape[1] - 1)], np.float32(np.nan)
            )
            for band in BANDS
        }
