"""retrieve.py: errors are one line each, with exit code 2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import retrieve

from tests.support.examples.scene_files import COT, GOOD, HOLE, write_scene


def test_all_unusable_scenes_are_reported_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_scene(tmp_path / "a.h5", GOOD, COT)
    write_scene(tmp_path / "b.h5", HOLE, COT)
    (tmp_path / "c.h5").write_bytes(b"no HDF5")

    status = retrieve.main(["--data", str(tmp_path), "--out", str(tmp_path / "out"), "--neighbourhood", "1"])

    lines = capsys.readouterr().err.splitlines()
    assert status == 2
    assert [line.split(":")[0] for line in lines] == [str(tmp_path / "b.h5"), str(tmp_path / "c.h5")]
    assert "not a readable HDF5 file" in lines[1]


@pytest.mark.parametrize(
    ("cot", "message"),
    [
        (np.full((20, 20), np.nan), "are clear; both classes are needed"),
        (np.full((20, 20), 5.0), "are cloudy; both classes are needed"),
    ],
)
def test_scenes_with_one_class_only_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], cot: Any, message: str
) -> None:
    write_scene(tmp_path / "same.h5", GOOD, cot)

    status = retrieve.main(["--data", str(tmp_path), "--out", str(tmp_path / "out"), "--neighbourhood", "1"])

    assert status == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("name", ["empty", "nowhere"])
def test_a_folder_without_scenes_is_one_line_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (tmp_path / "empty").mkdir()

    status = retrieve.main(["--data", str(tmp_path / name), "--out", str(tmp_path / "out")])

    error = capsys.readouterr().err
    assert status == 2
    assert error.startswith(str(tmp_path / name))
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "args", [["--neighbourhood", "4"], ["--trees", "0"], ["--rows", "many"], ["--fold", "4"], ["--no"]]
)
def test_invalid_arguments_are_one_line_and_exit_code_2(capsys: pytest.CaptureFixture[str], args: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        retrieve.main(["--data", "data", "--out", "outputs", *args])

    assert caught.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_clouds_without_any_droplet_size_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_scene(tmp_path / "bare.h5", GOOD, COT, CER=np.full((20, 20), np.nan))

    assert retrieve.main(["--data", str(tmp_path), "--out", str(tmp_path / "out"), "--neighbourhood", "1"]) == 2
    assert "cloudy training pixels has a known CER" in capsys.readouterr().err
