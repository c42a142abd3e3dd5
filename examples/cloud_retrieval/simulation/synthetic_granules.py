"""Synthetic pairs of a VIIRS granule and a CALIPSO track, written with the names and layout of the real files.

Every file says ``synthetic`` in an attribute and in its name. The lidar sees a deck if it is thick enough (about
0.12, with some chance around it) and if what lies above lets light through (optical thickness below 3); of the phases
it determines, a few remain unknown and a few per cent of ice is oriented horizontally.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from granules import caliop, geodesy
from granules.viirs import BANDS, LARGEST, MISSING, TRIMMED, brightness_temperature
from numpy.typing import NDArray

from simulation import orbit, radiative_transfer, synthetic_atmosphere
from simulation.orbit import LINES_PER_SCAN, SCAN_SECONDS, Pass
from simulation.synthetic_atmosphere import Climate, Sight, World

LAYERS = 10
PROFILE_KM = 1.0
NOTE = "synthetic: made by make_granules.py from argued physics; no measurement"
FULL_LINES = 3232


@dataclass(frozen=True)
class Plan:
    """One pair: when and where along the orbit, how the track lies, what the weather is drawn from."""

    moment: datetime
    argument: float
    degrees_east: float
    minutes_late: float
    climate: Climate


@dataclass(frozen=True)
class Size:
    """Lines (a multiple of 16), pixels (the part of the swath around the track), and profiles of the track."""

    lines: int = FULL_LINES
    pixels: int = orbit.PIXELS
    profiles: int = 4000

    @property
    def scans(self) -> int:
        """Scans of 16 lines."""
        return self.lines // LINES_PER_SCAN


# Where along the orbit (degrees from the equator northwards), in turn: each climate has a
# partner that another fold of four holds out. The ones past 60 degrees reach into northern winter's twilight.
ARGUMENTS = (10.0, 62.0, -35.0, 38.0, 67.0, -12.0, 42.0, -40.0)


def plans(count: int, seed: int) -> list[Plan]:
    """So many pairs, days apart; pair n of a seed is the same whatever the number of pairs."""
    return [plan(number, np.random.default_rng([seed, number])) for number in range(count)]


def plan(number: int, rng: np.random.Generator) -> Plan:
    """The pair of a number."""
    argument = ARGUMENTS[number % len(ARGUMENTS)] + float(rng.uniform(-3.0, 3.0))
    # The swath crosses the equator northwards at half past one in the afternoon of the place.
    moment = datetime(2013, 1, 2) + timedelta(days=2 * number, minutes=6.0 * int(rng.integers(0, 239)))
    tropical = np.exp(-((argument / 22.0) ** 2))
    climate = Climate(
        low=float(rng.uniform(0.35, 0.55)),
        high=float(rng.uniform(0.28, 0.45)),
        depth=float(1.0 + 0.9 * tropical + rng.uniform(0.0, 0.6)),
        spread=float(rng.uniform(1.25, 1.6)),
        wind=float(rng.uniform(0.1, 0.5)),
        day=moment.timetuple().tm_yday,
    )
    return Plan(moment, argument, float(rng.uniform(0.5, 6.0)), float(rng.uniform(-6.0, 6.0)), climate)


def make(out: Path, *, count: int, size: Size, seed: int) -> Iterator[Path]:
    """Write so many pairs to a folder, one after the other; the radiances' paths."""
    out.mkdir(parents=True, exist_ok=True)
    for number, wanted in enumerate(plans(count, seed)):
        yield write_pair(out, wanted, size, np.random.default_rng([seed, number, 1]))


def write_pair(out: Path, wanted: Plan, size: Size, rng: np.random.Generator) -> Path:
    """Write the three files of a pair to a folder, made if need be."""
    out.mkdir(parents=True, exist_ok=True)
    start = wanted.moment
    flight = orbit.swath_pass(start + timedelta(seconds=size.scans * SCAN_SECONDS / 2.0), wanted.argument)
    track = orbit.track_pass(flight, degrees_east=wanted.degrees_east, minutes_late=wanted.minutes_late)
    columns = around_track(flight, track, size)
    outline = np.array([0, size.scans - 1])
    corners = orbit.look(flight, outline, size.scans, columns).ground[:, :: max(1, size.pixels // 40)]
    world = synthetic_atmosphere.make_world(flight, corners.reshape(-1, 3), wanted.climate, rng)
    key = f"{start:%Y%j.%H%M}"
    radiances, geolocation = (out / f"VNP{kind}MOD.A{key}.001.synthetic.nc" for kind in ("02", "03"))
    write_swath((radiances, geolocation), Shot(flight, columns, size, world, start), rng)
    write_track(out, Trace(flight, track, size, world), rng)
    return radiances


def around_track(flight: Pass, track: Pass, size: Size) -> slice:
    """The pixels of the swath that are kept: centred where the track lies in the middle of the granule."""
    if size.pixels >= orbit.PIXELS:
        return slice(0, orbit.PIXELS)
    middle = orbit.look(flight, np.array([size.scans // 2]), size.scans, slice(None)).ground[LINES_PER_SCAN // 2]
    under, _ = track.state(np.array([track.middle]))
    first = int(np.argmax(middle @ under[0])) - size.pixels // 2
    first = min(max(first, 0), orbit.PIXELS - size.pixels)
    return slice(first, first + size.pixels)


# ---------------------------------------------------------------- the swath


@dataclass(frozen=True)
class Shot:
    """What a granule's files are made from."""

    flight: Pass
    columns: slice
    size: Size
    world: World
    start: datetime


@dataclass(frozen=True)
class Strip:
    """A few scans: planes of (lines, pixels)."""

    latitude: NDArray[Any]
    longitude: NDArray[Any]
    angles: dict[str, NDArray[Any]]
    land: NDArray[Any]
    counts: dict[str, NDArray[np.uint16]]
    seconds: NDArray[np.float64]


def strip(shot: Shot, scans: NDArray[np.int64], rng: np.random.Generator) -> Strip:
    """Geometry and stored integers of some scans."""
    looked = orbit.look(shot.flight, scans, shot.size.scans, shot.columns)
    latitude, longitude = geodesy.degrees(looked.ground)
    radius = 1.0 + shot.flight.orbit.height / geodesy.EARTH_KM
    satellite = np.repeat(looked.satellite * radius, LINES_PER_SCAN, axis=0)[:, None, :]
    zenith, azimuth = orbit.angles(looked.ground, satellite)
    midnight = (shot.start - shot.start.replace(hour=0, minute=0)).total_seconds()
    sun = geodesy.sun(midnight, shot.world.climate.day) * 1e6
    sun_zenith, sun_azimuth = orbit.angles(looked.ground, sun)
    cosines = [np.cos(np.radians(angle)).astype(np.float32) for angle in (sun_zenith, zenith)]
    view = radiative_transfer.View(cosines[0], cosines[1], mirror(sun_zenith, zenith, sun_azimuth - azimuth))
    minutes = float(looked.seconds.mean() - shot.flight.middle) / 60.0
    under = synthetic_atmosphere.scene(shot.world, Sight(looked.ground, slope(shot, zenith), minutes), view.sun)
    counts = radiative_transfer.all_bands(under, view, rng)
    cut = np.tile(orbit.trimmed(shot.columns), (len(scans), 1))
    for plane in counts.values():
        plane[cut] = TRIMMED
    angles = dict(zip(("solar_zenith", "solar_azimuth"), (sun_zenith, sun_azimuth), strict=True))
    angles |= {"sensor_zenith": zenith, "sensor_azimuth": azimuth}
    # 7: deep ocean, 1: land.
    land = np.where(under.ground.land > 0.5, 1, 7).astype(np.uint8)
    return Strip(latitude, longitude, angles, land, counts, looked.seconds)


def slope(shot: Shot, zenith: NDArray[Any]) -> NDArray[Any]:
    """How far to the right a line of sight runs for each kilometre it comes down."""
    angle, _ = orbit.scan_angles()
    return np.asarray(-np.tan(np.radians(np.minimum(zenith, 75.0))) * np.sign(angle[shot.columns]))


def mirror(sun: NDArray[Any], view: NDArray[Any], azimuth: NDArray[Any]) -> NDArray[np.float32]:
    """Angle (degrees) between the line of sight and the sun's mirror image on a level sea."""
    a, b, c = np.radians(sun), np.radians(view), np.radians(azimuth)
    cosine = np.cos(a) * np.cos(b) - np.sin(a) * np.sin(b) * np.cos(c)
    return np.asarray(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))), np.float32)


def write_swath(paths: tuple[Path, Path], shot: Shot, rng: np.random.Generator) -> None:
    """Both files of a granule, a few scans at a time."""
    import netCDF4

    with netCDF4.Dataset(paths[0], "w") as radiances, netCDF4.Dataset(paths[1], "w") as geolocation:
        for file in (radiances, geolocation):
            described(file, shot)
        planes = radiance_planes(radiances) | geolocation_planes(geolocation)
        for first in range(0, shot.size.scans, 4):
            scans = np.arange(first, min(first + 4, shot.size.scans))
            part = strip(shot, scans, rng)
            lines = slice(first * LINES_PER_SCAN, (int(scans[-1]) + 1) * LINES_PER_SCAN)
            for name, plane in part.counts.items():
                planes[name][lines] = plane
            planes["latitude"][lines], planes["longitude"][lines] = part.latitude, part.longitude
            planes["land_water_mask"][lines] = part.land
            for name, plane in part.angles.items():
                planes[name][lines] = np.rint(plane * 100.0).astype(np.int16)
            for file in (radiances, geolocation):
                times = file["scan_line_attributes"]
                times["scan_start_time"][scans] = part.seconds - SCAN_SECONDS / 2.0
                times["scan_end_time"][scans] = part.seconds + SCAN_SECONDS / 2.0


def described(file: Any, shot: Shot) -> None:
    """Dimensions, attributes and times of either file; values are written as integers, unscaled."""
    file.set_auto_maskandscale(False)
    file.synthetic = np.int32(1)
    file.comment = NOTE
    file.instrument, file.platform = "VIIRS", "Suomi-NPP"
    end = shot.start + timedelta(seconds=shot.size.scans * SCAN_SECONDS)
    file.time_coverage_start = f"{shot.start:%Y-%m-%dT%H:%M:%S}.000Z"
    file.time_coverage_end = f"{end:%Y-%m-%dT%H:%M:%S}.000Z"
    for name, length in (("scans", shot.size.scans), ("lines", shot.size.lines), ("pixels", shot.size.pixels)):
        file.createDimension(f"number_of_{name}", length)
    group = file.createGroup("scan_line_attributes")
    for name in ("scan_start_time", "scan_end_time"):
        times = group.createVariable(name, "f8", ("number_of_scans",), fill_value=-999.9)
        times.units, times.long_name = "seconds", f"{name.replace('_', ' ')} (TAI93)"
    file.set_auto_maskandscale(False)


def plane_of(group: Any, name: str, kind: str, **facts: Any) -> Any:
    """A plane in chunks of a few scans."""
    fill = facts.pop("fill", None)
    shape = [len(group.parent.dimensions[f"number_of_{side}"]) for side in ("lines", "pixels")]
    chunks = (min(shape[0], 64), min(shape[1], 800))
    made = group.createVariable(
        name, kind, ("number_of_lines", "number_of_pixels"), zlib=True, complevel=1, chunksizes=chunks, fill_value=fill
    )
    made.set_auto_maskandscale(False)
    made.setncatts(facts)
    return made


def radiance_planes(file: Any) -> dict[str, Any]:
    """Bands of a VNP02MOD file, and the tables from integers to brightness temperature."""
    group = file.createGroup("observation_data")
    file.createDimension("number_of_LUT_values", 65536)
    planes = {}
    for band in BANDS:
        units = "Watts/meter^2/steradian/micrometer" if band.thermal else "none"
        facts = {"scale_factor": np.float32(band.step), "add_offset": np.float32(0.0), "units": units}
        limits = {"valid_min": np.uint16(0), "valid_max": np.uint16(LARGEST)}
        planes[band.name] = plane_of(group, band.name, "u2", fill=np.uint16(MISSING), **facts, **limits)
        if band.thermal:
            table = group.createVariable(
                f"{band.name}_brightness_temperature_lut", "f4", ("number_of_LUT_values",), zlib=True
            )
            kelvin = brightness_temperature(band.um, np.arange(65536, dtype=np.float32) * np.float32(band.step))
            table[:] = np.nan_to_num(kelvin, nan=-999.9)
            table.units = "Kelvin"
    return planes


def geolocation_planes(file: Any) -> dict[str, Any]:
    """Planes of a VNP03MOD file."""
    group = file.createGroup("geolocation_data")
    planes = {
        name: plane_of(group, name, "f4", fill=np.float32(-999.9), units=units)
        for name, units in (("latitude", "degrees_north"), ("longitude", "degrees_east"))
    }
    for name in ("solar_zenith", "solar_azimuth", "sensor_zenith", "sensor_azimuth"):
        facts = {"scale_factor": np.float32(0.01), "add_offset": np.float32(0.0), "units": "degrees"}
        planes[name] = plane_of(group, name, "i2", fill=np.int16(-32768), **facts)
    planes["land_water_mask"] = plane_of(group, "land_water_mask", "u1", fill=np.uint8(255))
    return planes


# ---------------------------------------------------------------- the track


@dataclass(frozen=True)
class Trace:
    """What a track's file is made from."""

    flight: Pass
    track: Pass
    size: Size
    world: World


def write_track(out: Path, trace: Trace, rng: np.random.Generator) -> None:
    """The file of cloud layers."""
    from pyhdf.SD import SD, SDC

    pace = geodesy.EARTH_KM * trace.track.orbit.rate / PROFILE_KM
    seconds = trace.track.middle + (np.arange(trace.size.profiles) - (trace.size.profiles - 1) / 2.0) / pace
    ground, _ = trace.track.state(np.asarray(seconds, np.float64))
    latitude, longitude = geodesy.degrees(ground)
    layers = lidar_layers(trace, ground, rng)
    start = orbit.EPOCH + timedelta(seconds=float(seconds[0]) - orbit.LEAP_SECONDS)
    path = out / f"CAL_LID_L2_01kmCLay-Synthetic-V4-10.{start:%Y-%m-%dT%H-%M-%S}ZD.hdf"
    held: dict[str, NDArray[Any]] = {
        "Profile_ID": np.arange(1, len(seconds) + 1, dtype=np.int32)[:, None],
        "Latitude": latitude[:, None].astype(np.float32),
        "Longitude": longitude[:, None].astype(np.float32),
        "Profile_Time": seconds[:, None],
        "Number_Layers_Found": np.isfinite(layers.tops).sum(axis=1).astype(np.int8)[:, None],
        "Layer_Top_Altitude": np.nan_to_num(layers.tops, nan=-9999.0).astype(np.float32),
        "Feature_Classification_Flags": layers.flags,
    }
    kinds = {"f4": SDC.FLOAT32, "f8": SDC.FLOAT64, "i1": SDC.INT8, "u2": SDC.UINT16, "i4": SDC.INT32}
    path.unlink(missing_ok=True)
    file = SD(str(path), SDC.WRITE | SDC.CREATE)
    file.attr("synthetic").set(SDC.INT32, 1)
    file.attr("comment").set(SDC.CHAR, NOTE)
    for name, values in held.items():
        dataset = file.create(name, kinds[values.dtype.str[1:]], values.shape)
        dataset[:] = values
        dataset.endaccess()
    file.end()


def lidar_layers(trace: Trace, ground: NDArray[Any], rng: np.random.Generator) -> caliop.Layers:
    """What the lidar finds: at most two layers a profile, the upper one first."""
    minutes = float(trace.track.middle - trace.flight.middle) / 60.0
    dark = np.zeros(len(ground), np.float32)
    # The sun heats the skin of the land only: nothing that the lidar reports depends on it.
    under = synthetic_atmosphere.scene(trace.world, Sight(ground, np.zeros(len(ground)), minutes), dark)
    high = detected(under.high_tau, rng)
    low = detected(under.low_tau, rng) & (under.high_tau < 3.0)
    # A tower that reaches the cirrus is one layer.
    joined = high & low & (under.low_top > under.high_top - 1.0)
    low &= ~joined
    tops = np.full((len(ground), LAYERS), np.nan, np.float32)
    flags = np.zeros((len(ground), LAYERS), np.uint16)
    blur = rng.standard_normal((len(ground), 2)).astype(np.float32) * 0.04
    upper = layer_flags(np.ones(len(ground), bool), under.high_tau, rng)
    lower = layer_flags(under.low_ice, under.low_tau, rng)
    second = np.where(high, 1, 0)
    rows = np.flatnonzero(high)
    tops[rows, 0], flags[rows, 0] = (np.maximum(under.high_top, under.low_top * joined) + blur[:, 0])[rows], upper[rows]
    rows = np.flatnonzero(low)
    tops[rows, second[rows]], flags[rows, second[rows]] = (under.low_top + blur[:, 1])[rows], lower[rows]
    return caliop.Layers(flags, tops)


def detected(tau: NDArray[Any], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Whether the lidar finds a layer of an optical thickness."""
    with np.errstate(divide="ignore"):
        chance = 1.0 / (1.0 + np.exp(-(np.log(tau) - np.log(0.12)) / 0.25))
    return np.asarray(rng.random(len(tau)) < chance)


def layer_flags(ice: NDArray[np.bool_], tau: NDArray[Any], rng: np.random.Generator) -> NDArray[np.uint16]:
    """Classification flags of a cloud layer."""
    chance = rng.random(len(ice))
    phase = np.where(ice, np.where(chance < 0.03, 3, 1), 2)
    unknown = rng.random(len(ice)) < 0.02 + 0.10 * np.exp(-np.asarray(tau) / 0.3)
    phase = np.where(unknown, 0, phase)
    confidence = np.where(unknown, 0, 3)
    subtype = np.where(ice, 6, 2)
    return caliop.encoded(
        type=2, type_confidence=3, phase=phase, phase_confidence=confidence, subtype=subtype, averaging=2
    )
