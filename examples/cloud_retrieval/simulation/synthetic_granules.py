"""Synthetic pairs of a VIIRS granule and a CALIPSO track, written with the names and layout of the real files.

Every file is marked as synthetic by an attribute and by its name. The lidar detects a deck if it is thick enough (about
0.12, with some randomness) and if the layers above transmit light (optical thickness below 3); of the phases it
determines, a few remain unknown, and a few percent of ice is oriented horizontally.
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

from simulation import hdf4_files, orbit, radiative_transfer, synthetic_atmosphere
from simulation.orbit import LINES_PER_SCAN, SCAN_SECONDS, Pass
from simulation.synthetic_atmosphere import AtmosphereFields, AtmosphereSample, Climate, LinesOfSight

MAX_LAYERS = 10
PROFILE_KM = 1.0
SYNTHETIC_COMMENT = "synthetic: simulated by make_granules.py; no measurement"
FULL_LINES = 3232


@dataclass(frozen=True)
class PairPlan:
    """Plan of one pair: time and position along the orbit, offset of the track, parameters of the atmosphere."""

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
        """Number of scans of 16 lines."""
        return self.lines // LINES_PER_SCAN


# Positions along the orbit (degrees northward from the equator), used in turn. Each climate occurs twice, so that with
# four folds the training set has the one that is not held out. Those beyond 60 degrees reach into winter twilight.
ORBIT_ARGUMENTS = (10.0, 62.0, -35.0, 38.0, 67.0, -12.0, 42.0, -40.0)


def plan_pairs(count: int, seed: int) -> list[PairPlan]:
    """Plan ``count`` pairs, days apart; pair n of a seed does not depend on ``count``."""
    return [plan_pair(number, np.random.default_rng([seed, number])) for number in range(count)]


def plan_pair(number: int, rng: np.random.Generator) -> PairPlan:
    """Plan the pair with the given number."""
    argument = ORBIT_ARGUMENTS[number % len(ORBIT_ARGUMENTS)] + float(rng.uniform(-3.0, 3.0))
    # The swath crosses the equator northward at 13:30 local time, so any time of day gives a daytime granule.
    start = datetime(2013, 1, 2) + timedelta(days=2 * number, minutes=6.0 * int(rng.integers(0, 239)))
    # Deep convection belongs to the tropics.
    tropical = np.exp(-((argument / 22.0) ** 2))
    climate = Climate(
        low_cover=float(rng.uniform(0.35, 0.55)),
        high_cover=float(rng.uniform(0.28, 0.45)),
        depth_km=float(1.0 + 0.9 * tropical + rng.uniform(0.0, 0.6)),
        log_spread=float(rng.uniform(1.25, 1.6)),
        wind_km_min=float(rng.uniform(0.1, 0.5)),
        day_of_year=start.timetuple().tm_yday,
    )
    return PairPlan(start, argument, float(rng.uniform(0.5, 6.0)), float(rng.uniform(-6.0, 6.0)), climate)


def write_pairs(out: Path, *, count: int, size: GranuleSize, seed: int) -> Iterator[Path]:
    """Write ``count`` pairs to a folder, one after the other; yield the paths of the radiance files."""
    out.mkdir(parents=True, exist_ok=True)
    for number, plan in enumerate(plan_pairs(count, seed)):
        yield write_pair(out, plan, size, np.random.default_rng([seed, number, 1]))


def write_pair(out: Path, plan: PairPlan, size: GranuleSize, rng: np.random.Generator) -> Path:
    """Write the three files of a pair to a folder; return the path of the radiance file."""
    out.mkdir(parents=True, exist_ok=True)
    swath, track = pair_inputs(plan, size, rng)
    write_swath(swath_paths(out, swath), swath, rng)
    write_track(out, track, rng)
    return swath_paths(out, swath)[0]


def pair_inputs(plan: PairPlan, size: GranuleSize, rng: np.random.Generator) -> tuple[SwathInputs, TrackInputs]:
    """Return the inputs of the simulation of a pair: its passes, and one atmosphere for both instruments."""
    flight = orbit.swath_pass(plan.start + timedelta(seconds=size.scans * SCAN_SECONDS / 2.0), plan.argument_deg)
    track = orbit.track_pass(flight, degrees_east=plan.degrees_east, minutes_late=plan.minutes_late)
    columns = columns_around_track(flight, track, size)
    outline = np.array([0, size.scans - 1])
    corners = orbit.scan_geometry(flight, outline, size.scans, columns).ground[:, :: max(1, size.pixels // 40)]
    fields = synthetic_atmosphere.draw_fields(flight, corners.reshape(-1, 3), plan.climate, rng)
    return SwathInputs(flight, columns, size, fields, plan.start), TrackInputs(flight, track, size, fields)


def swath_paths(out: Path, inputs: SwathInputs) -> tuple[Path, Path]:
    """Return the paths of radiances and geolocation."""
    names = [f"VNP{kind}MOD.A{inputs.start:%Y%j.%H%M}.001.synthetic.nc" for kind in ("02", "03")]
    return out / names[0], out / names[1]


def columns_around_track(flight: Pass, track: Pass, size: GranuleSize) -> slice:
    """Return the pixels of the swath to keep, centered on the track in the middle of the granule."""
    if size.pixels >= orbit.PIXELS:
        return slice(0, orbit.PIXELS)
    middle_line = orbit.scan_geometry(flight, np.array([size.scans // 2]), size.scans, slice(None)).ground[
        LINES_PER_SCAN // 2
    ]
    track_position, _ = track.state(np.array([track.middle_s]))
    first = int(np.argmax(middle_line @ track_position[0])) - size.pixels // 2
    first = min(max(first, 0), orbit.PIXELS - size.pixels)
    return slice(first, first + size.pixels)


# ---------------------------------------------------------------- the swath


@dataclass(frozen=True)
class SwathInputs:
    """Inputs of the simulation of a granule."""

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


def simulate_scans(inputs: SwathInputs, scans: NDArray[np.int64], rng: np.random.Generator) -> ScanBlock:
    """Return geometry and stored integers of some scans."""
    geometry = orbit.scan_geometry(inputs.flight, scans, inputs.size.scans, inputs.columns)
    latitude, longitude = geodesy.lat_lon(geometry.ground)
    radius = 1.0 + inputs.flight.orbit.height_km / geodesy.EARTH_KM
    satellite = np.repeat(geometry.satellite * radius, LINES_PER_SCAN, axis=0)[:, None, :]
    zenith, azimuth = orbit.view_angles(geometry.ground, satellite)
    midnight = (inputs.start - inputs.start.replace(hour=0, minute=0)).total_seconds()
    sun = geodesy.sun_vector(midnight, inputs.fields.climate.day_of_year) * 1e6
    sun_zenith, sun_azimuth = orbit.view_angles(geometry.ground, sun)
    cosines = [np.cos(np.radians(angle)).astype(np.float32) for angle in (sun_zenith, zenith)]
    view = radiative_transfer.ViewGeometry(
        cosines[0], cosines[1], glint_angle(sun_zenith, zenith, sun_azimuth - azimuth)
    )
    minutes = float(geometry.scan_times_s.mean() - inputs.flight.middle_s) / 60.0
    atmosphere = synthetic_atmosphere.sample_atmosphere(
        inputs.fields, LinesOfSight(geometry.ground, view_slope(inputs, zenith), minutes), view.sun_cosine
    )
    counts = radiative_transfer.simulate_bands(atmosphere, view, rng)
    trimmed = np.tile(orbit.trimmed_mask(inputs.columns), (len(scans), 1))
    for plane in counts.values():
        plane[trimmed] = TRIMMED_COUNT
    angles = dict(zip(("solar_zenith", "solar_azimuth"), (sun_zenith, sun_azimuth), strict=True))
    angles |= {"sensor_zenith": zenith, "sensor_azimuth": azimuth}
    # Codes of land_water_mask: 7 deep ocean, 1 land.
    land = np.where(atmosphere.surface.land > 0.5, 1, 7).astype(np.uint8)
    return ScanBlock(latitude, longitude, angles, land, counts, geometry.scan_times_s)


def view_slope(inputs: SwathInputs, zenith: NDArray[Any]) -> NDArray[Any]:
    """Return the displacement to the right of a line of sight per kilometer of descent."""
    angle, _ = orbit.scan_angles()
    return np.asarray(-np.tan(np.radians(np.minimum(zenith, 75.0))) * np.sign(angle[inputs.columns]))


def glint_angle(sun: NDArray[Any], view: NDArray[Any], azimuth: NDArray[Any]) -> NDArray[np.float32]:
    """Return the angle (degrees) between the line of sight and the specular reflection on a level sea."""
    a, b, c = np.radians(sun), np.radians(view), np.radians(azimuth)
    cosine = np.cos(a) * np.cos(b) - np.sin(a) * np.sin(b) * np.cos(c)
    return np.asarray(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))), np.float32)


def write_swath(paths: tuple[Path, Path], inputs: SwathInputs, rng: np.random.Generator) -> None:
    """Write both files of a granule, a few scans at a time."""
    import netCDF4

    with netCDF4.Dataset(paths[0], "w") as radiances, netCDF4.Dataset(paths[1], "w") as geolocation:
        for file in (radiances, geolocation):
            write_header(file, inputs)
        planes = create_radiance_planes(radiances) | create_geolocation_planes(geolocation)
        for first in range(0, inputs.size.scans, 4):
            # A few scans at a time, to limit memory at full size.
            scans = np.arange(first, min(first + 4, inputs.size.scans))
            block = simulate_scans(inputs, scans, rng)
            lines = slice(first * LINES_PER_SCAN, (int(scans[-1]) + 1) * LINES_PER_SCAN)
            for name, plane in block.counts.items():
                planes[name][lines] = plane
            planes["latitude"][lines], planes["longitude"][lines] = block.latitude, block.longitude
            planes["land_water_mask"][lines] = block.land
            for name, plane in block.angles.items():
                planes[name][lines] = np.rint(plane * 100.0).astype(np.int16)
            for file in (radiances, geolocation):
                times = file["scan_line_attributes"]
                times["scan_start_time"][scans] = block.scan_times_s - SCAN_SECONDS / 2.0
                times["scan_end_time"][scans] = block.scan_times_s + SCAN_SECONDS / 2.0


def write_header(file: Any, inputs: SwathInputs) -> None:
    """Write dimensions, attributes and times of either file; values are written as integers, unscaled."""
    file.set_auto_maskandscale(False)
    file.synthetic = np.int32(1)
    file.comment = SYNTHETIC_COMMENT
    file.instrument, file.platform = "VIIRS", "Suomi-NPP"
    end = inputs.start + timedelta(seconds=inputs.size.scans * SCAN_SECONDS)
    file.time_coverage_start = f"{inputs.start:%Y-%m-%dT%H:%M:%S}.000Z"
    file.time_coverage_end = f"{end:%Y-%m-%dT%H:%M:%S}.000Z"
    for name, length in (("scans", inputs.size.scans), ("lines", inputs.size.lines), ("pixels", inputs.size.pixels)):
        file.createDimension(f"number_of_{name}", length)
    group = file.createGroup("scan_line_attributes")
    for name in ("scan_start_time", "scan_end_time"):
        times = group.createVariable(name, "f8", ("number_of_scans",), fill_value=-999.9)
        times.units, times.long_name = "seconds", f"{name.replace('_', ' ')} (TAI93)"
    file.set_auto_maskandscale(False)


def create_plane(group: Any, name: str, kind: str, **attributes: Any) -> Any:
    """Create a plane in chunks of a few scans."""
    fill = attributes.pop("fill", None)
    shape = [len(group.parent.dimensions[f"number_of_{side}"]) for side in ("lines", "pixels")]
    chunks = (min(shape[0], 64), min(shape[1], 800))
    variable = group.createVariable(
        name, kind, ("number_of_lines", "number_of_pixels"), zlib=True, complevel=1, chunksizes=chunks, fill_value=fill
    )
    variable.set_auto_maskandscale(False)
    variable.setncatts(attributes)
    return variable


def create_radiance_planes(file: Any) -> dict[str, Any]:
    """Create the bands of a VNP02MOD file, and the tables from integers to brightness temperature."""
    group = file.createGroup("observation_data")
    file.createDimension("number_of_LUT_values", 65536)
    planes = {}
    for band in BANDS:
        units = "Watts/meter^2/steradian/micrometer" if band.thermal else "none"
        attributes = {"scale_factor": np.float32(band.step), "add_offset": np.float32(0.0), "units": units}
        limits = {"valid_min": np.uint16(0), "valid_max": np.uint16(MAX_VALID_COUNT)}
        planes[band.name] = create_plane(group, band.name, "u2", fill=np.uint16(MISSING_COUNT), **attributes, **limits)
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
    """Create the planes of a VNP03MOD file."""
    group = file.createGroup("geolocation_data")
    planes = {
        name: create_plane(group, name, "f4", fill=np.float32(-999.9), units=units)
        for name, units in (("latitude", "degrees_north"), ("longitude", "degrees_east"))
    }
    for name in ("solar_zenith", "solar_azimuth", "sensor_zenith", "sensor_azimuth"):
        attributes = {"scale_factor": np.float32(0.01), "add_offset": np.float32(0.0), "units": "degrees"}
        planes[name] = create_plane(group, name, "i2", fill=np.int16(-32768), **attributes)
    planes["land_water_mask"] = create_plane(group, "land_water_mask", "u1", fill=np.uint8(255))
    return planes


# ---------------------------------------------------------------- the track


@dataclass(frozen=True)
class TrackInputs:
    """Inputs of the simulation of a track."""

    flight: Pass
    track: Pass
    size: GranuleSize
    fields: AtmosphereFields


def write_track(out: Path, inputs: TrackInputs, rng: np.random.Generator) -> None:
    """Write the file of cloud layers."""
    seconds, ground = track_profiles(inputs)
    latitude, longitude = geodesy.lat_lon(ground)
    layers = simulate_layers(inputs, ground, rng)
    datasets: dict[str, NDArray[Any]] = {
        "Profile_ID": np.arange(1, len(seconds) + 1, dtype=np.int32)[:, None],
        "Latitude": latitude[:, None].astype(np.float32),
        "Longitude": longitude[:, None].astype(np.float32),
        "Profile_Time": seconds[:, None],
        "Number_Layers_Found": np.isfinite(layers.tops_km).sum(axis=1).astype(np.int8)[:, None],
        "Layer_Top_Altitude": np.nan_to_num(layers.tops_km, nan=-9999.0).astype(np.float32),
        "Feature_Classification_Flags": layers.flags,
    }
    hdf4_files.write(track_path(out, inputs, "01kmCLay"), datasets, comment=SYNTHETIC_COMMENT)


def track_profiles(inputs: TrackInputs) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return times (seconds since 1993) and unit vectors of the profiles of a track."""
    profiles_per_second = geodesy.EARTH_KM * inputs.track.orbit.rate_rad_s / PROFILE_KM
    seconds = np.asarray(
        inputs.track.middle_s
        + (np.arange(inputs.size.profiles) - (inputs.size.profiles - 1) / 2.0) / profiles_per_second,
        np.float64,
    )
    return seconds, inputs.track.state(seconds)[0]


def track_path(out: Path, inputs: TrackInputs, product: str) -> Path:
    """Return the path of a lidar product of a track."""
    seconds, _ = track_profiles(inputs)
    start = orbit.EPOCH + timedelta(seconds=float(seconds[0]) - orbit.LEAP_SECONDS_SINCE_1993)
    # The northward half of both orbits is in daylight.
    half = "D" if np.cos(np.radians(inputs.flight.argument_deg)) > 0.0 else "N"
    return out / f"CAL_LID_L2_{product}-Synthetic-V4-10.{start:%Y-%m-%dT%H-%M-%S}Z{half}.hdf"


def simulate_layers(inputs: TrackInputs, ground: NDArray[Any], rng: np.random.Generator) -> caliop.LayerTable:
    """Return the layers detected by the lidar: at most two per profile, the upper one first."""
    atmosphere = sample_below(inputs, ground)
    high = draw_detections(atmosphere.high_tau, rng)
    low = draw_detections(atmosphere.low_tau, rng) & (atmosphere.high_tau < 3.0)
    # A convective tower that reaches the cirrus is reported as a single layer.
    merged = high & low & (atmosphere.low_top_km > atmosphere.high_top_km - 1.0)
    low &= ~merged
    tops = np.full((len(ground), MAX_LAYERS), np.nan, np.float32)
    flags = np.zeros((len(ground), MAX_LAYERS), np.uint16)
    height_noise = rng.standard_normal((len(ground), 2)).astype(np.float32) * 0.04
    upper = layer_flags(np.ones(len(ground), bool), atmosphere.high_tau, rng)
    lower = layer_flags(atmosphere.low_ice, atmosphere.low_tau, rng)
    second = np.where(high, 1, 0)
    rows = np.flatnonzero(high)
    tops[rows, 0], flags[rows, 0] = (
        (np.maximum(atmosphere.high_top_km, atmosphere.low_top_km * merged) + height_noise[:, 0])[rows],
        upper[rows],
    )
    rows = np.flatnonzero(low)
    tops[rows, second[rows]], flags[rows, second[rows]] = (
        (atmosphere.low_top_km + height_noise[:, 1])[rows],
        lower[rows],
    )
    return caliop.LayerTable(flags, tops)


def sample_below(inputs: TrackInputs, ground: NDArray[Any]) -> AtmosphereSample:
    """Return the atmosphere below the lidar at unit vectors to the ground."""
    minutes = float(inputs.track.middle_s - inputs.flight.middle_s) / 60.0
    # The sun affects the skin temperature only, and no lidar quantity depends on that.
    dark = np.zeros(len(ground), np.float32)
    sights = LinesOfSight(ground, np.zeros(len(ground)), minutes)
    return synthetic_atmosphere.sample_atmosphere(inputs.fields, sights, dark)


def draw_detections(tau: NDArray[Any], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return True where the lidar detects a layer, given its optical thickness."""
    with np.errstate(divide="ignore"):
        probability = 1.0 / (1.0 + np.exp(-(np.log(tau) - np.log(0.12)) / 0.25))
    return np.asarray(rng.random(len(tau)) < probability)


def layer_flags(ice: NDArray[np.bool_], tau: NDArray[Any], rng: np.random.Generator) -> NDArray[np.uint16]:
    """Return classification flags of a cloud layer."""
    random = rng.random(len(ice))
    # 3 % of ice is horizontally oriented.
    phase = np.where(ice, np.where(random < 0.03, 3, 1), 2)
    # The phase of thin layers is determined less often.
    unknown = rng.random(len(ice)) < 0.02 + 0.10 * np.exp(-np.asarray(tau) / 0.3)
    phase = np.where(unknown, 0, phase)
    confidence = np.where(unknown, 0, 3)
    subtype = np.where(ice, 6, 2)
    return caliop.encode_flags(
        type=2, type_confidence=3, phase=phase, phase_confidence=confidence, subtype=subtype, averaging=2
    )
