"""The simulated instruments: marks, geometry, radiative transfer, one atmosphere for both."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from granules import caliop, collocation, file_names, geodesy, viirs
from granules.caliop import CLEAR
from granules.viirs import BANDS, Window
from simulation import granule_extras, orbit, radiative_transfer, synthetic_granules
from simulation.granule_extras import Extras
from simulation.synthetic_granules import GranuleSize


def test_every_synthetic_file_is_marked(pair_folder: Path, granule: Any, pair: file_names.GranulePair) -> None:
    assert granule.synthetic
    assert caliop.read_track(pair_folder / pair.tracks[0], label="track").synthetic
    assert all("synthetic" in path.name.lower() for path in pair_folder.iterdir())


def test_a_swath_has_the_width_resolution_and_trimmed_lines_of_the_instrument() -> None:
    flight = orbit.swath_pass(datetime(2013, 1, 2), 0.0)
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


def test_thicker_clouds_are_brighter_and_ice_absorbs_more_than_water() -> None:
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


def test_lidar_and_swath_observe_the_same_atmosphere(pair_folder: Path) -> None:
    """Columns that the lidar reports as clear are warmer in the swath than columns with high clouds."""
    pair = file_names.find_pairs(str(pair_folder), minutes=15.0)[0]
    lidar = caliop.read_track(pair_folder / pair.tracks[0], label="track")
    with viirs.open_granule(pair_folder / pair.radiances, pair_folder / pair.geolocation, label="granule") as granule:
        matches = collocation.collocate(granule.swath(), lidar.track)
        window = Window(0, 160, 0, 160)
        kelvin = granule.brightness_temperature(BANDS[14], window)[matches.line, matches.pixel]
    tops = lidar.columns.top_km[matches.profile]
    clear = lidar.columns.column_class[matches.profile] == CLEAR
    high = tops > 7.0

    assert len(matches) > 80
    assert clear.sum() > 5
    assert high.sum() > 5
    assert np.nanmean(kelvin[clear]) > np.nanmean(kelvin[high]) + 5.0


def test_additions_leave_the_other_files_as_they_are(tmp_path: Path) -> None:
    """Granules, and with them the hashes of models and maps, do not depend on the options that add files."""
    size = GranuleSize(64, 48, 100)
    list(synthetic_granules.write_pairs(tmp_path / "plain", count=2, size=size, seed=3))
    list(granule_extras.write_pairs(tmp_path / "none", Extras(), count=2, size=size, seed=3))
    list(granule_extras.write_pairs(tmp_path / "more", Extras(five_km=True), count=2, size=size, seed=3))

    plain, none, more = (
        {path.name: path for path in (tmp_path / name).iterdir()} for name in ("plain", "none", "more")
    )
    assert set(plain) == set(none) == {name for name in more if "05kmMLay" not in name}
    assert len(more) == len(plain) + 2
    for name, path in plain.items():
        if name.endswith(".nc"):
            assert path.read_bytes() == none[name].read_bytes() == more[name].read_bytes()
        else:
            # HDF4 stores the path of a file in it, so its content is compared.
            tracks = [caliop.read_track(found[name], label=name) for found in (plain, none, more)]
            assert all(np.array_equal(track.track.time, tracks[0].track.time) for track in tracks)
            assert all(np.array_equal(track.layers.flags, tracks[0].layers.flags) for track in tracks)


def test_every_second_granule_is_at_night_on_request(tmp_path: Path) -> None:
    paths = list(
        granule_extras.write_pairs(tmp_path, Extras(night=True), count=2, size=GranuleSize(32, 32, 60), seed=1)
    )

    zeniths = []
    for path in paths:
        geolocation = path.with_name(path.name.replace("VNP02", "VNP03"))
        with viirs.open_granule(path, geolocation, label="granule") as granule:
            zeniths.append(granule.geometry(granule.whole).angles["solar_zenith"])
    assert zeniths[0].max() < 85.0 < 95.0 < zeniths[1].min()
    assert sorted(path.name[-5] for path in tmp_path.glob("CAL*")) == ["D", "N"]
