"""Bands, brightness temperatures, scan times, night granules and unusable files."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import h5py
import netCDF4
import numpy as np
import pytest
from granules import caliop, collocation, features, file_names, viirs
from granules.viirs import BANDS, Window
from retrieval.scenes import SceneError
from simulation import orbit, synthetic_granules
from simulation.synthetic_granules import GranuleSize


def test_bands_are_scaled_and_trimmed_and_missing_pixels_are_nan(
    pair_folder: Path, pair: file_names.GranulePair, tmp_path: Path
) -> None:
    path = tmp_path / pair.radiances
    shutil.copy(pair_folder / pair.radiances, path)
    with netCDF4.Dataset(path, "a") as file:
        plane = file["observation_data/M05"]
        plane.set_auto_maskandscale(False)
        plane[7, 3:8] = [0, 1000, viirs.MAX_VALID_COUNT, viirs.TRIMMED_COUNT, viirs.MISSING_COUNT]
        plane.scale_factor, plane.add_offset = np.float32(2e-5), np.float32(0.25)
    with viirs.open_granule(path, pair_folder / pair.geolocation, label="granule") as granule:
        values = granule.band(BANDS[4], Window(7, 8, 3, 8))[0]

    assert values[:3] == pytest.approx([0.25, 0.27, 0.25 + 2e-5 * viirs.MAX_VALID_COUNT])
    assert np.isnan(values[3:]).all()


def test_brightness_temperatures_are_those_of_planck_s_function(granule: Any) -> None:
    window = Window(0, 40, 0, 160)
    for band in BANDS[-2:]:
        watts, kelvin = granule.band(band, window), granule.brightness_temperature(band, window)
        assert np.nanmax(np.abs(viirs.planck_radiance(band.wavelength_um, kelvin) - watts)) < 1e-3

    assert float(viirs.planck_radiance(10.763, 300.0)) == pytest.approx(9.69, abs=0.01)


def test_zero_radiance_is_the_lowest_temperature_of_the_file_s_table(
    pair_folder: Path, pair: file_names.GranulePair, tmp_path: Path
) -> None:
    """The table has -999.9 where undefined: at its cold end, which the coldest clouds reach at 4 um, or anywhere."""
    paths = [Path(shutil.copy(pair_folder / name, tmp_path)) for name in pair.swath_files]
    with netCDF4.Dataset(paths[0], "a") as file:
        file.set_auto_maskandscale(False)
        table = file["observation_data/M13_brightness_temperature_lut"]
        assert table[0] == np.float32(-999.9)
        lowest = float(table[1])
        table[40_000] = -999.9
        file["observation_data/M13"][40, 6:8] = [0, 40_000]

    with viirs.open_granule(*paths, label="granule") as found:
        kelvin = found.brightness_temperature(BANDS[12], Window(39, 42, 5, 9))

    assert float(kelvin[1, 1]) == lowest
    assert np.argwhere(np.isnan(kelvin)).tolist() == [[1, 2]]
    assert np.nanmin(kelvin) == lowest > 180.0


def copied(folder: Path, pair: file_names.GranulePair, out: Path) -> list[Path]:
    """Return copies of both files of a granule."""
    return [Path(shutil.copy(folder / name, out)) for name in pair.swath_files]


def test_integers_without_an_entry_in_the_table_of_temperatures_are_masked_first(
    pair_folder: Path, pair: file_names.GranulePair, tmp_path: Path
) -> None:
    paths = copied(pair_folder, pair, tmp_path)
    with h5py.File(paths[0], "a") as file:
        group = file["observation_data"]
        for band in ("M15", "M16"):
            name = f"{band}_brightness_temperature_lut"
            table = group[name][: viirs.MAX_VALID_COUNT + 1]
            del group[name]
            group[name] = table
        group["M15"][40, 6:8] = [viirs.TRIMMED_COUNT, viirs.MISSING_COUNT]
        group["M16"].attrs["valid_max"] = np.uint16(65535)

    with viirs.open_granule(*paths, label="here") as found:
        kelvin = found.brightness_temperature(BANDS[14], Window(39, 42, 5, 9))
        with pytest.raises(
            SceneError, match=r"^here: M16_brightness_temperature_lut \(65528,\) has no entry for valid"
        ):
            found.brightness_temperature(BANDS[15], Window(39, 42, 5, 9))

    assert np.argwhere(np.isnan(kelvin)).tolist() == [[1, 1], [1, 2]]


def test_flagged_values_are_missing_and_misplaced_pixels_are_never_matched(
    pair_folder: Path, pair: file_names.GranulePair, tmp_path: Path
) -> None:
    paths = copied(pair_folder, pair, tmp_path)
    with netCDF4.Dataset(paths[0], "a") as file:
        for band, bits in (("M06", [viirs.SATURATED, 128, 16]), ("M15", [viirs.CALIBRATION_FAILED, 2048, 1 | 8])):
            flags = file["observation_data"].createVariable(
                f"{band}_quality_flags", "u2", ("number_of_lines", "number_of_pixels")
            )
            flags[:] = 0
            flags[40, 6:9] = bits
    with netCDF4.Dataset(paths[1], "a") as file:
        flags = file["geolocation_data"].createVariable("quality_flag", "u1", ("number_of_lines", "number_of_pixels"))
        flags[:] = 0
        flags[50, 6:9] = [viirs.INPUT_INVALID, viirs.POINTING_BAD, 4]
    window = Window(40, 41, 6, 9)

    with viirs.open_granule(*paths, label="granule") as found:
        swath = found.swath()
        assert np.isnan(found.band(BANDS[5], window)).tolist() == [[True, True, False]]
        assert np.isnan(found.band(BANDS[14], window)).tolist() == [[True, True, False]]
        assert np.isnan(found.brightness_temperature(BANDS[14], window)).tolist() == [[True, True, False]]

    assert swath.usable is not None
    assert swath.usable[40, 6:9].tolist() == [False, False, True]
    for plane in (swath.latitude, swath.longitude):
        assert np.isnan(plane[50, 6:9]).tolist() == [True, True, False]


def test_scans_without_a_time_are_never_matched(
    pair_folder: Path, pair: file_names.GranulePair, tmp_path: Path
) -> None:
    """The fill value of scan times is -999.9; its mean with a time of 2013 would lie in 2003."""
    paths = copied(pair_folder, pair, tmp_path)
    lidar = caliop.read_track(pair_folder / pair.tracks[0], label="track")
    with viirs.open_granule(*paths, label="granule") as whole:
        before = collocation.collocate(whole.swath(), lidar.track)
    with netCDF4.Dataset(paths[1], "a") as file:
        file.set_auto_maskandscale(False)
        file["scan_line_attributes/scan_start_time"][3] = -999.9
        file["scan_line_attributes/scan_end_time"][5] = -999.9

    with viirs.open_granule(*paths, label="granule") as found:
        times = found.line_times()
        swath = found.swath()
    matches = collocation.collocate(swath, lidar.track)

    missing = np.isin(np.arange(160) // 16, (3, 5))
    assert (np.isnan(times) == missing).all()
    assert not missing[matches.line].any()
    # Profiles over other scans keep their pixels.
    kept = dict(zip(matches.profile.tolist(), matches.line.tolist(), strict=True))
    others = [(profile, line) for profile, line in zip(before.profile, before.line, strict=True) if not missing[line]]
    assert len(others) > 50
    assert all(kept[profile] == line for profile, line in others)
    assert len(collocation.collocate(dataclasses.replace(swath, time=np.full(160, np.nan)), lidar.track)) == 0


@pytest.mark.parametrize(
    ("group", "name", "kind", "message"),
    [
        ("observation_data", "M05", "u2", r"^here: M05 has shape \(160,\), the granule \(160, 160\)$"),
        ("observation_data", "M05_quality_flags", "u2", r"^here: M05_quality_flags has shape \(160,\)"),
        ("geolocation_data", "solar_zenith", "i2", r"^here: solar_zenith has shape \(160,\)"),
        ("geolocation_data", "latitude", "f4", r"^here: radiances of \(160, 160\) pixels, geolocation of \(160,\)$"),
        ("observation_data", "M12", "f4", r"^here: M12 holds float32, not integers$"),
    ],
)
def test_planes_of_another_shape_or_type_are_one_line(
    pair_folder: Path, pair: file_names.GranulePair, tmp_path: Path, group: str, name: str, kind: str, message: str
) -> None:
    paths = copied(pair_folder, pair, tmp_path)
    with h5py.File(paths[group == "geolocation_data"], "a") as file:
        if name in file[group]:
            del file[group][name]
        file[group].create_dataset(name, (160, 160) if name == "M12" else (160,), kind)

    with pytest.raises(SceneError, match=message), viirs.open_granule(*paths, label="here"):
        pass


def test_missing_reflective_bands_of_a_night_granule_are_nan(
    pair_folder: Path, pair: file_names.GranulePair, tmp_path: Path
) -> None:
    with netCDF4.Dataset(pair_folder / pair.radiances) as day, netCDF4.Dataset(tmp_path / "night.nc", "w") as night:
        day.set_auto_maskandscale(False)
        for name in ("number_of_lines", "number_of_pixels"):
            night.createDimension(name, len(day.dimensions[name]))
        group = night.createGroup("observation_data")
        for band in (band for band in BANDS if band.thermal):
            source = day[f"observation_data/{band.name}"]
            plane = group.createVariable(band.name, "u2", source.dimensions, fill_value=source._FillValue)
            plane.set_auto_maskandscale(False)
            plane.setncatts({key: source.getncattr(key) for key in source.ncattrs() if key != "_FillValue"})
            plane[:] = source[:]
    with viirs.open_granule(tmp_path / "night.nc", pair_folder / pair.geolocation, label="night") as granule:
        table = features.compute(granule, Window(0, 8, 0, 8))

    assert np.isnan(table[:, features.FEATURE_NAMES.index("M01")]).all()
    # Without a table in the file, Planck's function is inverted.
    assert np.isfinite(table[:, features.FEATURE_NAMES.index("M15")]).all()


def test_each_line_has_the_time_of_its_scan(granule: Any) -> None:
    times = granule.line_times()

    assert len(times) == 160
    assert np.diff(times[::16]) == pytest.approx(orbit.SCAN_SECONDS)
    assert (times[:16] == times[0]).all()


@pytest.mark.parametrize("kind", ["text", "other HDF"])
def test_a_file_of_another_kind_is_one_line(
    pair_folder: Path, pair: file_names.GranulePair, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "odd.nc"
    if kind == "text":
        path.write_text("no data")
    else:
        with h5py.File(path, "w") as file:
            file["Reflectance"] = 1.0
    with (
        pytest.raises(SceneError, match=r"^here: (not a readable NetCDF|no dataset observation_data/M15)"),
        viirs.open_granule(path, pair_folder / pair.geolocation, label="here"),
    ):
        pass
    with pytest.raises(SceneError, match=r"^there: not a readable HDF4 file"):
        caliop.read_track(path, label="there")


def test_files_of_different_shapes_are_refused(pair_folder: Path, pair: file_names.GranulePair, tmp_path: Path) -> None:
    list(synthetic_granules.write_pairs(tmp_path, count=1, size=GranuleSize(32, 48, 60), seed=5))
    with (
        pytest.raises(SceneError, match=r"radiances of \(160, 160\) pixels, geolocation of \(32, 48\)"),
        viirs.open_granule(pair_folder / pair.radiances, tmp_path / pair.geolocation, label="granule"),
    ):
        pass
