"""Columns from both lidar products: thin cirrus of the 5 km product is cloud, doubtful columns are left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from columns import layers_5km
from columns.layers_5km import BESIDE_CLOUD, FIVE_KM, NOT_COVERED, ONE_KM, LayerProduct
from granules import caliop, file_names
from granules.caliop import CLEAR, CLOUDY, ICE, MIXED, OTHER, WATER, LayerTable, LidarTrack
from granules.collocation import Track
from retrieval.scenes import SceneError
from simulation import granule_extras, hdf4_files
from simulation.granule_extras import Extras
from simulation.synthetic_granules import GranuleSize

KM_SECONDS = 0.1486  # between profiles of 1 km


def cloud(phase: int, *, averaging: int = 2, confidence: int = 3) -> int:
    """Return flags of a cloud layer."""
    parts = {"type": 2, "type_confidence": 3, "phase": phase, "phase_confidence": confidence, "averaging": averaging}
    return int(caliop.encode_flags(**parts))


def table(rows: list[list[tuple[int, float]]], width: int) -> LayerTable:
    """Return a table of layers from (flags, top) per row."""
    flags, tops = np.zeros((len(rows), width), np.uint16), np.full((len(rows), width), np.nan, np.float32)
    for row, layers in enumerate(rows):
        for number, (flag, top) in enumerate(layers):
            flags[row, number], tops[row, number] = flag, top
    return LayerTable(flags, tops)


def lidar_track(rows: list[list[tuple[int, float]]]) -> LidarTrack:
    """Return a track of 1 km profiles with these layers."""
    layers = table(rows, 10)
    seconds = np.asarray(6e8 + KM_SECONDS * np.arange(len(rows)), np.float64)
    track = Track(np.zeros(len(rows)), np.zeros(len(rows)), seconds)
    return LidarTrack("track", track, caliop.classify_columns(layers), True, layers, np.zeros(len(rows), np.int8))


def five_km(lidar: LidarTrack, rows: list[list[tuple[int, float, float]]], *, first: int = 0) -> LayerProduct:
    """Return 5 km profiles with layers of (flags, top, optical depth), the first of them over profile ``first``."""
    layers = table([[(flag, top) for flag, top, _ in row] for row in rows], 15)
    depths = np.full(layers.tops_km.shape, -9999.0, np.float32)
    for row, parts in enumerate(rows):
        depths[row, : len(parts)] = [depth for *_, depth in parts]
    start = lidar.track.time[0] + KM_SECONDS * (first + 5.0 * np.arange(len(rows))) - 0.05
    return LayerProduct(start, start + 4 * KM_SECONDS + 0.1, layers, layers_5km.column_optical_depth(layers, depths))


def test_a_column_that_is_clear_at_1_km_is_cloudy_if_an_average_found_cirrus() -> None:
    rows: list[list[tuple[int, float]]] = [[], [], [(cloud(2), 1.5)], [], [(cloud(1), 6.0)], *([[]] * 5)]
    lidar = lidar_track(rows)
    cirrus = (cloud(1, averaging=4), 12.0, 0.05)

    joint = layers_5km.join(lidar, five_km(lidar, [[cirrus], []]))

    assert lidar.columns.column_class.tolist() == [CLEAR, CLEAR, WATER, CLEAR, ICE, *[CLEAR] * 5]
    assert joint.truth.column_class.tolist() == [ICE, ICE, MIXED, ICE, ICE, *[CLEAR] * 5]
    assert joint.truth.top_km[:5].tolist() == [12.0] * 5
    assert joint.origin.tolist() == [FIVE_KM] * 5 + [ONE_KM] * 5
    assert joint.optical_depth[:5] == pytest.approx([0.05] * 5)
    assert np.isnan(joint.optical_depth[5:]).all()


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        ((cloud(1, averaging=2), 12.0, 0.05), [CLEAR, WATER]),  # found within 1 km: the 1 km product has it or not
        ((cloud(1, averaging=3, confidence=1), 12.0, 0.05), [CLOUDY, CLOUDY]),  # of unknown phase
        ((int(caliop.encode_flags(type=3, averaging=5)), 12.0, 0.05), [CLEAR, WATER]),  # aerosol
        ((int(caliop.encode_flags(type=4, averaging=5)), 22.0, 0.05), [CLEAR, WATER]),  # stratospheric aerosol
        ((cloud(1, averaging=3), 0.5, 0.05), [OTHER, WATER]),  # below the cloud of the other column, which may be it
    ],
)
def test_only_clouds_of_averages_over_5_km_or_more_are_added(layer: Any, expected: list[int]) -> None:
    lidar = lidar_track([[], [], [], [], [(cloud(2), 1.2)]])

    joint = layers_5km.join(lidar, five_km(lidar, [[layer]]))

    assert joint.truth.column_class[[0, 4]].tolist() == expected


def test_columns_beside_a_cloud_of_the_same_height_are_not_judged() -> None:
    """Half a cloud and half clear air average to a cloud; which of the columns hold it is then unknown."""
    low = (cloud(2, averaging=3), 1.4, 2.0)
    lidar = lidar_track([[], [(cloud(2), 1.5)], [], [(cloud(1), 9.0)], [], *([[]] * 5)])

    joint = layers_5km.join(lidar, five_km(lidar, [[low], [low]]))

    assert joint.truth.column_class[:5].tolist() == [OTHER, WATER, OTHER, ICE, OTHER]
    assert joint.origin[:5].tolist() == [BESIDE_CLOUD, ONE_KM, BESIDE_CLOUD, ONE_KM, BESIDE_CLOUD]
    # The next 5 km have no such cloud at 1 km, so it is everywhere there.
    assert joint.truth.column_class[5:].tolist() == [WATER] * 5


def test_profiles_are_joined_by_time_and_clear_columns_without_5_km_profile_are_not_judged() -> None:
    cirrus = (cloud(1, averaging=5), 12.0, 0.02)
    lidar = lidar_track([[], [(cloud(2), 1.0)], *([[]] * 13)])

    joint = layers_5km.join(lidar, five_km(lidar, [[cirrus], []], first=5))

    assert joint.truth.column_class.tolist() == [OTHER, WATER, OTHER, OTHER, OTHER, *[ICE] * 5, *[CLEAR] * 5]
    assert joint.origin[:6].tolist() == [NOT_COVERED, ONE_KM, NOT_COVERED, NOT_COVERED, NOT_COVERED, FIVE_KM]


def test_optical_depth_is_the_sum_over_clouds_and_unknown_if_one_is() -> None:
    layers = table([[(cloud(1), 9.0), (cloud(2), 1.0)], [(cloud(1), 9.0), (cloud(2), 1.0)], [], [(3, 2.0)]], 15)
    depths = np.full((4, 15), -9999.0, np.float32)
    depths[:2, 0], depths[0, 1], depths[3, 0] = 0.25, 2.0, 0.4

    depth = layers_5km.column_optical_depth(layers, depths)

    assert depth[0] == 2.25
    assert np.isnan(depth[1:]).all()


def test_snow_and_sea_ice_are_decoded() -> None:
    codes = np.array([0, 30, 80, 101, 103, 104, 252, 255, np.nan])

    assert caliop.decode_snow(codes).tolist() == [0, 0, 1, 1, 1, 1, -1, -1, -1]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Both products of a synthetic track."""
    folder = tmp_path_factory.mktemp("layers")
    list(granule_extras.write_pairs(folder, Extras(five_km=True), count=1, size=GranuleSize(640, 48, 760), seed=2))
    return next(folder.glob("*01kmCLay*")), next(folder.glob("*05kmMLay*"))


def test_no_clear_column_of_a_track_has_a_cloud_in_the_5_km_product(files: tuple[Path, Path]) -> None:
    lidar = caliop.read_track(files[0], label="1 km")
    product = layers_5km.read_product(files[1], label="5 km")

    joint = layers_5km.join(lidar, product)

    clear = np.asarray(joint.truth.column_class == CLEAR)
    cloudy_profile = np.asarray(np.isfinite(product.layers.tops_km).any(axis=1))
    assert not cloudy_profile[np.flatnonzero(clear) // 5].any()
    assert ((lidar.columns.column_class == CLEAR) & (joint.origin == FIVE_KM)).sum() > 5
    assert clear.sum() > 20
    assert (joint.optical_depth < 0.3).sum() > 5
    assert set(lidar.snow.tolist()) <= {0, 1}
    assert file_names.track_key(files[0].name) == file_names.track_key(files[1].name)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("cut off", r"^here: not a readable HDF4 file|^here: .* cannot be read; damaged\?"),
        ("times", r"^here: times \(152, 1\), .*; three times per profile of 5 km are needed$"),
        ("layers", r"^here: times \(152, 3\), flags \(152, 15\), tops \(152, 14\), optical depths \(152, 15\)$"),
        ("missing", r"^here: no dataset Feature_Optical_Depth_532$"),
    ],
)
def test_an_unusable_file_of_5_km_layers_is_one_line(
    files: tuple[Path, Path], tmp_path: Path, damage: str, message: str
) -> None:
    from pyhdf.SD import SD, SDC

    path = tmp_path / "layers.hdf"
    if damage == "cut off":
        path.write_bytes(files[1].read_bytes()[:3000])
    else:
        file = SD(str(files[1]), SDC.READ)
        datasets = {name: np.asarray(file.select(name).get()) for name in layers_5km.DATASETS}
        file.end()
        if damage == "times":
            datasets["Profile_Time"] = datasets["Profile_Time"][:, :1]
        if damage == "layers":
            datasets["Layer_Top_Altitude"] = datasets["Layer_Top_Altitude"][:, :14]
        if damage == "missing":
            del datasets["Feature_Optical_Depth_532"]
        hdf4_files.write(path, datasets, comment="damaged on purpose")

    with pytest.raises(SceneError, match=message) as caught:
        layers_5km.read_product(path, label="here")

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["Latitude", "Feature_Classification_Flags", "Snow_Ice_Surface_Type"])
def test_a_track_whose_datasets_differ_in_length_is_one_line(
    files: tuple[Path, Path], tmp_path: Path, name: str
) -> None:
    from pyhdf.SD import SD, SDC

    file = SD(str(files[0]), SDC.READ)
    datasets = {other: np.asarray(file.select(other).get()) for other in file.datasets()}
    file.end()
    datasets[name] = datasets[name][:-3]
    hdf4_files.write(tmp_path / "track.hdf", datasets, comment="damaged on purpose")

    with pytest.raises(SceneError, match=r"^here: its datasets differ in length \([^\n]*\)$"):
        caliop.read_track(tmp_path / "track.hdf", label="here")
