"""Additions that make synthetic pairs more like real ones: night, the 5 km product of the lidar, quality flags.

Each is added on request to a pair that is simulated as without it, from its own random numbers: the other files keep
their content.

- **Night.** Every second pair is observed on the southward half of the orbit, half past one at night.
- **5 km product** (05kmMLay) with the optical depth of clouds, and snow and ice on the surface. Averages over 5 km
  detect layers from an optical thickness of about 0.03, those over 20 km from 0.015 (the 1 km product: 0.12), so it
  holds thin cirrus that the 1 km product lacks. Optical depth has an error of 15 %, and is that of the beam's range
  (at most about 5) for clouds that the beam does not penetrate.
- **Quality flags.** M06 saturates over bright clouds, where its stored values fold back; one scan each without a
  calibration of M10, without a valid pointing, and without a scan time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from granules import caliop, viirs
from numpy.typing import NDArray

from simulation import hdf4_files, synthetic_granules
from simulation.orbit import LINES_PER_SCAN
from simulation.synthetic_granules import GranuleSize, PairPlan, SwathInputs, TrackInputs

AVERAGED_PROFILES = 5
MAX_MERGED_LAYERS = 15
SHOT_SECONDS = 0.0496  # between laser shots
# Thickness detected in half of the cases: averages over 5 km, over 20 km; codes of these averages.
DETECTION_LIMITS = ((0.03, 3), (0.015, 4))
OPAQUE = 5.0
DRY_SNOW, SEA_ICE_PERCENT = 103, 90
M06_SATURATION = 0.42  # reflectance times solar cosine


@dataclass(frozen=True)
class Extras:
    """Additions to the plain files of a pair."""

    night: bool = False
    five_km: bool = False
    quality_flags: bool = False


def write_pairs(out: Path, extras: Extras, *, count: int, size: GranuleSize, seed: int) -> Iterator[Path]:
    """Write ``count`` pairs with additions to a folder, one after the other; yield the paths of the radiance files."""
    out.mkdir(parents=True, exist_ok=True)
    for number, plan in enumerate(synthetic_granules.plan_pairs(count, seed)):
        seeds = ([seed, number, 1], [seed, number, 2])
        rng, extra_rng = (np.random.default_rng(part) for part in seeds)
        yield write_pair(out, extras, night_plan(plan) if extras.night and number % 2 else plan, size, (rng, extra_rng))


def night_plan(plan: PairPlan) -> PairPlan:
    """Return a plan at the same latitude on the southward half of the orbit."""
    return replace(plan, argument_deg=180.0 - plan.argument_deg)


def write_pair(
    out: Path, extras: Extras, plan: PairPlan, size: GranuleSize, rngs: tuple[np.random.Generator, np.random.Generator]
) -> Path:
    """Write a pair with its additions; return the path of the radiance file."""
    rng, extra_rng = rngs
    swath, track = synthetic_granules.pair_inputs(plan, size, rng)
    paths = synthetic_granules.swath_paths(out, swath)
    synthetic_granules.write_swath(paths, swath, rng)
    synthetic_granules.write_track(out, track, rng)
    if extras.five_km:
        write_merged_layers(out, track, extra_rng)
    if extras.quality_flags:
        add_quality_flags(paths, swath)
    return paths[0]


# ---------------------------------------------------------------- the 5 km product


def write_merged_layers(out: Path, inputs: TrackInputs, rng: np.random.Generator) -> None:
    """Write the file of 5 km layers; the surface is added to the file of 1 km layers as well."""
    seconds, ground = synthetic_granules.track_profiles(inputs)
    atmosphere = synthetic_granules.sample_below(inputs, ground)
    surface = np.where(
        atmosphere.surface.snow > 0.5, np.where(atmosphere.surface.land > 0.5, DRY_SNOW, SEA_ICE_PERCENT), 0
    ).astype(np.uint8)
    groups = len(seconds) // AVERAGED_PROFILES
    decks = [
        (average(tau, groups), average(top, groups), average(ice, groups) > 0.5)
        for tau, top, ice in (
            (atmosphere.high_tau, atmosphere.high_top_km, np.ones(len(seconds))),
            (atmosphere.low_tau, atmosphere.low_top_km, atmosphere.low_ice),
        )
    ]
    tops = np.full((groups, MAX_MERGED_LAYERS), -9999.0, np.float32)
    depths, flags = tops.copy(), np.zeros((groups, MAX_MERGED_LAYERS), np.uint16)
    transmitted = np.ones(groups, bool)
    for layer, (tau, top, ice) in enumerate(decks):
        code = averaging_codes(tau, rng) * transmitted
        rows = np.flatnonzero(code)
        tops[rows, layer] = top[rows]
        depths[rows, layer] = np.minimum(tau * np.exp(0.15 * rng.standard_normal(groups)), OPAQUE)[rows]
        flags[rows, layer] = merged_flags(ice, code)[rows]
        transmitted &= tau < 3.0
    edges = seconds[: groups * AVERAGED_PROFILES].reshape(groups, AVERAGED_PROFILES)
    datasets: dict[str, NDArray[Any]] = {
        "Profile_Time": edges[:, [0, 2, 4]] + np.array([-SHOT_SECONDS, 0.0, SHOT_SECONDS]),
        "Layer_Top_Altitude": tops,
        "Feature_Optical_Depth_532": depths,
        "Feature_Classification_Flags": flags,
        "Snow_Ice_Surface_Type": surface[2 : groups * AVERAGED_PROFILES : AVERAGED_PROFILES, None],
    }
    path = synthetic_granules.track_path(out, inputs, "05kmMLay")
    hdf4_files.write(path, datasets, comment=synthetic_granules.SYNTHETIC_COMMENT)
    one_km = synthetic_granules.track_path(out, inputs, "01kmCLay")
    hdf4_files.append(one_km, {"Snow_Ice_Surface_Type": surface[:, None]})


def average(values: NDArray[Any], groups: int) -> NDArray[np.float64]:
    """Return the mean of every five profiles."""
    used = np.asarray(values[: groups * AVERAGED_PROFILES], np.float64)
    return np.asarray(used.reshape(groups, AVERAGED_PROFILES).mean(axis=1))


def averaging_codes(tau: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.uint16]:
    """Return the code of the shortest average that detects a layer of some optical thickness; 0: none does."""
    code = np.zeros(len(tau), np.uint16)
    for limit, number in DETECTION_LIMITS:
        with np.errstate(divide="ignore"):
            probability = 1.0 / (1.0 + np.exp(-(np.log(tau) - np.log(limit)) / 0.25))
        code = np.where((code == 0) & (rng.random(len(tau)) < probability), np.uint16(number), code)
    return code


def merged_flags(ice: NDArray[np.bool_], code: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Return classification flags of layers of the 5 km product."""
    return caliop.encode_flags(
        type=2,
        type_confidence=3,
        phase=np.where(ice, 1, 2),
        phase_confidence=3,
        subtype=np.where(ice, 6, 2),
        averaging=code,
    )


# ---------------------------------------------------------------- quality flags


def add_quality_flags(paths: tuple[Path, Path], inputs: SwathInputs) -> None:
    """Add quality flags to both files of a granule, with what they tell of in the values."""
    import netCDF4

    # Scans at a quarter, a half and three quarters of the granule.
    uncalibrated, misplaced, without_time = (inputs.size.scans * part // 4 for part in (1, 2, 3))
    with netCDF4.Dataset(paths[0], "a") as file:
        file.set_auto_maskandscale(False)
        group = file["observation_data"]
        for band in viirs.BANDS:
            plane, flags = group[band.name][:], np.zeros((inputs.size.lines, group[band.name].shape[1]), np.uint16)
            if band.name == "M06":
                limit = int(M06_SATURATION / band.step)
                saturated = (plane > limit) & (plane <= viirs.MAX_VALID_COUNT)
                flags[saturated] = viirs.SATURATED
                plane[saturated] = np.maximum(2 * limit - plane[saturated].astype(np.int64), 0)
                group[band.name][:] = plane
            if band.name == "M10":
                flags[scan_lines(uncalibrated)] = viirs.CALIBRATION_FAILED
                group[band.name][scan_lines(uncalibrated)] = 1
            synthetic_granules.create_plane(group, f"{band.name}_quality_flags", "u2")[:] = flags
    with netCDF4.Dataset(paths[1], "a") as file:
        file.set_auto_maskandscale(False)
        location = np.zeros((inputs.size.lines, file["geolocation_data/latitude"].shape[1]), np.uint8)
        location[scan_lines(misplaced)] = viirs.POINTING_BAD
        synthetic_granules.create_plane(file["geolocation_data"], "quality_flag", "u1")[:] = location
        for name in ("scan_start_time", "scan_end_time"):
            file[f"scan_line_attributes/{name}"][without_time] = -999.9


def scan_lines(scan: int) -> slice:
    """Return the lines of a scan."""
    return slice(scan * LINES_PER_SCAN, (scan + 1) * LINES_PER_SCAN)
