"""Runs of this computer in several folders: those that ending VMs concerns, whatever is wrong with the list."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from orchestrator.jobs.records.run_folders import RunFolders

NOW = datetime(2026, 11, 20, 15, 0, tzinfo=UTC)
FIRST, SECOND = "20261120-141203-5f8", "20261120-141204-6dm"


def folders(computer: Path, project: str, problems: list[str] | None = None) -> RunFolders:
    """Return what a session in a folder of a computer has."""
    warn = problems.append if problems is not None else print
    return RunFolders(computer / project / "runs", computer / "home/run-folders", warn)


def start(computer: Path, project: str, run_id: str, instance_id: str) -> RunFolders:
    own = folders(computer, project)
    (own.own / run_id).mkdir(parents=True)
    (own.own / run_id / "record.json").write_text(json.dumps({"instances": {"ml-0": instance_id}}))
    own.note_own()
    return own


def test_runs_that_were_started_in_any_folder_are_named_with_it(tmp_path: Path) -> None:
    first = start(tmp_path, "a", FIRST, "i-1")
    start(tmp_path, "b", SECOND, "i-1")
    other = folders(tmp_path, "c")

    assert set(other.not_fetched(["i-1"])) == {FIRST, SECOND}
    assert other.started_in([FIRST, SECOND]) == {FIRST: str(tmp_path / "a"), SECOND: str(tmp_path / "b")}
    assert first.not_fetched(["i-1"]) == (FIRST, SECOND)
    assert first.started_in([FIRST, SECOND]) == {SECOND: str(tmp_path / "b")}
    assert other.not_fetched(["i-2"]) == ()
    assert set(other.note_stopped(["i-1"], NOW)) == {FIRST, SECOND}
    assert other.note_stopped(["i-1"], NOW) == ()


def test_a_folder_is_listed_once_and_other_lines_are_left_out(tmp_path: Path) -> None:
    own = start(tmp_path, "a", FIRST, "i-1")
    own.note_own()
    path = tmp_path / "home/run-folders"
    path.write_text(path.read_text() + '"relative"\n7\n[' + "[" * 100_000 + '\n"/x\\u0000y"\n"/torn')
    start(tmp_path, "b", SECOND, "i-1")

    assert path.read_text().count(json.dumps(str(own.own))) == 1
    assert set(folders(tmp_path, "c").not_fetched(["i-1"])) == {FIRST, SECOND}


def test_a_list_that_cannot_be_used_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    own = start(tmp_path, "a", FIRST, "i-1")

    assert own.not_fetched(["i-1"]) == (FIRST,)
    assert RunFolders(own.own, None, print).not_fetched(["i-1"]) == (FIRST,)
    assert RunFolders(own.own, tmp_path, print).not_fetched(["i-1"]) == (FIRST,)
