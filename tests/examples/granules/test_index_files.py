"""Index files: written and read without loss, compatible with a real one."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from granules import caliop, collocation, file_names, index_files, viirs
from granules.viirs import BANDS, Window
from retrieval.scenes import SceneError
from simulation import synthetic_granules
from simulation.synthetic_granules import GranuleSize

from tests.support.examples.example_data import real_file

REAL = "CAL_2013-01-02T15-03-57ZD_VNP_2013002.1542_Index.h5"


@pytest.fixture
def real() -> Path:
    """The index file of a real collocation."""
    return real_file(REAL)


@pytest.fixture
def index(
    granule: Any, pair_folder: Path, pair: file_names.GranulePair, tmp_path: Path
) -> tuple[Path, collocation.Matches]:
    """Return an index file and the matches in it."""
    lidar = caliop.read_track(pair_folder / pair.tracks[0], label="track")
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
    # The matched pixel is in the middle of its neighbors across the track.
    kelvin = granule.band(BANDS[14], Window(0, 160, 0, 160))
    found = index_files.read_observations(path)["M15"]
    assert np.array_equal(found[:, 2], kelvin[matches.line, matches.pixel])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("group", r"^here: VIIRS_AlongTrack_Index cannot be read; damaged\? \([^\n]*\)$"),
        ("text", r"^here: VIIRS_AlongTrack_Index holds object, not numbers$"),
        ("short", r"^here: its datasets differ in length$"),
        ("noise", r"^here: VIIRS_AlongTrack_Index cannot be read; damaged\? \([^\n]*\)$"),
    ],
)
def test_an_index_file_whose_datasets_cannot_be_read_is_one_line(
    index: tuple[Path, collocation.Matches], damage: str, message: str
) -> None:
    path, name = index[0], "VIIRS_AlongTrack_Index"
    with h5py.File(path, "a") as file:
        if damage == "noise":
            chunk = file[name].id.get_chunk_info(0)
        else:
            del file[name]
        if damage == "group":
            file.create_group(name)
        elif damage != "noise":
            file[name] = ["a", "b"] if damage == "text" else [1, 2]
    if damage == "noise":
        content = bytearray(path.read_bytes())
        content[chunk.byte_offset : chunk.byte_offset + chunk.size] = np.random.default_rng(1).bytes(chunk.size)
        path.write_bytes(content)

    with pytest.raises(SceneError, match=message):
        index_files.read_matches(path, label="here", km=5.0, minutes=15.0)


def test_index_files_have_the_names_types_and_fill_values_of_real_ones(
    index: tuple[Path, collocation.Matches], real: Path
) -> None:
    with h5py.File(index[0]) as written, h5py.File(real) as real_file_:
        assert sorted(written) == sorted(real_file_)
        assert sorted(written["observation_data"]) == sorted(real_file_["observation_data"])
        for name in (*index_files.INDEX_DATASETS, *index_files.VALUE_DATASETS):
            assert written[name].dtype == real_file_[name].dtype
            assert written[name].attrs["fillvalue"] == real_file_[name].attrs["fillvalue"]


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
    # The real granule lies in the twilight of northern winter, like the end of the fifth plan. The first is tropical.
    plans = synthetic_granules.plan_pairs(5, 1)
    minima: dict[Any, Any] = {}
    maxima: dict[Any, Any] = {}
    for number, size in ((0, GranuleSize(160, 48, 100)), (4, GranuleSize(3232, 48, 100))):
        synthetic_granules.write_pair(tmp_path / str(number), plans[number], size, np.random.default_rng(1))
        pair = file_names.find_pairs(str(tmp_path / str(number)), minutes=15.0)[0]
        paths = [tmp_path / str(number) / name for name in pair.all_files[:2]]
        with viirs.open_granule(paths[0], paths[1], label="synthetic") as granule:
            for band in BANDS:
                simulated = granule.band(band, Window(0, size.lines, 0, size.pixels))
                minima[band.name] = min(minima.get(band.name, np.inf), np.nanmin(simulated))
                maxima[band.name] = max(maxima.get(band.name, -np.inf), np.nanmax(simulated))

    for band in BANDS:
        measured = index_files.read_observations(real)[band.name]
        assert minima[band.name] <= measured.min() < measured.max() <= maxima[band.name], band.name
        # The steps of the stored integers are the same as well.
        steps = (measured - measured.min()) / band.step
        assert steps == pytest.approx(np.rint(steps), abs=2e-2), band.name
