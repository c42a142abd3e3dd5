"""Viewing geometry of a scanning swath and of a lidar track, from circular orbits over a rotating sphere.

Suomi NPP orbits at 829 km, inclination 98.7 degrees, crosses the equator northward at 13:30 local time, and has a
period of 101.4 minutes; VIIRS scans 56.28 degrees to either side, 16 lines per 1.786 s, and aggregates raw samples by
three, two and one from the center of the swath outward (VIIRS Level 1 user guide), omitting lines where scans overlap.
CALIPSO orbited at 705 km, inclination 98.2 degrees, period 98.8 minutes; the layer product has a profile every
kilometer.
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
# Raw samples per pixel, and number of such pixels, from one edge of the swath to the other.
AGGREGATION = ((1, 640), (2, 368), (3, 1184), (2, 368), (1, 640))
# Raw samples per pixel: lines omitted at either end of a scan.
TRIMMED_LINES = {3: 0, 2: 1, 1: 2}
DETECTOR_RADIANS = 0.742 / 829.0
NODE_FROM_SUN = 22.5  # degrees: 13:30 is an hour and a half past noon
SUN_RELATIVE_ROTATION = 2.0 * np.pi / 86_400.0  # rad/s relative to the sun, which the orbital plane follows
EPOCH = datetime(1993, 1, 1)
LEAP_SECONDS_SINCE_1993 = 8.0  # 1993 to 2013

Vectors = NDArray[np.float64]


@dataclass(frozen=True)
class Orbit:
    """A circular orbit: height, inclination, period."""

    height_km: float
    inclination_deg: float
    period_minutes: float

    @property
    def rate_rad_s(self) -> float:
        """Angular velocity."""
        return float(2.0 * np.pi / (60.0 * self.period_minutes))


VIIRS = Orbit(829.0, 98.7, 101.4)
CALIPSO = Orbit(705.0, 98.2, 98.8)


@dataclass(frozen=True)
class Pass:
    """A satellite pass: ``argument_deg`` is the angle along the orbit from the equator at the time ``middle_s``.

    ``node_deg``: longitude of the northward equator crossing, earth-fixed at that time. Times are seconds since 1993.
    """

    orbit: Orbit
    argument_deg: float
    node_deg: float
    middle_s: float

    def state(self, seconds: Vectors) -> tuple[Vectors, Vectors]:
        """Return position and direction of motion as earth-fixed unit vectors (n, 3), at times since 1993."""
        elapsed_s = seconds - self.middle_s
        u = np.radians(self.argument_deg) + self.orbit.rate_rad_s * elapsed_s
        tilt, node = (
            np.radians(self.orbit.inclination_deg),
            np.radians(self.node_deg) - SUN_RELATIVE_ROTATION * elapsed_s,
        )
        position = rotate_about_pole(
            np.stack([np.cos(u), np.cos(tilt) * np.sin(u), np.sin(tilt) * np.sin(u)], -1), node
        )
        ahead = rotate_about_pole(np.stack([-np.sin(u), np.cos(tilt) * np.cos(u), np.sin(tilt) * np.cos(u)], -1), node)
        return position, ahead


def rotate_about_pole(vectors: Vectors, angle: Vectors) -> Vectors:
    """Rotate vectors eastward about the pole, each by its angle (radians)."""
    cosine, sine = np.cos(angle), np.sin(angle)
    x, y, z = vectors[..., 0], vectors[..., 1], vectors[..., 2]
    return np.stack([cosine * x - sine * y, sine * x + cosine * y, z], -1)


def tai93_seconds(time: datetime) -> float:
    """Return seconds since 1993, leap seconds included, of a time in UTC (naive)."""
    return (time - EPOCH).total_seconds() + LEAP_SECONDS_SINCE_1993


def swath_pass(time: datetime, argument: float) -> Pass:
    """Return a daytime pass of VIIRS, ``argument`` degrees past the equator at the middle of the granule."""
    # The sun moves 15 degrees of longitude per hour and is at 180 degrees at midnight UTC.
    sun_longitude = 180.0 - 15.0 * (time.hour + time.minute / 60.0 + time.second / 3600.0)
    return Pass(VIIRS, argument, sun_longitude + NODE_FROM_SUN, tai93_seconds(time))


def track_pass(swath: Pass, *, degrees_east: float, minutes_late: float) -> Pass:
    """Return a CALIPSO pass in a plane ``degrees_east`` of the swath's, ``minutes_late`` later at the same argument."""
    return Pass(CALIPSO, swath.argument_deg, swath.node_deg + degrees_east, swath.middle_s + 60.0 * minutes_late)


def scan_angles() -> tuple[Vectors, NDArray[np.int64]]:
    """Return the nadir angle of each pixel (radians, negative first) and its number of raw samples."""
    aggregated = np.concatenate([np.full(count, samples) for samples, count in AGGREGATION])
    ends = np.cumsum(aggregated)
    edge = np.radians(SCAN_DEGREES)
    return -edge + 2.0 * edge * (ends - aggregated / 2.0) / ends[-1], aggregated


def trimmed_mask(columns: slice) -> NDArray[np.bool_]:
    """Return True for pixels of a scan that are omitted on board, (16, pixels)."""
    _, aggregated = scan_angles()
    omitted = np.array([TRIMMED_LINES[int(samples)] for samples in aggregated[columns]])
    line = np.arange(LINES_PER_SCAN)[:, None]
    return np.asarray((line < omitted) | (line >= LINES_PER_SCAN - omitted))


@dataclass(frozen=True)
class ScanGeometry:
    """Scan lines: unit vectors to pixels (lines, pixels, 3) and to the satellite (scans, 3), and times of scans."""

    ground: Vectors
    satellite: Vectors
    scan_times_s: Vectors


def scan_geometry(flight: Pass, scans: NDArray[np.int64], total: int, columns: slice) -> ScanGeometry:
    """Return the ground positions of some scans of a granule of ``total`` scans.

    The line of sight from R + h toward angles (scan, along) intersects the sphere at the smaller root of a quadratic.
    """
    # Scan times are relative to the middle of the granule, for which the pass is defined.
    seconds = flight.middle_s + (scans - (total - 1) / 2.0) * SCAN_SECONDS
    position, ahead = flight.state(np.asarray(seconds, np.float64))
    across = np.cross(ahead, position)
    angle, _ = scan_angles()
    scan_angle = angle[columns]
    along_angle = (np.arange(LINES_PER_SCAN) - (LINES_PER_SCAN - 1) / 2.0) * DETECTOR_RADIANS
    # In the frame of nadir, across, ahead: (scans x) 16 x pixels x 3.
    down = np.cos(along_angle)[:, None] * np.cos(scan_angle)
    right = np.cos(along_angle)[:, None] * np.sin(scan_angle)
    forward = np.broadcast_to(np.sin(along_angle)[:, None], down.shape)
    radius = 1.0 + flight.orbit.height_km / geodesy.EARTH_KM
    # |radius * place + s * sight| = 1 with sight . place = -down.
    reach = radius * down - np.sqrt(np.maximum(1.0 - radius**2 * (1.0 - down**2), 0.0))
    parts = (radius - reach * down, reach * right, reach * forward)
    frame = (position, across, ahead)
    ground = sum(part[None, :, :, None] * axis[:, None, None, :] for part, axis in zip(parts, frame, strict=True))
    ground = np.asarray(ground).reshape(-1, len(scan_angle), 3)
    return ScanGeometry(ground, position, np.asarray(seconds, np.float64))


def view_angles(ground: Vectors, target: Vectors) -> tuple[Vectors, Vectors]:
    """Return zenith and azimuth (degrees, clockwise from north) of ``target`` as observed from points of the sphere.

    :param target: a point in earth radii, or a direction if its length is 1e6 or more.
    """
    sight = target - ground
    sight /= np.linalg.norm(sight, axis=-1, keepdims=True)
    zenith = np.degrees(np.arccos(np.clip((sight * ground).sum(-1), -1.0, 1.0)))
    east = np.stack([-ground[..., 1], ground[..., 0], np.zeros(ground.shape[:-1])], -1)
    # At the poles east is undefined; the floor avoids NaN there.
    east /= np.maximum(np.linalg.norm(east, axis=-1, keepdims=True), 1e-12)
    north = np.cross(ground, east)
    azimuth = np.degrees(np.arctan2((sight * east).sum(-1), (sight * north).sum(-1)))
    return zenith, azimuth
