"""The journal: what is about to be done is on the disk before it is done, whatever crashes next to it."""

from __future__ import annotations

import fcntl
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.core.clock import REAL_CLOCK, Clock
from orchestrator.core.errors import StratusError
from orchestrator.core.journal import Journal
from tests.support.paths import ROOT

WRITER = """
import sys
from pathlib import Path
from orchestrator.core.clock import REAL_CLOCK
from orchestrator.core.journal import Journal
journal = Journal(Path(sys.argv[1]), REAL_CLOCK)
for number in range(50):
    entry = journal.record_intent("launch", writer=sys.argv[2], number=number, padding="x" * 500)
    if number % 2:
        journal.record_outcome(entry, ids=[f"i-{number}"])
"""


class Time:
    """A clock that only moves when somebody sleeps."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def patience(self) -> Clock:
        return Clock(monotonic=lambda: self.seconds, sleep=self.sleep, random=lambda: 1.0)

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


def test_an_intention_stays_open_until_it_is_settled(tmp_path: Path) -> None:
    journal = Journal(tmp_path, REAL_CLOCK)
    first = journal.record_intent("launch", token="t1", count=2)
    second = journal.record_intent("group", name="stratus-ml")
    journal.record_outcome(first, ids=["i-1", "i-2"])

    assert [entry.id for entry in journal.open_entries()] == [second.id]
    assert [(entry.kind, entry.facts, entry.outcome) for entry in journal.entries()] == [
        ("launch", {"token": "t1", "count": 2}, {"ids": ["i-1", "i-2"]}),
        ("group", {"name": "stratus-ml"}, None),
    ]


def test_another_process_reads_what_this_one_wrote(tmp_path: Path) -> None:
    entry = Journal(tmp_path, REAL_CLOCK).record_intent("launch", token="t1")

    assert [(each.id, each.written_at) for each in Journal(tmp_path, REAL_CLOCK).open_entries()] == [
        (entry.id, entry.written_at)
    ]


def test_a_journal_that_was_never_written_is_empty(tmp_path: Path) -> None:
    assert Journal(tmp_path / "never", REAL_CLOCK).entries() == []


def test_an_intention_is_flushed_whole_and_so_is_its_folder_before_intend_returns(tmp_path: Path) -> None:
    flushed: list[tuple[bool, bytes]] = []

    def sync(file: int) -> None:
        folder = stat.S_ISDIR(os.fstat(file).st_mode)
        flushed.append((folder, b"" if folder else (tmp_path / "journal.jsonl").read_bytes()))
        os.fsync(file)

    entry = Journal(tmp_path, REAL_CLOCK, sync=sync).record_intent("launch", token="t1")

    assert [folder for folder, _ in flushed] == [True, False]
    assert json.loads(flushed[1][1])["id"] == entry.id


def test_what_cannot_be_flushed_raises_so_that_it_is_not_done(tmp_path: Path) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(StratusError, match=r"journal\.jsonl.*No space left on device"):
        Journal(tmp_path, REAL_CLOCK, sync=full).record_intent("launch", token="t1")


@pytest.mark.parametrize("torn", [b'{"id": "0f', b'{"id": "0f", "intend": "launch"}', b"\xff\x00", b"[]", b"null"])
def test_a_line_torn_by_a_crash_costs_that_line_alone(tmp_path: Path, torn: bytes) -> None:
    journal = Journal(tmp_path, REAL_CLOCK)
    first = journal.record_intent("launch", token="t1")
    with journal.path.open("ab") as file:
        file.write(torn)
    second = journal.record_intent("launch", token="t2")
    journal.record_outcome(first, ids=[])

    assert [entry.id for entry in journal.open_entries()] == [second.id]
    assert len(journal.entries()) == 2


def test_four_processes_that_write_at_once_lose_no_line(tmp_path: Path) -> None:
    repository = ROOT
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), str(number)], cwd=repository)
        for number in range(4)
    ]

    assert [writer.wait(timeout=60) for writer in writers] == [0, 0, 0, 0]
    lines = (tmp_path / "journal.jsonl").read_bytes().splitlines()
    assert len([json.loads(line) for line in lines]) == 4 * (50 + 25)
    assert len(Journal(tmp_path, REAL_CLOCK).entries()) == 200
    assert len(Journal(tmp_path, REAL_CLOCK).open_entries()) == 100


def test_a_lock_that_nobody_lets_go_of_is_waited_for_with_a_deadline(tmp_path: Path) -> None:
    journal = Journal(tmp_path, clock=Time().patience())
    journal.record_intent("launch", token="t1")
    with journal.path.open("rb") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)

        with pytest.raises(StratusError, match="another process has held the journal for 30 s"):
            journal.record_intent("launch", token="t2")

    assert len(journal.entries()) == 1


def test_only_its_owner_may_read_the_journal(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "home", REAL_CLOCK)
    journal.record_intent("launch", token="t1")

    assert stat.S_IMODE(journal.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(journal.path.parent.stat().st_mode) == 0o700
