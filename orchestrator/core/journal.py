"""Write-ahead journal of the requests that create resources: each is on disk before it is sent.

One JSON line per intent and one per outcome, append-only, in ``journal.jsonl``. An intent without an outcome is one
whose outcome is unknown: the next start looks it up in the cloud. Several processes may write at once; a line torn by
a crash costs that line alone. Secrets do not belong here.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from orchestrator.core import file_lock
from orchestrator.core.clock import Clock
from orchestrator.core.errors import StratusError

LOCK_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class JournalEntry:
    """One intent and its outcome.

    :param id: unique, assigned by the journal.
    :param kind: kind of request: ``launch``, ``group``, ``key``...
    :param at: when, UTC.
    :param facts: data to find out later whether the request was carried out.
    :param outcome: facts of the outcome; None while it is unknown.
    """

    id: str
    kind: str
    written_at: datetime
    facts: Mapping[str, Any] = field(default_factory=dict)
    outcome: Mapping[str, Any] | None = None


class Journal:
    """The journal of one folder.

    :param folder: where ``journal.jsonl`` lies; created if missing.
    :param clock: time stamps, ids, and the wait for the file's lock.
    :param sync: flushes a file descriptor to the disk.
    :ivar read_problem: why the file, or lines of it, could not be read; empty while all is well.
    :ivar write_problem: why an entry could not be written; empty while all is well.
    """

    def __init__(self, folder: Path, clock: Clock, *, sync: Callable[[int], None] = os.fsync) -> None:
        self.path = folder / "journal.jsonl"
        self.read_problem = self.write_problem = ""
        self._sync = sync
        self._clock = clock

    def record_intent(self, kind: str, **facts: Any) -> JournalEntry:
        """Append an intent and flush it to disk.

        :raises StratusError: it could not be written, so the request must not be sent.
        """
        entry = JournalEntry(id=self._clock.new_id(), kind=kind, written_at=self._clock.now(), facts=facts)
        # The key is `intend`, as in journals of earlier versions.
        self._append({"id": entry.id, "intend": kind, "at": entry.written_at.isoformat(), "facts": facts})
        return entry

    def record_outcome(self, entry: JournalEntry, **facts: Any) -> None:
        """Append the outcome of an intent and flush it to disk."""
        self._append({"id": entry.id, "settle": entry.kind, "at": self._clock.now().isoformat(), "facts": facts})

    def entries(self) -> list[JournalEntry]:
        """Return every intent in the order written, each with its outcome; unreadable lines are skipped.

        A file that cannot be read has none: `read_problem` says why, and nothing can be launched without it.
        """
        entries: dict[str, JournalEntry] = {}
        for line in self._lines():
            entry = _read(line, entries)
            if entry is not None:
                entries[entry.id] = entry
        return list(entries.values())

    @property
    def is_empty(self) -> bool:
        """True if there is no journal, or nothing in it that can be read."""
        return not self._content()

    def open_entries(self) -> list[JournalEntry]:
        """Return the intents without an outcome, oldest first."""
        return [entry for entry in self.entries() if entry.outcome is None]

    def _lines(self) -> Iterator[Mapping[str, Any]]:
        for line in self._content().split(b"\n"):
            try:
                value = json.loads(line)
            # Torn by a crash, or being written right now; anything else is damage of the disk.
            except (ValueError, RecursionError):
                value = None
            if isinstance(value, dict):
                yield value
            elif line and not line.startswith(b"{"):
                self.read_problem = f"{self.path}: damaged"

    def _content(self) -> bytes:
        try:
            return self.path.read_bytes()
        # A folder that is a file holds no journal, either.
        except (FileNotFoundError, NotADirectoryError):
            return b""
        except OSError as error:
            self.read_problem = f"{self.path}: cannot be read: {error.strerror or error}"
            return b""

    def _append(self, line: Mapping[str, Any]) -> None:
        # Facts may hold paths and times, which are kept as text.
        data = json.dumps(line, default=str).encode() + b"\n"
        try:
            with self._locked() as file:
                _write(file, data)
                self._sync(file)
        except OSError as error:
            message = f"the journal cannot be written: {error.strerror or error}"
            self.write_problem = f"{self.path}: cannot be written: {error.strerror or error}"
            raise StratusError(message, where=str(self.path)) from error

    @contextmanager
    def _locked(self) -> Iterator[int]:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        is_new = not self.path.exists()
        file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            if is_new:
                self._sync_folder()
            self._lock(file)
            yield file
        finally:
            os.close(file)  # also releases the lock

    def _sync_folder(self) -> None:
        """Flush the folder: a new file's name is not on disk before its folder is."""
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._sync(folder)
        finally:
            os.close(folder)

    def _lock(self, file: int) -> None:
        try:
            file_lock.wait_for(file, self._clock, LOCK_TIMEOUT_S)
        except BlockingIOError as error:
            raise StratusError(
                f"another process has held the journal for {LOCK_TIMEOUT_S:.0f} s",
                where=str(self.path),
                fix="look for a stopped stratus process (jobs, ps) and end it",
            ) from error


def _write(file: int, data: bytes) -> None:
    """Append a whole line, after ending a torn one that a crash left behind."""
    size = os.fstat(file).st_size
    if size and os.pread(file, 1, size - 1) != b"\n":
        data = b"\n" + data
    # A write may be partial: on a full disk, or after a signal.
    while data:
        data = data[os.write(file, data) :]


def _read(line: Mapping[str, Any], intents: Mapping[str, JournalEntry]) -> JournalEntry | None:
    """Return the entry that a line begins or completes; None for an invalid line."""
    try:
        entry_id, written_at, facts = str(line["id"]), datetime.fromisoformat(line["at"]), dict(line["facts"])
        # Without a time zone it cannot be compared with others.
        if written_at.tzinfo is None:
            return None
        if "intend" in line:
            return JournalEntry(id=entry_id, kind=str(line["intend"]), written_at=written_at, facts=facts)
        # An outcome; without its intent the lookup fails, as for any other invalid line.
        return replace(intents[entry_id], outcome=facts)
    except (KeyError, TypeError, ValueError):
        return None
