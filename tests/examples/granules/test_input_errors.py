"""Unusable input and arguments of the granules job and of its generator: one line each."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import granule_job
import h5py
import make_granules
import numpy as np
import pytest
from granules import pipeline
from granules.pipeline import GranulesResult, Options
from retrieval.scenes import SceneError

from tests.support.examples.example_data import ignore_log


@pytest.mark.slow
def test_index_files_replace_the_search(
    granule_folder: Path, quick_options: Options, local_result: GranulesResult, tmp_path: Path
) -> None:
    shutil.copytree(granule_folder, tmp_path / "data")
    for path in (quick_options.out / "collocation").iterdir():
        shutil.copy(path, tmp_path / "data")
    options = dataclasses.replace(
        quick_options, data=str(tmp_path / "data"), out=tmp_path / "out", indexed=True, maps=0
    )

    assert pipeline.run(options, ignore_log).model_digests == local_result.model_digests


@pytest.mark.parametrize(
    ("kind", "damage"),
    [
        ("VNP02MOD", "cut off"),
        ("VNP03MOD", "cut off"),
        ("CAL_LID", "cut off"),
        ("VNP02MOD", "corrupted"),
        ("VNP03MOD", "corrupted"),
    ],
)
def test_a_broken_file_is_one_line_and_exit_code_2(
    granule_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, damage: str
) -> None:
    shutil.copytree(granule_folder, tmp_path / "data")
    broken = sorted((tmp_path / "data").glob(f"{kind}*"))[1]
    content = broken.read_bytes()
    # Corrupted: it can be opened, but its compressed data are noise.
    noise = np.random.default_rng(1).bytes(len(content) // 2)
    start = len(content) // 4
    broken.write_bytes(
        content[:5000] if damage == "cut off" else content[:start] + noise + content[start + len(noise) :]
    )

    status = granule_job.main(["--data", str(tmp_path / "data"), "--out", str(tmp_path / "out"), "--folds", "2"])

    error = capsys.readouterr().err
    assert status == 2
    assert error.count("\n") == 1
    assert broken.name in error


def test_every_file_that_cannot_be_read_is_named_in_a_line_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A granule with several damaged files names them all, not one per attempt."""
    extras = ["--granules", "2", "--lines", "160", "--pixels", "64", "--five-km"]
    assert make_granules.main(["--out", str(tmp_path / "data"), *extras]) == 0
    first = sorted((tmp_path / "data").iterdir())[::2]
    for path in first:
        path.write_bytes(path.read_bytes()[:3000])

    status = granule_job.main(["--data", str(tmp_path / "data"), "--out", str(tmp_path / "out"), "--folds", "2"])

    lines = capsys.readouterr().err.splitlines()
    assert status == 2
    assert len(first) == 4
    assert len(lines) == 4
    for path in first:
        assert [line for line in lines if path.name in line and "not a readable" in line], path.name


@pytest.mark.parametrize(
    "args", [["--folds", "1"], ["--trees", "0"], ["--km", "-5"], ["--minutes", "soon"], ["--maps", "x"], ["--no"]]
)
def test_invalid_arguments_are_one_line_and_exit_code_2(capsys: pytest.CaptureFixture[str], args: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        granule_job.main(["--data", "data", "--out", "outputs", *args])

    error = capsys.readouterr().err
    assert caught.value.code == 2
    assert error.startswith("granule_job.py: ")
    assert error.count("\n") == 1


def test_more_folds_than_granules_and_a_missing_folder_are_refused(granule_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="--folds 5: 4 granules here"):
        pipeline.run(Options(data=str(granule_folder), out=tmp_path, folds=5), ignore_log)
    with pytest.raises(SceneError, match="nowhere: no such folder"):
        pipeline.run(Options(data=str(tmp_path / "nowhere"), out=tmp_path), ignore_log)


def test_an_index_file_of_another_track_is_refused(
    granule_folder: Path, quick_options: Options, local_result: GranulesResult, tmp_path: Path
) -> None:
    shutil.copytree(granule_folder, tmp_path / "data")
    index_file, other = sorted((quick_options.out / "collocation").iterdir())[:2]

    shutil.copy(other, tmp_path / "data" / index_file.name)
    with h5py.File(tmp_path / "data" / index_file.name, "a") as file:
        for name in list(file):
            if name != "observation_data":
                values = file[name][:-7]
                del file[name]
                file[name] = values
    options = dataclasses.replace(quick_options, data=str(tmp_path / "data"), out=tmp_path / "out", indexed=True)

    with pytest.raises(SceneError, match="made from another granule or track"):
        pipeline.run(options, ignore_log)


@pytest.mark.parametrize("args", [["--lines", "100"], ["--pixels", "4000"], ["--granules", "0"], ["--seed", "-1"]])
def test_the_generator_reports_the_valid_range_of_its_arguments(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], args: list[str]
) -> None:
    assert make_granules.main(["--out", str(tmp_path / "x"), *args]) == 2
    assert capsys.readouterr().err.count("\n") == 1
