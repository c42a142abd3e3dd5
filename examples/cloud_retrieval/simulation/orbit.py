"""Where two satellites look: a scanning swath and a lidar track, from circular orbits over a turning sphere.

Numbers: Suomi NPP flies at 829 km, inclined by 98.7 degrees, crosses the equator northwards at 13:30 local time and
goes round in 101.4 minutes; VIIRS looks 56.28 degrees to either side, 16 lines each 1.786 s, and joins raw samples by
threes, twos and ones from the middle of the swath outwards (VIIRS Level 1 user guide), leaving out lines where scans
overlap. CALIPSO flew at 705 km, inclined by 98.2 degrees, round in 98.8 minutes, a profile of the layer product every
kilometre.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
from granules import geodesy
from numpy.typing import NDArray

LINES_PER_SCAN = 16
SCAN_SECONDS = 1.7864
PIXELS = 3200
SCAN_DEGREES = 56.28
# Raw samples joined to one pixel, from one edge of the swath to the other, and how many pixels each.
AGGREGATION = ((1, 640), (2, 368), (3, 1184), (2, 368), (1, 640))
# Lines left out at either end of a scan, where so many samples are joined.
TRIMMED_LINES = {3: 0, 2: 1, 1: 2}
DETECTOR_RADIANS = 0.742 / 829.0
NODE_FROM_SUN = 22.5  # degrees: 13:30 is an hour and a half past noon
SUN_RELATIVE_ROTATION = 2.0 * np.pi / 86_400.0  # relative to the sun, which the orbit's plane follows
EPOCH = datetime(1993, 1, 1)
LEAP_SECONDS_SINCE_1993 = 8.0  # 1993 to 2013

Vectors = NDArray[np.float64]


@dataclass(frozen=True)
class Orbit:
    """A circular orbit: height (km), inclination (degrees), minutes for one turn."""

    height_km: float
    inclination_deg: float
    period_minutes: float

    @property
    def rate_rad_s(self) -> float:
        """Radians per second."""
        return float(2.0 * np.pi / (60.0 * self.period_minutes))


VIIRS = Orbit(829.0, 98.7, 101.4)
CALIPSO = Orbit(705.0, 98.2, 98.8)


@dataclass(frozen=True)
class Pass:
    """A flight past a point: ``argument`` (degrees along the orbit from the equator) at the moment ``middle``.

    ``node``: longitude of the northward crossing of this plane, earth-fixed at that moment. Seconds count from 1993.
    """

    orbit: Orbit
    argument_deg: float
    node_deg: float
    middle_s: float

    def state(self, seconds: Vectors) -> tuple[Vectors, Vectors]:
        """Unit vectors to the satellite and along its flight, earth-fixed, at times since 1993; shapes (n, 3)."""
        late = seconds - self.middle_s
        u = np.radians(self.argument_deg) + self.orbit.rate_rad_s * late
        tilt, node = np.radians(self.orbit.inclination_deg), np.radians(self.node_deg) - SUN_RELATIVE_ROTATION * late
        place = rotate_about_pole(np.stack([np.cos(u), np.cos(tilt) * np.sin(u), np.sin(tilt) * np.sin(u)], -1), node)
        ahead = rotate_about_pole(np.stack([-np.sin(u), np.cos(tilt) * np.cos(u), np.sin(tilt) * np.cos(u)], -1), node)
        return place, ahead


def rotate_about_pole(vectors: Vectors, angle: Vectors) -> Vectors:
    """Vectors turned eastward about the pole, each by its angle (radians)."""
    cosine, sine = np.cos(angle), np.sin(angle)
    x, y, z = vectors[..., 0], vectors[..., 1], vectors[..., 2]
    return np.stack([cosine * x - sine * y, sine * x + cosine * y, z], -1)


def tai93_seconds(moment: datetime) -> float:
    """Seconds since 1993, leap seconds counted, of a moment in UTC (naive)."""
    return (moment - EPOCH).total_seconds() + LEAP_SECONDS_SINCE_1993


def swath_pass(moment: datetime, argument: float) -> Pass:
    """A daytime pass of VIIRS, ``argument`` degrees past the equator at the middle of the granule."""
    sun = 180.0 - 15.0 * (moment.hour + moment.minute / 60.0 + moment.second / 3600.0)
    return Pass(VIIRS, argument, sun + NODE_FROM_SUN, tai93_seconds(moment))


def track_pass(swath: Pass, *, degrees_east: float, minutes_late: float) -> Pass:
    """CALIPSO in a plane so many degrees east of the swath's, so many minutes later at the same argument."""
    return Pass(CALIPSO, swath.argument_deg, swath.node_deg + degrees_east, swath.middle_s + 60.0 * minutes_late)


def scan_angles() -> tuple[Vectors, NDArray[np.int64]]:
    """Angle from nadir of each pixel (radians, negative first) and how many samples it joins."""
    joined = np.concatenate([np.full(count, samples) for samples, count in AGGREGATION])
    ends = np.cumsum(joined)
    edge = np.radians(SCAN_DEGREES)
    return -edge + 2.0 * edge * (ends - joined / 2.0) / ends[-1], joined


def trimmed_mask(columns: slice) -> NDArray[np.bool_]:
    """Which pixels of a scan are left out on board, (16, pixels)."""
    _, joined = scan_angles()
    cut = np.array([TRIMMED_LINES[int(samples)] for samples in joined[columns]])
    line = np.arange(LINES_PER_SCAN)[:, None]
    return np.asarray((line < cut) | (line >= LINES_PER_SCAN - cut))


@dataclass(frozen=True)
class ScanGeometry:
    """Scan lines: unit vectors to pixels (lines, pixels, 3), to the satellite (scans, 3), and times of scans."""

    ground: Vectors
    satellite: Vectors
    scan_times_s: Vectors


def scan_geometry(flight: Pass, scans: NDArray[np.int64], total: int, columns: slice) -> ScanGeometry:
    """Where the lines of some scans lie on the ground, of a granule of ``total`` scans.

    The line of sight from R + h towards angles (scan, along) meets the sphere at the nearer root of a quadratic.
    """
    seconds = flight.middle_s + (scans - (total - 1) / 2.0) * SCAN_SECONDS
    place, ahead = flight.state(np.asarray(seconds, np.float64))
    across = np.cross(ahead, place)
    angle, _ = scan_angles()
    side = angle[columns]
    tip = (np.arange(LINES_PER_SCAN) - (LINES_PER_SCAN - 1) / 2.0) * DETECTOR_RADIANS
    # In the frame of nadir, across, ahead: (scans x) 16 x pixels x 3.
    down = np.cos(tip)[:, None] * np.cos(side)
    right = np.cos(tip)[:, None] * np.sin(side)
    forward = np.broadcast_to(np.sin(tip)[:, None], down.shape)
    radius = 1.0 + flight.orbit.height_km / geodesy.EARTH_KM
    # |radius * place + s * sight| = 1 with sight . place = -down.
    reach = radius * down - np.sqrt(np.maximum(1.0 - radius**2 * (1.0 - down**2), 0.0))
    parts = (radius - reach * down, reach * right, reach * forward)
    frame = (place, across, ahead)
    ground = sum(part[None, :, :, None] * axis[:, None, None, :] for part, axis in zip(parts, frame, strict=True))
    ground = np.asarray(ground).reshape(-1, len(side), 3)
    return ScanGeometry(ground, place, np.asarray(seconds, np.float64))


def view_angles(ground: Vectors, target: Vectors) -> tuple[Vectors, Vectors]:
    """Zenith and azimuth (degrees, from north by east) under which points of the sphere see ``target``.

    :param target: a point in earth radii, or a direction if it is of length 1e6 or more.
    """
    sight = target - ground
    sight /= np.linalg.norm(sight, axis=-1, keepdims=True)
    zenith = np.degrees(np.arccos(np.clip((sight * ground).sum(-1), -1.0, 1.0)))
    east = np.stack([-ground[..., 1], ground[..., 0], np.zeros(ground.shape[:-1])], -1)
    east /= np.maximum(np.linalg.norm(east, axis=-1, keepdims=True), 1e-12)
    north = np.cross(ground, east)
    azimuth = np.degrees(np.arctan2((sight * east).sum(-1), (sight * north).sum(-1)))
    return zenith, azimuth
