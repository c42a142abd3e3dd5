"""examples/cloud_retrieval/granules, part by part: files, flags, collocation, features, scores, the generator.

The tests on a real collocation read the folder named by STRATUS_TEST_DATA (else shared/data beside the repository) and
are skipped without it.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

for package in ("numpy", "scipy", "sklearn", "h5py", "netCDF4", "pyhdf", "matplotlib", "distributed"):
    pytest.importorskip(package, reason=f"the granules job needs {package} (requirements.txt of the example)")

ROOT = Path(__file__).parent.parent
JOB = ROOT / "examples" / "cloud_retrieval"
sys.path.insert(0, str(JOB))

import h5py  # noqa: E402
import netCDF4  # noqa: E402
import numpy as np  # noqa: E402
from granules import caliop, collocation, evaluation, features, file_names, forest_model, geodesy, index_files, viirs  # noqa: E402
from granules.caliop import CLEAR, CLOUDY, ICE, MIXED, OTHER, WATER  # noqa: E402
from granules.collocation import (  # noqa: E402
    Swath,
    Track,
)
from granules.viirs import (  # noqa: E402
    BANDS,
    Window,
)
from retrieval.scenes import SceneError  # noqa: E402
from simulation import (  # noqa: E402
    orbit,
    radiative_transfer,
    synthetic_granules,
)
from simulation.synthetic_granules import GranuleSize  # noqa: E402

REAL = "CAL_2013-01-02T15-03-57ZD_VNP_2013002.1542_Index.h5"
SMALL = GranuleSize(160, 160, 260)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One synthetic pair of middle latitudes, one that reaches into twilight."""
    place = tmp_path_factory.mktemp("granules")
    list(synthetic_granules.write_pairs(place, count=2, size=SMALL, seed=5))
    return place


@pytest.fixture(scope="module")
def pair(folder: Path) -> file_names.GranulePair:
    """The first pair."""
    return file_names.find_pairs(str(folder), minutes=15.0)[0]


@pytest.fixture
def granule(folder: Path, pair: file_names.GranulePair) -> Any:
    """The first granule, open."""
    with viirs.open_granule(folder / pair.radiances, folder / pair.geolocation, label="granule") as found:
        yield found


@pytest.fixture
def real() -> Path:
    """The index file of a real collocation."""
    place = Path(os.environ.get("STRATUS_TEST_DATA", ROOT.parent / "shared" / "data")) / REAL
    if not place.is_file():
        pytest.skip(f"no {REAL} in {place.parent}; STRATUS_TEST_DATA names its folder")
    return place


# ---------------------------------------------------------------- names


def test_the_names_of_real_files_are_told_apart_and_paired_by_time(tmp_path: Path) -> None:
    track = "CAL_LID_L2_01kmCLay-Standard-V4-10.2013-01-02T15-03-57ZD.hdf"
    late = "CAL_LID_L2_01kmCLay-Standard-V4-10.2013-01-02T16-42-37ZD.hdf"
    parts = [f"VNP0{kind}MOD.A2013002.1542.001.2017290180216.nc" for kind in (2, 3)]
    for name in (track, late, *parts, REAL, "readme.txt"):
        (tmp_path / name).touch()

    found = file_names.find_pairs(str(tmp_path), minutes=15.0)

    assert [(one.key, one.tracks, one.index_files) for one in found] == [("2013002.1542", (track,), (REAL,))]
    assert found[0].all_files == (*parts, track, REAL)
    assert file_names.index_file_name(track, "2013002.1542") == REAL


def test_granules_of_two_satellites_at_the_same_minute_are_two(tmp_path: Path) -> None:
    """NOAA-20 flies half an orbit behind Suomi NPP, and both are cut into granules at the same minutes."""
    track = "CAL_LID_L2_01kmCLay-Standard-V4-51.2018-06-02T15-03-57ZD.hdf"
    parts = [f"{craft}0{kind}MOD.A2018153.1542.002.1.nc" for craft in ("VJ1", "VNP") for kind in (2, 3)]
    indices = [f"CAL_2018-06-02T15-03-57ZD_{craft}_2018153.1542_Index.h5" for craft in ("VJ1", "VNP")]
    for name in (track, *parts, *indices):
        (tmp_path / name).touch()

    found = file_names.find_pairs(str(tmp_path), minutes=15.0)

    assert [one.all_files for one in found] == [(*parts[2:], track, indices[1]), (*parts[:2], track, indices[0])]
    assert [one.key for one in found] == ["2018153.1542", "VJ1_2018153.1542"]
    assert [file_names.index_file_name(track, one.key) for one in found] == indices[::-1]


def test_a_granule_is_not_completed_by_another_satellite_s(tmp_path: Path) -> None:
    for name in ("VNP02MOD.A2018153.1542.002.1.nc", "VJ103MOD.A2018153.1542.002.1.nc"):
        (tmp_path / name).touch()

    with pytest.raises(SceneError, match=r"granule VJ1_2018153\.1542 has no VJ102MOD file"):
        file_names.find_pairs(str(tmp_path), minutes=15.0)


@pytest.mark.parametrize(
    ("there", "complaint"),
    [
        ([], "no granule in it"),
        (["VNP02MOD.A2013002.1542.001.1.nc"], "granule 2013002.1542 has no VNP03MOD file"),
        (["VNP03MOD.A2013002.1542.001.1.nc"], "granule 2013002.1542 has no VNP02MOD file"),
        (["VNP02MOD.A2013002.1542.001.1.nc", "VNP03MOD.A2013002.1542.001.1.nc"], "no track within 15 minutes"),
    ],
)
def test_a_folder_that_lacks_files_is_one_line(tmp_path: Path, there: list[str], complaint: str) -> None:
    for name in there:
        (tmp_path / name).touch()

    with pytest.raises(SceneError, match=complaint):
        file_names.find_pairs(str(tmp_path), minutes=15.0)


# ---------------------------------------------------------------- flags


@pytest.mark.parametrize(
    ("flags", "type_", "phase", "confidence"),
    [
        (0b0000000110101010, 2, 1, 3),  # cloud, randomly oriented ice, high confidence
        (0b0000000111001010, 2, 2, 3),  # cloud, water
        (0b0000000111101010, 2, 3, 3),  # cloud, horizontally oriented ice
        (0b0000000000001010, 2, 0, 0),  # cloud of undetermined phase
        (0b0100000000011011, 3, 0, 0),  # aerosol
        (1, 1, 0, 0),  # clear air
    ],
)
def test_flags_mean_what_the_data_products_catalog_says(flags: int, type_: int, phase: int, confidence: int) -> None:
    values = np.array([flags], np.uint16)

    assert int(caliop.decode_flags(values, "type")[0]) == type_
    assert int(caliop.decode_flags(values, "phase")[0]) == phase
    assert int(caliop.decode_flags(values, "phase_confidence")[0]) == confidence


@given(flags=st.integers(0, 2**16 - 1))
def test_the_parts_of_the_flags_share_out_all_sixteen_bits(flags: int) -> None:
    parts = {part: caliop.decode_flags(np.array([flags]), part) for part in caliop.FLAG_BITS}

    assert int(caliop.encode_flags(**parts)[0]) == flags


def test_a_column_is_what_its_layers_say() -> None:
    def cloud(phase: int, confidence: int = 3) -> int:
        return int(caliop.encode_flags(type=2, type_confidence=3, phase=phase, phase_confidence=confidence))

    columns = {
        CLEAR: [],
        WATER: [cloud(2), cloud(2)],
        ICE: [cloud(1), cloud(3)],
        MIXED: [cloud(1), cloud(2)],
        CLOUDY: [cloud(1), cloud(2, confidence=1)],
        OTHER: [int(caliop.encode_flags(type=4))],
    }
    flags, tops = np.zeros((6, 10), np.uint16), np.full((6, 10), np.nan, np.float32)
    for row, layers in enumerate(columns.values()):
        flags[row, : len(layers)], tops[row, : len(layers)] = layers, [12.0 - turn for turn in range(len(layers))]

    found = caliop.classify_columns(caliop.LayerTable(flags, tops))

    assert found.column_class.tolist() == list(columns)
    assert found.top_km[[1, 2, 3, 4]].tolist() == [12.0] * 4
    assert np.isnan(found.top_km[[0, 5]]).all()


# ---------------------------------------------------------------- readers


def test_bands_come_scaled_with_trimmed_and_missing_pixels_left_out(
    folder: Path, pair: file_names.GranulePair, tmp_path: Path
) -> None:
    path = tmp_path / pair.radiances
    shutil.copy(folder / pair.radiances, path)
    with netCDF4.Dataset(path, "a") as file:
        plane = file["observation_data/M05"]
        plane.set_auto_maskandscale(False)
        plane[7, 3:8] = [0, 1000, viirs.MAX_VALID_COUNT, viirs.TRIMMED_COUNT, viirs.MISSING_COUNT]
        plane.scale_factor, plane.add_offset = np.float32(2e-5), np.float32(0.25)
    with viirs.open_granule(path, folder / pair.geolocation, label="granule") as granule:
        values = granule.band(BANDS[4], Window(7, 8, 3, 8))[0]

    assert values[:3] == pytest.approx([0.25, 0.27, 0.25 + 2e-5 * viirs.MAX_VALID_COUNT])
    assert np.isnan(values[3:]).all()


def test_brightness_temperatures_are_those_of_planck_s_function(granule: Any) -> None:
    window = Window(0, 40, 0, 160)
    for band in BANDS[-2:]:
        watts, kelvin = granule.band(band, window), granule.brightness_temperature(band, window)
        assert np.nanmax(np.abs(viirs.planck_radiance(band.wavelength_um, kelvin) - watts)) < 1e-3

    assert float(viirs.planck_radiance(10.763, 300.0)) == pytest.approx(9.69, abs=0.01)


def test_no_radiance_is_the_lowest_temperature_that_the_file_s_table_tells(
    folder: Path, pair: file_names.GranulePair, tmp_path: Path
) -> None:
    """It says -999.9 where there is none: at its lower end, which the coldest clouds reach at 4 um, or anywhere."""
    paths = [Path(shutil.copy(folder / name, tmp_path)) for name in pair.swath_files]
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


def test_a_night_granule_without_reflective_bands_reads_as_nothing_there(
    folder: Path, pair: file_names.GranulePair, tmp_path: Path
) -> None:
    with netCDF4.Dataset(folder / pair.radiances) as day, netCDF4.Dataset(tmp_path / "night.nc", "w") as night:
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
    with viirs.open_granule(tmp_path / "night.nc", folder / pair.geolocation, label="night") as granule:
        table = features.compute(granule, Window(0, 8, 0, 8))

    assert np.isnan(table[:, features.FEATURE_NAMES.index("M01")]).all()
    # Without the file's own table Planck's function is inverted.
    assert np.isfinite(table[:, features.FEATURE_NAMES.index("M15")]).all()


def test_each_line_has_the_time_of_its_scan(granule: Any) -> None:
    times = granule.line_times()

    assert len(times) == SMALL.lines
    assert np.diff(times[::16]) == pytest.approx(orbit.SCAN_SECONDS)
    assert (times[:16] == times[0]).all()


@pytest.mark.parametrize("kind", ["text", "other HDF"])
def test_a_file_that_is_none_of_ours_is_one_line(
    folder: Path, pair: file_names.GranulePair, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "odd.nc"
    if kind == "text":
        path.write_text("no data")
    else:
        with h5py.File(path, "w") as file:
            file["Reflectance"] = 1.0
    with (
        pytest.raises(SceneError, match=r"^here: (not a readable NetCDF|no dataset observation_data/M15)"),
        viirs.open_granule(path, folder / pair.geolocation, label="here"),
    ):
        pass
    with pytest.raises(SceneError, match=r"^there: not a readable HDF4 file"):
        caliop.read_track(path, label="there")


def test_a_damaged_dataset_of_a_track_is_one_line(tmp_path: Path) -> None:
    from pyhdf.SD import SD, SDC

    path = tmp_path / "track.hdf"
    file = SD(str(path), SDC.WRITE | SDC.CREATE)
    dataset = file.create("Latitude", SDC.FLOAT64, (4000, 1))
    dataset.setcompress(SDC.COMP_DEFLATE, 6)
    dataset[:] = np.random.default_rng(0).random((4000, 1))
    dataset.endaccess()
    file.end()
    whole = path.read_bytes()
    path.write_bytes(whole[:8000] + np.random.default_rng(1).bytes(12_000) + whole[20_000:])

    with pytest.raises(SceneError, match=r"^track: Latitude cannot be read; damaged\? \([^\n]*\)$"):
        caliop.read_track(path, label="track")


def test_a_granule_of_two_shapes_is_refused(folder: Path, pair: file_names.GranulePair, tmp_path: Path) -> None:
    list(synthetic_granules.write_pairs(tmp_path, count=1, size=GranuleSize(32, 48, 60), seed=5))
    with (
        pytest.raises(SceneError, match=r"radiances of \(160, 160\) pixels, geolocation of \(32, 48\)"),
        viirs.open_granule(folder / pair.radiances, tmp_path / pair.geolocation, label="granule"),
    ):
        pass


# ---------------------------------------------------------------- collocation


def full_tree(swath: Swath, track: Track, km: float, minutes: float) -> tuple[Any, Any, Any]:
    """Profile, chord and flat pixel of all matches by a tree over all pixels; the reference."""
    from scipy.spatial import cKDTree

    usable = np.isfinite(swath.latitude) & np.isfinite(swath.longitude)
    if swath.usable is not None:
        usable &= swath.usable
    flat = np.flatnonzero(usable)
    latitude, longitude = (plane.ravel()[flat] for plane in (swath.latitude, swath.longitude))
    bound = np.nextafter(geodesy.chord_length(km), np.inf)
    tree = cKDTree(geodesy.unit_vectors(latitude, longitude))
    chords, found = tree.query(geodesy.unit_vectors(track.latitude, track.longitude), distance_upper_bound=bound)
    profile = np.flatnonzero(np.isfinite(chords))
    pixel = flat[found[profile]]
    late = (track.time[profile] - swath.time[pixel // swath.latitude.shape[1]]) / 60.0
    near = np.abs(late) <= minutes
    return profile[near], chords[profile[near]], pixel[near]


@settings(max_examples=60, deadline=None)
@given(
    argument=st.floats(-180.0, 180.0),
    moment=st.integers(0, 23),
    east=st.floats(-30.0, 30.0),
    late=st.floats(-20.0, 20.0),
    first=st.sampled_from([0, 1200, 1550, 2900]),
    holes=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_block_pruning_finds_what_a_tree_over_all_pixels_finds(
    argument: float, moment: int, east: float, late: float, first: int, holes: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    flight = orbit.swath_pass(synthetic_granules.datetime(2013, 1, 2, moment), argument)
    scans, columns = np.arange(8), slice(first, first + 300)
    ground = orbit.scan_geometry(flight, scans, 8, columns).ground
    latitude, longitude = (plane.astype(np.float32) for plane in geodesy.lat_lon(ground))
    if holes:
        latitude[rng.random(latitude.shape) < 0.1] = np.nan
    usable = rng.random(latitude.shape) < 0.9 if holes else None
    times = np.repeat(flight.middle_s + (scans - 3.5) * orbit.SCAN_SECONDS, 16)
    swath = Swath(latitude, longitude, times, usable)
    # A track through a pixel of the swath, at any heading, leaving it on both sides.
    through, heading = ground[rng.integers(128), rng.integers(300)], rng.standard_normal(3)
    along = np.cross(through, heading)
    way = np.linspace(-0.06, 0.06, 400)[:, None]
    points = np.cos(way) * through + np.sin(way) * along / np.linalg.norm(along)
    track = Track(*geodesy.lat_lon(points), flight.middle_s + 60.0 * late + np.linspace(-60.0, 60.0, 400) * east)

    found = collocation.collocate(swath, track, km=5.0, minutes=15.0)

    profile, chords, pixel = full_tree(swath, track, 5.0, 15.0)
    flat = found.line * 300 + found.pixel
    assert found.profile.tolist() == profile.tolist()
    assert found.km == pytest.approx(geodesy.arc_km(chords), abs=1e-9)
    # Another pixel only where two are equally far.
    others = flat != pixel
    gap = np.linalg.norm(unit_of(swath, flat[others]) - unit_of(swath, pixel[others]), axis=1)
    assert (found.km[others] == pytest.approx(geodesy.arc_km(chords[others]), abs=1e-9)) or not gap.any()


def unit_of(swath: Swath, flat: Any) -> Any:
    """Unit vectors of flat pixels."""
    return geodesy.unit_vectors(swath.latitude.ravel()[flat], swath.longitude.ravel()[flat])


@pytest.mark.parametrize(("latitude", "longitude"), [(90.0, 0.0), (-90.0, 77.0), (0.0, 180.0), (65.0, -180.0)])
def test_pole_and_date_line_are_places_like_any_other(latitude: float, longitude: float) -> None:
    centre = geodesy.unit_vectors(latitude, longitude)
    side = np.cross(centre, [0.3, 0.5, 0.8])
    side /= np.linalg.norm(side)
    ahead = np.cross(centre, side)
    grid = (np.arange(-40, 40) + 0.5) * 0.75 / geodesy.EARTH_KM
    ground = centre + grid[:, None, None] * ahead + grid[None, :, None] * side
    ground /= np.linalg.norm(ground, axis=-1, keepdims=True)
    swath = Swath(*geodesy.lat_lon(ground), np.zeros(80))
    way = np.linspace(-0.008, 0.008, 60)[:, None]
    points = centre + way * (ahead + 0.3 * side)
    points /= np.linalg.norm(points, axis=-1, keepdims=True)
    track = Track(*geodesy.lat_lon(points), np.zeros(60))

    found = collocation.collocate(swath, track)

    profile, _, pixel = full_tree(swath, track, 5.0, 15.0)
    assert len(found) > 30
    assert found.profile.tolist() == profile.tolist()
    assert (found.line * 80 + found.pixel).tolist() == pixel.tolist()
    assert found.km.max() <= 5.0


def test_the_clock_of_each_line_decides_and_both_limits_are_included() -> None:
    lines = np.zeros((32, 16)) + np.arange(32)[:, None] * 0.01
    swath = Swath(lines, np.zeros((32, 16)) + np.arange(16) * 0.01, np.repeat([0.0, 600.0], 16))
    track = Track(np.array([0.02, 0.02, 0.20, 0.20]), np.full(4, 0.03), np.array([900.0, 900.1, 1500.0, -300.1]))

    found = collocation.collocate(swath, track, minutes=15.0)

    assert found.profile.tolist() == [0, 2]
    assert found.minutes.tolist() == [15.0, 15.0]
    assert (found.line.tolist(), found.pixel.tolist()) == ([2, 20], [3, 3])


def test_a_swath_and_a_track_that_never_meet_match_nowhere() -> None:
    swath = Swath(np.zeros((16, 16)), np.zeros((16, 16)), np.zeros(16))

    assert len(collocation.collocate(swath, Track(np.array([5.0]), np.array([5.0]), np.zeros(1)))) == 0
    assert len(collocation.collocate(swath, Track(np.array([0.0]), np.array([0.0]), np.array([1e6])))) == 0
    nowhere = Swath(np.full((16, 16), np.nan), np.zeros((16, 16)), np.zeros(16))
    assert len(collocation.collocate(nowhere, Track(np.zeros(1), np.zeros(1), np.zeros(1)))) == 0


# ---------------------------------------------------------------- index files


@pytest.fixture
def index(granule: Any, folder: Path, pair: file_names.GranulePair, tmp_path: Path) -> tuple[Path, collocation.Matches]:
    """An index file of ours, and what went into it."""
    lidar = caliop.read_track(folder / pair.tracks[0], label="track")
    matches = collocation.collocate(granule.swath(), lidar.track)
    index_files.write_matches(tmp_path / "index.h5", matches, granule, (pair.tracks[0], pair.geolocation))
    return tmp_path / "index.h5", matches


def test_an_index_file_is_read_as_it_was_written(index: tuple[Path, collocation.Matches], granule: Any) -> None:
    path, matches = index

    again = index_files.read_matches(path, label="index", km=5.0, minutes=15.0)

    for field in dataclasses.fields(matches):
        assert np.array_equal(getattr(again, field.name), getattr(matches, field.name)), field.name
    with h5py.File(path) as file:
        assert file.attrs["synthetic"]
    # The pixel itself stands in the middle of its neighbours across the track.
    kelvin = granule.band(BANDS[14], Window(0, SMALL.lines, 0, SMALL.pixels))
    found = index_files.read_observations(path)["M15"]
    assert np.array_equal(found[:, 2], kelvin[matches.line, matches.pixel])


def test_index_files_have_the_names_types_and_fill_values_of_real_ones(
    index: tuple[Path, collocation.Matches], real: Path
) -> None:
    with h5py.File(index[0]) as ours, h5py.File(real) as theirs:
        assert sorted(ours) == sorted(theirs)
        assert sorted(ours["observation_data"]) == sorted(theirs["observation_data"])
        for name in (*index_files.INDEX_DATASETS, *index_files.VALUE_DATASETS):
            assert ours[name].dtype == theirs[name].dtype
            assert ours[name].attrs["fillvalue"] == theirs[name].attrs["fillvalue"]


def test_a_real_index_file_is_read_within_the_limits_asked_for(real: Path) -> None:
    wide = index_files.read_matches(real, label="real", km=50.0, minutes=15.0)
    near = index_files.read_matches(real, label="real", km=5.0, minutes=15.0)

    assert (len(wide), len(near), wide.profiles) == (236, 226, 21120)
    assert near.km.max() <= 5.0 < wide.km.max()
    assert near.profile.tolist() == sorted(near.profile.tolist())
    assert {name: plane.shape for name, plane in index_files.read_observations(real).items()} == {
        band.name: (236, 5) for band in BANDS
    }


def test_real_radiances_lie_inside_the_range_of_synthetic_ones(real: Path, tmp_path: Path) -> None:
    # The real granule lies in the twilight of northern winter: so does the end of the fifth plan. The first is warm.
    plans, least, most = synthetic_granules.plan_pairs(5, 1), {}, {}
    for number, size in ((0, GranuleSize(160, 48, 100)), (4, GranuleSize(3232, 48, 100))):
        synthetic_granules.write_pair(tmp_path / str(number), plans[number], size, np.random.default_rng(1))
        pair = file_names.find_pairs(str(tmp_path / str(number)), minutes=15.0)[0]
        paths = [tmp_path / str(number) / name for name in pair.all_files[:2]]
        with viirs.open_granule(paths[0], paths[1], label="made") as granule:
            for band in BANDS:
                made = granule.band(band, Window(0, size.lines, 0, size.pixels))
                least[band.name] = min(least.get(band.name, np.inf), np.nanmin(made))
                most[band.name] = max(most.get(band.name, -np.inf), np.nanmax(made))

    for band in BANDS:
        measured = index_files.read_observations(real)[band.name]
        assert least[band.name] <= measured.min() < measured.max() <= most[band.name], band.name
        # And the steps of the stored integers are the same.
        steps = (measured - measured.min()) / band.step
        assert steps == pytest.approx(np.rint(steps), abs=2e-2), band.name


# ---------------------------------------------------------------- features


def test_features_do_not_depend_on_how_a_granule_is_cut(granule: Any) -> None:
    whole = features.compute(granule, Window(0, 160, 0, 160)).reshape(160, 160, -1)
    rows = np.concatenate([features.compute(granule, Window(a, a + 32, 0, 160)) for a in range(0, 160, 32)])
    spot = features.compute(granule, Window(17, 19, 158, 160)).reshape(2, 2, -1)

    assert np.array_equal(whole.reshape(-1, whole.shape[2]), rows, equal_nan=True)
    assert np.array_equal(whole[17:19, 158:160], spot, equal_nan=True)


def test_mean_and_spread_of_a_neighbourhood_leave_out_what_was_not_observed() -> None:
    plane = np.array([[1.0, 2.0, 3.0], [np.nan, 5.0, 6.0], [7.0, np.nan, np.nan]], np.float32)

    centre, mean, spread = features.neighborhood_statistics(plane)

    assert centre[0, 0] == 5.0
    assert mean[0, 0] == pytest.approx(np.nanmean(plane), abs=1e-6)
    assert spread[0, 0] == pytest.approx(np.nanstd(plane), abs=1e-6)


def test_reflectance_is_what_is_stored_over_the_cosine_of_the_sun_and_nothing_near_the_horizon() -> None:
    suns = np.array([[0.0, 60.0, 84.9, 85.1, 95.0]], np.float32)
    geometry = viirs.Geometry({"solar_zenith": suns}, suns)

    values = features.sunlit_reflectance(np.full((1, 5), 0.2, np.float32), geometry)[0]

    assert values[:2] == pytest.approx([0.2, 0.4])
    assert np.isfinite(values).tolist() == [True, True, True, False, False]


# ---------------------------------------------------------------- scores


def answer(kinds: list[int], cloud: list[float]) -> forest_model.Prediction:
    """An answer that says these classes with these probabilities of cloud."""
    chances = np.zeros((len(kinds), 4), np.float32)
    chances[:, CLEAR] = 1.0 - np.array(cloud)
    chances[np.arange(len(kinds)), [kind or WATER for kind in kinds]] += np.array(cloud, np.float32)
    return forest_model.Prediction(chances, np.full(len(kinds), 5.0, np.float32))


def test_scores_count_what_they_say() -> None:
    kinds = np.array([CLEAR, CLEAR, WATER, ICE, MIXED, CLOUDY], np.int8)
    tops = np.array([np.nan, np.nan, 2.0, 9.0, 12.0, 5.0], np.float32)
    rows = forest_model.ColumnRows(np.zeros((6, 1), np.float32), kinds, tops)

    told = evaluation.count_predictions(
        rows, answer([CLEAR, WATER, WATER, ICE, ICE, CLEAR], [0.1, 0.6, 0.9, 0.8, 0.95, 0.3])
    )
    scores = evaluation.compute_scores([told, told], seed=1)

    assert scores["phase"]["accuracy"] == pytest.approx(3 / 5)
    assert scores["phase"]["classes"]["ice"] == {
        "columns": 2,
        "precision": 0.5,
        "recall": 1.0,
        "f1": pytest.approx(2 / 3),
    }
    assert scores["phase"]["classes"]["mixed"]["recall"] == 0.0
    # A cloud of unknown phase counts for the mask.
    assert scores["cloud_mask"]["columns"] == 12
    assert scores["cloud_mask"]["accuracy"] == pytest.approx(4 / 6)
    assert scores["calibration"]["brier"] == pytest.approx(np.mean([0.01, 0.36, 0.01, 0.04, 0.0025, 0.49]), abs=1e-6)
    assert scores["cloud_top_height"]["rmse"] == pytest.approx(np.sqrt((9 + 16 + 49) / 4))
    assert scores["phase"]["accuracy_95"] == pytest.approx((0.6, 0.6))


def test_the_interval_widens_when_granules_differ_not_when_pixels_are_many() -> None:
    good, bad = (np.array([[part, 0], [10_000 - part, 0]]) for part in (9_900, 5_000))

    low, high = evaluation.bootstrap_interval([good, bad, good, bad], seed=3) or (0.0, 0.0)

    assert low < 0.6
    assert high > 0.9
    assert evaluation.bootstrap_interval([good], seed=3) is None


def test_a_pixel_is_clear_if_cloud_is_less_likely_than_not_and_else_its_likeliest_phase() -> None:
    chances = np.array([[0.45, 0.2, 0.2, 0.15], [0.51, 0.49, 0.0, 0.0], [0.1, 0.2, 0.3, 0.4]], np.float32)

    assert forest_model.Prediction(chances, np.zeros(3, np.float32)).column_class.tolist() == [WATER, CLEAR, MIXED]


# ---------------------------------------------------------------- the generator


def test_every_synthetic_file_says_so(folder: Path, granule: Any, pair: file_names.GranulePair) -> None:
    assert granule.synthetic
    assert caliop.read_track(folder / pair.tracks[0], label="track").synthetic
    assert all("synthetic" in path.name.lower() for path in folder.iterdir())


def test_a_swath_has_the_width_resolution_and_trimmed_lines_of_the_instrument() -> None:
    flight = orbit.swath_pass(synthetic_granules.datetime(2013, 1, 2), 0.0)
    ground = orbit.scan_geometry(flight, np.arange(2), 2, slice(None)).ground

    def km(one: Any, other: Any) -> float:
        return float(geodesy.arc_km(np.linalg.norm(one - other)))

    assert km(ground[0, 0], ground[0, -1]) == pytest.approx(3040.0, abs=60.0)
    assert km(ground[7, 1599], ground[7, 1600]) == pytest.approx(0.75, abs=0.05)
    assert km(ground[7, 0], ground[7, 1]) == pytest.approx(1.6, abs=0.2)
    # Scans follow each other without a gap in the middle and overlap at the edge.
    # (The earth turns by a pixel meanwhile.)
    assert min(km(ground[15, 1600], one) for one in ground[16, 1590:1610]) == pytest.approx(0.74, abs=0.1)
    assert km(ground[0, 0], ground[15, 0]) > 1.7 * km(ground[0, 1600], ground[15, 1600])
    # Four of sixteen lines at the edge, two further in, none in the middle.
    assert orbit.trimmed_mask(slice(None)).sum(axis=0)[[0, 700, 1600, 2500, 3199]].tolist() == [4, 2, 0, 2, 4]


def test_clouds_are_the_brighter_and_the_colder_the_thicker_they_are() -> None:
    tau = np.geomspace(0.01, 60.0, 30).astype(np.float32)
    bright = radiative_transfer.layer_reflectance(tau, np.full(30, 0.6, np.float32))

    assert (np.diff(bright) > 0.0).all()
    assert 0.0 < bright[0] < 0.01
    assert bright[-1] < 1.0
    m10, size = BANDS[9], np.full(3, 20.0, np.float32)
    water, ice = (
        radiative_transfer.absorption_factor(m10, size, False),
        radiative_transfer.absorption_factor(m10, size, True),
    )
    assert (ice < water).all()
    assert (radiative_transfer.absorption_factor(BANDS[4], size, True) == 1.0).all()


def test_lidar_and_swath_see_one_world(folder: Path) -> None:
    """What the lidar calls clear is warmer and darker than what it calls ice, as seen by the other instrument."""
    pair = file_names.find_pairs(str(folder), minutes=15.0)[0]
    lidar = caliop.read_track(folder / pair.tracks[0], label="track")
    with viirs.open_granule(folder / pair.radiances, folder / pair.geolocation, label="granule") as granule:
        matches = collocation.collocate(granule.swath(), lidar.track)
        window = Window(0, SMALL.lines, 0, SMALL.pixels)
        kelvin = granule.brightness_temperature(BANDS[14], window)[matches.line, matches.pixel]
    tops = lidar.columns.top_km[matches.profile]
    clear = lidar.columns.column_class[matches.profile] == CLEAR
    high = tops > 7.0

    assert len(matches) > 80
    assert clear.sum() > 5
    assert high.sum() > 5
    assert np.nanmean(kelvin[clear]) > np.nanmean(kelvin[high]) + 5.0
