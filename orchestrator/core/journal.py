"""The journal: what this laptop is about to do to a cloud account, on disk before it is done.

One line of JSON per intention and one per outcome, only ever appended, in ``journal.jsonl``. An intention without an
outcome means that nobody knows: the next start looks it up in the cloud. Several processes may write at once, and a
line torn by a crash costs that line alone. No secret belongs in here.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from orchestrator.core.clock import REAL_CLOCK, Backoff, Clock
from orchestrator.core.errors import StratusError

LOCK_DEADLINE_S = 30.0


@dataclass(frozen=True)
class JournalEntry:
    """One intention.

    :param id: unique, made by the journal.
    :param kind: what was intended: ``launch``, ``group``, ``key``...
    :param at: when, UTC.
    :param facts: what is needed to find out later whether it happened.
    :param outcome: the facts it was settled with; None while it is open.
    """

    id: str
    kind: str
    written_at: datetime
    facts: Mapping[str, Any] = field(default_factory=dict)
    outcome: Mapping[str, Any] | None = None


class Journal:
    """The journal of one folder.

    :param folder: where ``journal.jsonl`` lies; made when it is missing.
    :param sync: flushes a file descriptor to the disk.
    :param patience: time.
    """

    def __init__(self, folder: Path, *, sync: Callable[[int], None] = os.fsync, clock: Clock = REAL_CLOCK) -> None:
        self.path = folder / "journal.jsonl"
        self._sync = sync
        self._clock = clock

    def record_intent(self, kind: str, **facts: Any) -> JournalEntry:
        """Write down an intention; it is on the disk when this returns.

        :raises StratusError: it could not be written, so the thing must not be done.
        """
        entry = JournalEntry(id=self._clock.new_id(), kind=kind, written_at=self._clock.now(), facts=facts)
        self._append({"id": entry.id, "intend": kind, "at": entry.written_at.isoformat(), "facts": facts})
        return entry

    def record_outcome(self, entry: JournalEntry, **facts: Any) -> None:
        """Write down how an intention ended; it is on the disk when this returns."""
        self._append({"id": entry.id, "settle": entry.kind, "at": self._clock.now().isoformat(), "facts": facts})

    def entries(self) -> list[JournalEntry]:
        """Return every intention in the order written, each with its outcome; unreadable lines are passed over."""
        found: dict[str, JournalEntry] = {}
        for line in self._lines():
            entry = _read(line, found)
            if entry is not None:
                found[entry.id] = entry
        return list(found.values())

    def open_entries(self) -> list[JournalEntry]:
        """Return the intentions without an outcome, oldest first."""
        return [entry for entry in self.entries() if entry.outcome is None]

    def _lines(self) -> Iterator[Mapping[str, Any]]:
        text = self.path.read_bytes() if self.path.exists() else b""
        for line in text.splitlines():
            try:
                value = json.loads(line)
            except ValueError:  # torn by a crash, or being written this moment
                continue
            if isinstance(value, dict):
                yield value

    def _append(self, line: Mapping[str, Any]) -> None:
        data = json.dumps(line, default=str).encode() + b"\n"
        try:
            with self._locked() as file:
                _write(file, data)
                self._sync(file)
        except OSError as error:
            what = f"the journal cannot be written: {error.strerror or error}"
            raise StratusError(what, where=str(self.path)) from error

    @contextmanager
    def _locked(self) -> Iterator[int]:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = not self.path.exists()
        file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            if fresh:
                self._sync_folder()
            self._lock(file)
            yield file
        finally:
            os.close(file)  # which also lets go of the lock

    def _sync_folder(self) -> None:
        """Flush the folder: a new file's name is not on the disk before its folder is."""
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._sync(folder)
        finally:
            os.close(folder)

    def _lock(self, file: int) -> None:
        for _ in self._clock.attempts(LOCK_DEADLINE_S, Backoff(first_s=0.002, longest_s=0.1), jitter=True):
            try:
                return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
        raise StratusError(
            f"another process has held the journal for {LOCK_DEADLINE_S:.0f} s",
            where=str(self.path),
            fix="look for a stopped stratus process (jobs, ps) and end it",
        )


def _write(file: int, data: bytes) -> None:
    """Append a whole line, after closing a torn one that a crash left behind."""
    size = os.fstat(file).st_size
    if size and os.pread(file, 1, size - 1) != b"\n":
        data = b"\n" + data
    while data:
        data = data[os.write(file, data) :]


def _read(line: Mapping[str, Any], found: Mapping[str, JournalEntry]) -> JournalEntry | None:
    """Return the entry that a line makes or settles; None for a line that makes no sense."""
    try:
        name, at, facts = str(line["id"]), datetime.fromisoformat(line["at"]), dict(line["facts"])
        if "intend" in line:
            return JournalEntry(id=name, kind=str(line["intend"]), written_at=at, facts=facts)
        begun = found[name]
        return JournalEntry(id=name, kind=begun.kind, written_at=begun.written_at, facts=begun.facts, outcome=facts)
    except (KeyError, TypeError, ValueError):
        return None
