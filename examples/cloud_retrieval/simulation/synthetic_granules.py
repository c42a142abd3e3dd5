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
from granules.viirs import BANDS, MAX_VALID_COUNT, MISSING_COUNT, TRIMMED_COUNT, brightness_temperature
from numpy.typing import NDArray

from simulation import orbit, radiative_transfer, synthetic_atmosphere
from simulation.orbit import LINES_PER_SCAN, SCAN_SECONDS, Pass
from simulation.synthetic_atmosphere import AtmosphereFields, Climate, LinesOfSight

MAX_LAYERS = 10
PROFILE_KM = 1.0
SYNTHETIC_COMMENT = "synthetic: made by make_granules.py from argued physics; no measurement"
FULL_LINES = 3232


@dataclass(frozen=True)
class PairPlan:
    """One pair: when and where along the orbit, how the track lies, what the weather is drawn from."""

    start: datetime
    argument_deg: float
    degrees_east: float
    minutes_late: float
    climate: Climate


@dataclass(frozen=True)
class GranuleSize:
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
ORBIT_ARGUMENTS = (10.0, 62.0, -35.0, 38.0, 67.0, -12.0, 42.0, -40.0)


def plan_pairs(count: int, seed: int) -> list[PairPlan]:
    """So many pairs, days apart; pair n of a seed is the same whatever the number of pairs."""
    return [plan_pair(number, np.random.default_rng([seed, number])) for number in range(count)]


def plan_pair(number: int, rng: np.random.Generator) -> PairPlan:
    """The pair of a number."""
    argument = ORBIT_ARGUMENTS[number % len(ORBIT_ARGUMENTS)] + float(rng.uniform(-3.0, 3.0))
    # The swath crosses the equator northwards at half past one in the afternoon of the place.
    moment = datetime(2013, 1, 2) + timedelta(days=2 * number, minutes=6.0 * int(rng.integers(0, 239)))
    tropical = np.exp(-((argument / 22.0) ** 2))
    climate = Climate(
        low_cover=float(rng.uniform(0.35, 0.55)),
        high_cover=float(rng.uniform(0.28, 0.45)),
        depth_km=float(1.0 + 0.9 * tropical + rng.uniform(0.0, 0.6)),
        log_spread=float(rng.uniform(1.25, 1.6)),
        wind_km_min=float(rng.uniform(0.1, 0.5)),
        day_of_year=moment.timetuple().tm_yday,
    )
    return PairPlan(moment, argument, float(rng.uniform(0.5, 6.0)), float(rng.uniform(-6.0, 6.0)), climate)


def write_pairs(out: Path, *, count: int, size: GranuleSize, seed: int) -> Iterator[Path]:
    """Write so many pairs to a folder, one after the other; the radiances' paths."""
    out.mkdir(parents=True, exist_ok=True)
    for number, wanted in enumerate(plan_pairs(count, seed)):
        yield write_pair(out, wanted, size, np.random.default_rng([seed, number, 1]))


def write_pair(out: Path, wanted: PairPlan, size: GranuleSize, rng: np.random.Generator) -> Path:
    """Write the three files of a pair to a folder, made if need be."""
    out.mkdir(parents=True, exist_ok=True)
    start = wanted.start
    flight = orbit.swath_pass(start + timedelta(seconds=size.scans * SCAN_SECONDS / 2.0), wanted.argument_deg)
    track = orbit.track_pass(flight, degrees_east=wanted.degrees_east, minutes_late=wanted.minutes_late)
    columns = columns_around_track(flight, track, size)
    outline = np.array([0, size.scans - 1])
    corners = orbit.scan_geometry(flight, outline, size.scans, columns).ground[:, :: max(1, size.pixels // 40)]
    world = synthetic_atmosphere.draw_fields(flight, corners.reshape(-1, 3), wanted.climate, rng)
    key = f"{start:%Y%j.%H%M}"
    radiances, geolocation = (out / f"VNP{kind}MOD.A{key}.001.synthetic.nc" for kind in ("02", "03"))
    write_swath((radiances, geolocation), SwathInputs(flight, columns, size, world, start), rng)
    write_track(out, TrackInputs(flight, track, size, world), rng)
    return radiances


def columns_around_track(flight: Pass, track: Pass, size: GranuleSize) -> slice:
    """The pixels of the swath that are kept: centred where the track lies in the middle of the granule."""
    if size.pixels >= orbit.PIXELS:
        return slice(0, orbit.PIXELS)
    middle = orbit.scan_geometry(flight, np.array([size.scans // 2]), size.scans, slice(None)).ground[
        LINES_PER_SCAN // 2
    ]
    under, _ = track.state(np.array([track.middle_s]))
    first = int(np.argmax(middle @ under[0])) - size.pixels // 2
    first = min(max(first, 0), orbit.PIXELS - size.pixels)
    return slice(first, first + size.pixels)


# ---------------------------------------------------------------- the swath


@dataclass(frozen=True)
class SwathInputs:
    """What a granule's files are made from."""

    flight: Pass
    columns: slice
    size: GranuleSize
    fields: AtmosphereFields
    start: datetime


@dataclass(frozen=True)
class ScanBlock:
    """A few scans: planes of (lines, pixels)."""

    latitude: NDArray[Any]
    longitude: NDArray[Any]
    angles: dict[str, NDArray[Any]]
    land: NDArray[Any]
    counts: dict[str, NDArray[np.uint16]]
    scan_times_s: NDArray[np.float64]


def simulate_scans(shot: SwathInputs, scans: NDArray[np.int64], rng: np.random.Generator) -> ScanBlock:
    """Geometry and stored integers of some scans."""
    looked = orbit.scan_geometry(shot.flight, scans, shot.size.scans, shot.columns)
    latitude, longitude = geodesy.lat_lon(looked.ground)
    radius = 1.0 + shot.flight.orbit.height_km / geodesy.EARTH_KM
    satellite = np.repeat(looked.satellite * radius, LINES_PER_SCAN, axis=0)[:, None, :]
    zenith, azimuth = orbit.view_angles(looked.ground, satellite)
    midnight = (shot.start - shot.start.replace(hour=0, minute=0)).total_seconds()
    sun = geodesy.sun_vector(midnight, shot.fields.climate.day_of_year) * 1e6
    sun_zenith, sun_azimuth = orbit.view_angles(looked.ground, sun)
    cosines = [np.cos(np.radians(angle)).astype(np.float32) for angle in (sun_zenith, zenith)]
    view = radiative_transfer.ViewGeometry(
        cosines[0], cosines[1], glint_angle(sun_zenith, zenith, sun_azimuth - azimuth)
    )
    minutes = float(looked.scan_times_s.mean() - shot.flight.middle_s) / 60.0
    under = synthetic_atmosphere.sample_atmosphere(
        shot.fields, LinesOfSight(looked.ground, view_slope(shot, zenith), minutes), view.sun_cosine
    )
    counts = radiative_transfer.simulate_bands(under, view, rng)
    cut = np.tile(orbit.trimmed_mask(shot.columns), (len(scans), 1))
    for plane in counts.values():
        plane[cut] = TRIMMED_COUNT
    angles = dict(zip(("solar_zenith", "solar_azimuth"), (sun_zenith, sun_azimuth), strict=True))
    angles |= {"sensor_zenith": zenith, "sensor_azimuth": azimuth}
    # 7: deep ocean, 1: land.
    land = np.where(under.surface.land > 0.5, 1, 7).astype(np.uint8)
    return ScanBlock(latitude, longitude, angles, land, counts, looked.scan_times_s)


def view_slope(shot: SwathInputs, zenith: NDArray[Any]) -> NDArray[Any]:
    """How far to the right a line of sight runs for each kilometre it comes down."""
    angle, _ = orbit.scan_angles()
    return np.asarray(-np.tan(np.radians(np.minimum(zenith, 75.0))) * np.sign(angle[shot.columns]))


def glint_angle(sun: NDArray[Any], view: NDArray[Any], azimuth: NDArray[Any]) -> NDArray[np.float32]:
    """Angle (degrees) between the line of sight and the sun's mirror image on a level sea."""
    a, b, c = np.radians(sun), np.radians(view), np.radians(azimuth)
    cosine = np.cos(a) * np.cos(b) - np.sin(a) * np.sin(b) * np.cos(c)
    return np.asarray(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))), np.float32)


def write_swath(paths: tuple[Path, Path], shot: SwathInputs, rng: np.random.Generator) -> None:
    """Both files of a granule, a few scans at a time."""
    import netCDF4

    with netCDF4.Dataset(paths[0], "w") as radiances, netCDF4.Dataset(paths[1], "w") as geolocation:
        for file in (radiances, geolocation):
            write_header(file, shot)
        planes = create_radiance_planes(radiances) | create_geolocation_planes(geolocation)
        for first in range(0, shot.size.scans, 4):
            scans = np.arange(first, min(first + 4, shot.size.scans))
            part = simulate_scans(shot, scans, rng)
            lines = slice(first * LINES_PER_SCAN, (int(scans[-1]) + 1) * LINES_PER_SCAN)
            for name, plane in part.counts.items():
                planes[name][lines] = plane
            planes["latitude"][lines], planes["longitude"][lines] = part.latitude, part.longitude
            planes["land_water_mask"][lines] = part.land
            for name, plane in part.angles.items():
                planes[name][lines] = np.rint(plane * 100.0).astype(np.int16)
            for file in (radiances, geolocation):
                times = file["scan_line_attributes"]
                times["scan_start_time"][scans] = part.scan_times_s - SCAN_SECONDS / 2.0
                times["scan_end_time"][scans] = part.scan_times_s + SCAN_SECONDS / 2.0


def write_header(file: Any, shot: SwathInputs) -> None:
    """Dimensions, attributes and times of either file; values are written as integers, unscaled."""
    file.set_auto_maskandscale(False)
    file.synthetic = np.int32(1)
    file.comment = SYNTHETIC_COMMENT
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


def create_plane(group: Any, name: str, kind: str, **facts: Any) -> Any:
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


def create_radiance_planes(file: Any) -> dict[str, Any]:
    """Bands of a VNP02MOD file, and the tables from integers to brightness temperature."""
    group = file.createGroup("observation_data")
    file.createDimension("number_of_LUT_values", 65536)
    planes = {}
    for band in BANDS:
        units = "Watts/meter^2/steradian/micrometer" if band.thermal else "none"
        facts = {"scale_factor": np.float32(band.step), "add_offset": np.float32(0.0), "units": units}
        limits = {"valid_min": np.uint16(0), "valid_max": np.uint16(MAX_VALID_COUNT)}
        planes[band.name] = create_plane(group, band.name, "u2", fill=np.uint16(MISSING_COUNT), **facts, **limits)
        if band.thermal:
            table = group.createVariable(
                f"{band.name}_brightness_temperature_lut", "f4", ("number_of_LUT_values",), zlib=True
            )
            kelvin = brightness_temperature(
                band.wavelength_um, np.arange(65536, dtype=np.float32) * np.float32(band.step)
            )
            table[:] = np.nan_to_num(kelvin, nan=-999.9)
            table.units = "Kelvin"
    return planes


def create_geolocation_planes(file: Any) -> dict[str, Any]:
    """Planes of a VNP03MOD file."""
    group = file.createGroup("geolocation_data")
    planes = {
        name: create_plane(group, name, "f4", fill=np.float32(-999.9), units=units)
        for name, units in (("latitude", "degrees_north"), ("longitude", "degrees_east"))
    }
    for name in ("solar_zenith", "solar_azimuth", "sensor_zenith", "sensor_azimuth"):
        facts = {"scale_factor": np.float32(0.01), "add_offset": np.float32(0.0), "units": "degrees"}
        planes[name] = create_plane(group, name, "i2", fill=np.int16(-32768), **facts)
    planes["land_water_mask"] = create_plane(group, "land_water_mask", "u1", fill=np.uint8(255))
    return planes


# ---------------------------------------------------------------- the track


@dataclass(frozen=True)
class TrackInputs:
    """What a track's file is made from."""

    flight: Pass
    track: Pass
    size: GranuleSize
    fields: AtmosphereFields


def write_track(out: Path, trace: TrackInputs, rng: np.random.Generator) -> None:
    """The file of cloud layers."""
    from pyhdf.SD import SD, SDC

    pace = geodesy.EARTH_KM * trace.track.orbit.rate_rad_s / PROFILE_KM
    seconds = trace.track.middle_s + (np.arange(trace.size.profiles) - (trace.size.profiles - 1) / 2.0) / pace
    ground, _ = trace.track.state(np.asarray(seconds, np.float64))
    latitude, longitude = geodesy.lat_lon(ground)
    layers = simulate_layers(trace, ground, rng)
    start = orbit.EPOCH + timedelta(seconds=float(seconds[0]) - orbit.LEAP_SECONDS_SINCE_1993)
    path = out / f"CAL_LID_L2_01kmCLay-Synthetic-V4-10.{start:%Y-%m-%dT%H-%M-%S}ZD.hdf"
    held: dict[str, NDArray[Any]] = {
        "Profile_ID": np.arange(1, len(seconds) + 1, dtype=np.int32)[:, None],
        "Latitude": latitude[:, None].astype(np.float32),
        "Longitude": longitude[:, None].astype(np.float32),
        "Profile_Time": seconds[:, None],
        "Number_Layers_Found": np.isfinite(layers.tops_km).sum(axis=1).astype(np.int8)[:, None],
        "Layer_Top_Altitude": np.nan_to_num(layers.tops_km, nan=-9999.0).astype(np.float32),
        "Feature_Classification_Flags": layers.flags,
    }
    kinds = {"f4": SDC.FLOAT32, "f8": SDC.FLOAT64, "i1": SDC.INT8, "u2": SDC.UINT16, "i4": SDC.INT32}
    path.unlink(missing_ok=True)
    file = SD(str(path), SDC.WRITE | SDC.CREATE)
    file.attr("synthetic").set(SDC.INT32, 1)
    file.attr("comment").set(SDC.CHAR, SYNTHETIC_COMMENT)
    for name, values in held.items():
        dataset = file.create(name, kinds[values.dtype.str[1:]], values.shape)
        dataset[:] = values
        dataset.endaccess()
    file.end()


def simulate_layers(trace: TrackInputs, ground: NDArray[Any], rng: np.random.Generator) -> caliop.LayerTable:
    """What the lidar finds: at most two layers a profile, the upper one first."""
    minutes = float(trace.track.middle_s - trace.flight.middle_s) / 60.0
    dark = np.zeros(len(ground), np.float32)
    # The sun heats the skin of the land only: nothing that the lidar reports depends on it.
    under = synthetic_atmosphere.sample_atmosphere(
        trace.fields, LinesOfSight(ground, np.zeros(len(ground)), minutes), dark
    )
    high = draw_detections(under.high_tau, rng)
    low = draw_detections(under.low_tau, rng) & (under.high_tau < 3.0)
    # A tower that reaches the cirrus is one layer.
    joined = high & low & (under.low_top_km > under.high_top_km - 1.0)
    low &= ~joined
    tops = np.full((len(ground), MAX_LAYERS), np.nan, np.float32)
    flags = np.zeros((len(ground), MAX_LAYERS), np.uint16)
    blur = rng.standard_normal((len(ground), 2)).astype(np.float32) * 0.04
    upper = layer_flags(np.ones(len(ground), bool), under.high_tau, rng)
    lower = layer_flags(under.low_ice, under.low_tau, rng)
    second = np.where(high, 1, 0)
    rows = np.flatnonzero(high)
    tops[rows, 0], flags[rows, 0] = (
        (np.maximum(under.high_top_km, under.low_top_km * joined) + blur[:, 0])[rows],
        upper[rows],
    )
    rows = np.flatnonzero(low)
    tops[rows, second[rows]], flags[rows, second[rows]] = (under.low_top_km + blur[:, 1])[rows], lower[rows]
    return caliop.LayerTable(flags, tops)


def draw_detections(tau: NDArray[Any], rng: np.random.Generator) -> NDArray[np.bool_]:
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
    return caliop.encode_flags(
        type=2, type_confidence=3, phase=phase, phase_confidence=confidence, subtype=subtype, averaging=2
    )
