"""Which pixel of a swath lies under which profile of a track: nearest neighbour in space, then a look at the clock.

A KD-tree over the ten million pixels of a granule takes seconds to build, and nearly all of them are far from the
track. So blocks of 16 x 16 pixels are judged first, and the tree is built from the pixels of blocks that may matter.

That no pixel that matters is lost can be proved. All pixels of a block lie in its box of latitudes and longitudes.
From the middle of the box, (phi, lambda), go along the parallel by at most half the box's width, then along the
meridian by at most half its height: so every pixel lies within

    radius = height / 2 + cos(phi) * width / 2     (radians)

of the middle, on any box anywhere: one that spans the date line or holds a pole merely gets a large radius. A pixel
within reach of a profile is then within radius + reach of the middle, and a block is left out only if its middle is
further than that from every profile.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from granules import geodesy

BLOCK_LINES = 16  # lines of a scan
KM, MINUTES = 5.0, 15.0
# Blocks this wide are kept unseen, so that the search for the others may stop early (radians).
WIDE_BLOCK_RADIANS = 0.1
ROUNDING_RADIANS = 1e-9


@dataclass(frozen=True)
class Swath:
    """Pixels: degrees (lines, pixels), NaN where unknown; seconds (lines); which have an observation, None: all."""

    latitude: NDArray[Any]
    longitude: NDArray[Any]
    time: NDArray[np.float64]
    usable: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Track:
    """Profiles: degrees, and seconds on the clock of the swath."""

    latitude: NDArray[np.float64]
    longitude: NDArray[np.float64]
    time: NDArray[np.float64]


@dataclass(frozen=True)
class Matches:
    """Profiles with a pixel, in order: their numbers, line and pixel, distance (km), profile's time less pixel's (min).

    ``profiles``: how many the track has.
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
    """For each profile the nearest pixel, if that lies within ``km`` and was seen within ``minutes``."""
    rows = profiles_in_time(swath, track, minutes)
    points = geodesy.unit_vectors(track.latitude[rows], track.longitude[rows])
    near = candidate_pixels(swath, points, km)
    if not len(rows) or not len(near):
        return filter_by_time(swath, track, (rows[:0], near[:0], np.empty(0)), minutes)
    latitude, longitude = (plane.reshape(-1)[near] for plane in (swath.latitude, swath.longitude))
    found, chords = nearest_pixels(geodesy.unit_vectors(latitude, longitude), points, km)
    hit = found >= 0
    return filter_by_time(swath, track, (rows[hit], near[found[hit]], chords[hit]), minutes)


def profiles_in_time(swath: Swath, track: Track, minutes: float) -> NDArray[np.intp]:
    """Profiles that any line can match in time, and whose place is known."""
    early, late = float(np.min(swath.time)) - 60.0 * minutes, float(np.max(swath.time)) + 60.0 * minutes
    known = np.isfinite(track.latitude) & np.isfinite(track.longitude) & (np.abs(track.latitude) <= 90.0)
    return np.flatnonzero(known & (track.time >= early) & (track.time <= late))


def nearest_pixels(
    pixels: NDArray[np.float64], points: NDArray[np.float64], km: float
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """For each point the number of the nearest pixel (-1: none within ``km``) and the chord to it."""
    from scipy.spatial import cKDTree

    # The bound of the search is exclusive, ours is not.
    bound = np.nextafter(geodesy.chord_length(km), np.inf)
    chords, found = cKDTree(pixels, balanced_tree=False, compact_nodes=False).query(points, distance_upper_bound=bound)
    return np.where(np.isfinite(chords), found, -1), chords


def filter_by_time(swath: Swath, track: Track, hits: tuple[Any, Any, Any], minutes: float) -> Matches:
    """Matches of profiles, flat pixels and chords; those too far apart in time left out."""
    profile, flat, chords = hits
    line, pixel = np.divmod(flat, swath.latitude.shape[1])
    late = (track.time[profile] - swath.time[line]) / 60.0
    kept = np.abs(late) <= minutes
    numbers = [part[kept].astype(np.int32) for part in (profile, line, pixel)]
    return Matches(numbers[0], numbers[1], numbers[2], geodesy.arc_km(chords[kept]), late[kept], len(track.time))


def candidate_pixels(swath: Swath, points: NDArray[np.float64], km: float) -> NDArray[np.intp]:
    """Flat numbers of the pixels whose blocks may come within ``km`` of a point; unknown and unusable ones left out."""
    lines, pixels = swath.latitude.shape
    keep = candidate_blocks(swath, points, km)
    mask = np.repeat(np.repeat(keep, BLOCK_LINES, axis=0)[:lines], BLOCK_LINES, axis=1)[:, :pixels]
    if swath.usable is not None:
        mask = mask & swath.usable
    flat = np.flatnonzero(mask)
    good = is_latitude(swath.latitude.reshape(-1)[flat]) & np.isfinite(swath.longitude.reshape(-1)[flat])
    return np.asarray(flat[good])


def is_latitude(latitude: NDArray[Any]) -> NDArray[np.bool_]:
    """Whether a latitude is one."""
    return np.asarray(np.abs(latitude) <= 90.0)


def candidate_blocks(swath: Swath, points: NDArray[np.float64], km: float) -> NDArray[np.bool_]:
    """Which blocks may hold a pixel within ``km`` of a point."""
    from scipy.spatial import cKDTree

    south, north = block_extremes(swath.latitude)
    west, east = block_extremes(swath.longitude)
    latitude = (south + north) / 2.0
    with np.errstate(invalid="ignore"):
        flat = np.cos(np.radians(latitude))
        radius = np.radians(north - south) / 2.0 + flat * np.radians(east - west) / 2.0 + ROUNDING_RADIANS
    reach = radius + km / geodesy.EARTH_KM
    narrow = reach < WIDE_BLOCK_RADIANS
    # Boxes of unknown place (NaN) are neither wide nor narrow.
    keep = np.asarray(reach >= WIDE_BLOCK_RADIANS)
    if narrow.any() and len(points):
        middles = geodesy.unit_vectors(latitude[narrow], (west[narrow] + east[narrow]) / 2.0)
        bound = 2.0 * np.sin(min(float(reach[narrow].max()), np.pi) / 2.0) * (1.0 + 1e-9)
        chords, _ = cKDTree(points).query(middles, distance_upper_bound=bound)
        keep[narrow] = chords <= 2.0 * np.sin(reach[narrow] / 2.0)
    return keep


def block_extremes(plane: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Least and greatest value of each block; NaN where a block has none."""
    lines, pixels = (np.arange(0, size, BLOCK_LINES) for size in plane.shape)
    found = []
    for quick, careful in ((np.minimum, np.fmin), (np.maximum, np.fmax)):
        best = quick.reduceat(quick.reduceat(plane, lines, axis=0), pixels, axis=1)
        if np.isnan(best).any():
            best = careful.reduceat(careful.reduceat(plane, lines, axis=0), pixels, axis=1)
        found.append(best.astype(np.float64))
    return found[0], found[1]
