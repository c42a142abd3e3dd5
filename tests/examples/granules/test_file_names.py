"""File names of granules and tracks are parsed and paired by time."""

from __future__ import annotations

from pathlib import Path

import pytest
from granules import file_names
from retrieval.scenes import SceneError

REAL = "CAL_2013-01-02T15-03-57ZD_VNP_2013002.1542_Index.h5"


def test_real_file_names_are_recognized_and_paired_by_time(tmp_path: Path) -> None:
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


def test_files_of_different_satellites_are_not_combined(tmp_path: Path) -> None:
    for name in ("VNP02MOD.A2018153.1542.002.1.nc", "VJ103MOD.A2018153.1542.002.1.nc"):
        (tmp_path / name).touch()

    with pytest.raises(SceneError, match=r"granule VJ1_2018153\.1542 has no VJ102MOD file"):
        file_names.find_pairs(str(tmp_path), minutes=15.0)


@pytest.mark.parametrize(
    ("there", "message"),
    [
        ([], "no granule found"),
        (["VNP02MOD.A2013002.1542.001.1.nc"], "granule 2013002.1542 has no VNP03MOD file"),
        (["VNP03MOD.A2013002.1542.001.1.nc"], "granule 2013002.1542 has no VNP02MOD file"),
        (["VNP02MOD.A2013002.1542.001.1.nc", "VNP03MOD.A2013002.1542.001.1.nc"], "no track within 15 minutes"),
    ],
)
def test_a_folder_that_lacks_files_is_one_line(tmp_path: Path, there: list[str], message: str) -> None:
    for name in there:
        (tmp_path / name).touch()

    with pytest.raises(SceneError, match=message):
        file_names.find_pairs(str(tmp_path), minutes=15.0)


def test_near_real_time_granules_and_subsets_are_read(tmp_path: Path) -> None:
    """LANCE adds _NRT to the product and no production time; ASDC adds _Subset to what was ordered in part."""
    track = "CAL_LID_L2_01kmCLay-Standard-V4-51.2020-08-20T09-31-07ZD_Subset.hdf"
    layers = "CAL_LID_L2_05kmMLay-Standard-V4-51.2020-08-20T09-31-07ZD_Subset.hdf"
    parts = [f"{craft}0{kind}MOD_NRT.A2020233.1000.001.nc" for craft in ("VNP", "VJ1", "VJ2") for kind in (2, 3)]
    for name in (track, layers, *parts):
        (tmp_path / name).touch()

    survey = file_names.survey_files(str(tmp_path), minutes=15.0)

    assert sorted(name for pair in survey.pairs for name in pair.swath_files) == sorted(parts)
    assert {pair.observation_files[2:] for pair in survey.pairs} == {(track, layers)}
    assert {pair.layer_file(track) for pair in survey.pairs} == {layers}
    assert survey.unread == {}


def test_every_file_that_is_not_read_is_named_with_the_reason(tmp_path: Path) -> None:
    parts = [f"VNP0{kind}MOD.A2013002.1542.001.1.nc" for kind in (2, 3)]
    track = "CAL_LID_L2_01kmCLay-Standard-V4-10.2013-01-02T15-03-57ZD.hdf"
    reasons = {
        "VNP02MOD_NRT.A2013002.1542.001.nc": f"{parts[0]} is read instead",
        "later/VNP03MOD.A2013002.1542.002.1.nc": f"{parts[1]} is read instead",
        f"{track[:-4]}_Subset.hdf": f"{track} is read instead",
        "VNP02IMG.A2013002.1542.001.1.nc": "VNP02IMG is not used",
        "CAL_LID_L2_VFM-Standard-V4-10.2013-01-02T15-03-57ZD.hdf": "CAL_LID_L2_VFM is not used",
        "VNP02MOD.A2013400.1542.001.1.nc": "its name holds no date",
        "CAL_LID_L2_01kmCLay-Standard-V4-10.2013-02-30T15-03-57ZD.hdf": "its name holds no date",
        "CAL_LID_L2_01kmCLay-Standard-V4-10.2013-03-30T15-03-57ZD.hdf": "no granule within 15 minutes",
        "CAL_LID_L2_05kmMLay-Standard-V4-10.2013-03-30T15-03-57ZD.hdf": "no track of the same time is read",
        "CAL_2013-03-30T15-03-57ZD_VNP_2013002.1542_Index.h5": "no such granule and track here",
        "readme.txt": "not the name of a granule, a track or an index file",
        **{f"VNP0{kind}MOD.A2013009.1542.001.1.nc": "no track within 15 minutes" for kind in (2, 3)},
    }
    (tmp_path / "later").mkdir()
    for name in (*parts, track, *reasons):
        (tmp_path / name).touch()

    survey = file_names.survey_files(str(tmp_path), minutes=15.0)

    assert [pair.all_files for pair in survey.pairs] == [(*parts, track)]
    assert survey.unread == reasons


def test_all_incomplete_granules_are_named(tmp_path: Path) -> None:
    for name in ("VNP02MOD.A2013002.1542.001.1.nc", "VJ103MOD.A2018153.1542.002.1.nc"):
        (tmp_path / name).touch()

    with pytest.raises(SceneError) as caught:
        file_names.find_pairs(str(tmp_path), minutes=15.0)

    assert [line.partition(": ")[2] for line in str(caught.value).splitlines()] == [
        "granule 2013002.1542 has no VNP03MOD file",
        "granule VJ1_2018153.1542 has no VJ102MOD file",
    ]
