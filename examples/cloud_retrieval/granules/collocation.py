"""Collocation of a swath and a track: for each profile the nearest pixel in space, subject to a time limit.

Building a KD-tree from the ten million pixels of a granule takes seconds, and nearly all of them are far from the
track. So blocks of 16 x 16 pixels are tested first, and the tree is built from the pixels of the remaining blocks.

It can be proved that no relevant pixel is lost. All pixels of a block lie in its box of latitudes and longitudes. From
the center of the box, (phi, lambda), move along the parallel by at most half the box's width, then along the meridian
by at most half its height: so every pixel lies within

    radius = height / 2 + cos(phi) * width / 2     (radians)

of the center, for any box: one that spans the date line or contains a pole merely gets a large radius. A pixel within
reach of a profile is then within radius + reach of the center, and a block is left out only if its center is further
than that from every profile.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from granules import geodesy

BLOCK_LINES = 16  # lines of a VIIRS scan
KM, MINUTES = 5.0, 15.0
# Blocks wider than this are kept without a test, so that the search radius for the other blocks stays small.
WIDE_BLOCK_RADIANS = 0.1
ROUNDING_RADIANS = 1e-9


@dataclass(frozen=True)
class Swath:
    """Pixels: degrees (lines, pixels) and seconds (lines), NaN where unknown; usable pixels, None: all."""

    latitude: NDArray[Any]
    longitude: NDArray[Any]
    time: NDArray[np.float64]
    usable: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Track:
    """Profiles: degrees, and seconds in the time scale of the swath."""

    latitude: NDArray[np.float64]
    longitude: NDArray[np.float64]
    time: NDArray[np.float64]


@dataclass(frozen=True)
class Matches:
    """Matched profiles in order: indices, line and pixel, distance (km), time of profile minus time of pixel (minutes).

    ``profiles``: number of profiles of the track.
    """

    profile: NDArray[np.int32]
    line: NDArray[np.int32]
    pixel: NDArray[np.int32]
    km: NDArray[np.float64]
    minutes: NDArray[np.float64]
    profiles: int

    def __len__(self) -> int:
        return len(self.profile)


def collocate(swath: Swath, track: Track, *, km: float = KM, minutes: float = MINUTES) -> Matches:
    """Return for each profile the nearest pixel, if it lies within ``km`` and was observed within ``minutes``."""
    rows = profiles_in_time(swath, track, minutes)
    points = geodesy.unit_vectors(track.latitude[rows], track.longitude[rows])
    candidates = candidate_pixels(swath, points, km)
    if not len(rows) or not len(candidates):
        return filter_by_time(swath, track, (rows[:0], candidates[:0], np.empty(0)), minutes)
    latitude, longitude = (plane.reshape(-1)[candidates] for plane in (swath.latitude, swath.longitude))
    nearest, chords = nearest_pixels(geodesy.unit_vectors(latitude, longitude), points, km)
    is_match = nearest >= 0
    return filter_by_time(swath, track, (rows[is_match], candidates[nearest[is_match]], chords[is_match]), minutes)


def profiles_in_time(swath: Swath, track: Track, minutes: float) -> NDArray[np.intp]:
    """Return the profiles within the time limit of any line whose coordinates are valid."""
    known = swath.time[np.isfinite(swath.time)]
    if not len(known):
        return np.empty(0, np.intp)
    earliest, latest = float(known.min()) - 60.0 * minutes, float(known.max()) + 60.0 * minutes
    is_valid = np.isfinite(track.latitude) & np.isfinite(track.longitude) & (np.abs(track.latitude) <= 90.0)
    return np.flatnonzero(is_valid & (track.time >= earliest) & (track.time <= latest))


def nearest_pixels(
    pixels: NDArray[np.float64], points: NDArray[np.float64], km: float
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return for each point the index of the nearest pixel (-1: none within ``km``) and the chord to it."""
    from scipy.spatial import cKDTree

    # cKDTree's bound is exclusive, the limit in km is inclusive.
    bound = np.nextafter(geodesy.chord_length(km), np.inf)
    chords, indices = cKDTree(pixels, balanced_tree=False, compact_nodes=False).query(
        points, distance_upper_bound=bound
    )
    return np.where(np.isfinite(chords), indices, -1), chords


def filter_by_time(swath: Swath, track: Track, hits: tuple[Any, Any, Any], minutes: float) -> Matches:
    """Return matches from profiles, flat pixel indices and chords, without those beyond the time limit."""
    profile, flat, chords = hits
    line, pixel = np.divmod(flat, swath.latitude.shape[1])
    delay_minutes = (track.time[profile] - swath.time[line]) / 60.0
    in_time = np.abs(delay_minutes) <= minutes
    indices = [part[in_time].astype(np.int32) for part in (profile, line, pixel)]
    return Matches(
        indices[0], indices[1], indices[2], geodesy.arc_km(chords[in_time]), delay_minutes[in_time], len(track.time)
    )


def candidate_pixels(swath: Swath, points: NDArray[np.float64], km: float) -> NDArray[np.intp]:
    """Return flat indices of pixels in blocks that may lie within ``km`` of a point; only valid and usable pixels."""
    lines, pixels = swath.latitude.shape
    keep = candidate_blocks(swath, points, km)
    mask = np.repeat(np.repeat(keep, BLOCK_LINES, axis=0)[:lines], BLOCK_LINES, axis=1)[:, :pixels]
    if swath.usable is not None:
        mask = mask & swath.usable
    flat = np.flatnonzero(mask)
    valid = is_latitude(swath.latitude.reshape(-1)[flat]) & np.isfinite(swath.longitude.reshape(-1)[flat])
    return np.asarray(flat[valid])


def is_latitude(latitude: NDArray[Any]) -> NDArray[np.bool_]:
    """Return True where a latitude is valid."""
    return np.asarray(np.abs(latitude) <= 90.0)


def candidate_blocks(swath: Swath, points: NDArray[np.float64], km: float) -> NDArray[np.bool_]:
    """Return True for each block that may contain a pixel within ``km`` of a point."""
    from scipy.spatial import cKDTree

    south, north = block_extremes(swath.latitude)
    west, east = block_extremes(swath.longitude)
    latitude = (south + north) / 2.0
    with np.errstate(invalid="ignore"):
        cosine = np.cos(np.radians(latitude))
        radius = np.radians(north - south) / 2.0 + cosine * np.radians(east - west) / 2.0 + ROUNDING_RADIANS
    reach = radius + km / geodesy.EARTH_KM
    narrow = reach < WIDE_BLOCK_RADIANS
    # Boxes without a valid pixel (NaN) compare False with both and are left out.
    keep = np.asarray(reach >= WIDE_BLOCK_RADIANS)
    if narrow.any() and len(points):
        centers = geodesy.unit_vectors(latitude[narrow], (west[narrow] + east[narrow]) / 2.0)
        # One bound for all blocks; the exact reach of each block is tested afterwards.
        bound = 2.0 * np.sin(min(float(reach[narrow].max()), np.pi) / 2.0) * (1.0 + 1e-9)
        chords, _ = cKDTree(points).query(centers, distance_upper_bound=bound)
        keep[narrow] = chords <= 2.0 * np.sin(reach[narrow] / 2.0)
    return keep


def block_extremes(plane: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return minimum and maximum of each block; NaN if a block has no value."""
    lines, pixels = (np.arange(0, size, BLOCK_LINES) for size in plane.shape)
    extremes = []
    for fast, ignoring_nan in ((np.minimum, np.fmin), (np.maximum, np.fmax)):
        reduced = fast.reduceat(fast.reduceat(plane, lines, axis=0), pixels, axis=1)
        if np.isnan(reduced).any():
            # fmin and fmax are several times slower than minimum and maximum.
            reduced = ignoring_nan.reduceat(ignoring_nan.reduceat(plane, lines, axis=0), pixels, axis=1)
        extremes.append(reduced.astype(np.float64))
    return extremes[0], extremes[1]
