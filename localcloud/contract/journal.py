"""Journal of check runs: it lists the tag of a run before that creates anything, and again when it has cleaned up."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path


def default_file() -> Path:
    """Return the journal of this user."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
    return Path(state) / "stratus-contract.jsonl"


class Journal:
    """A file with a line for each begin and each end of a run."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def begin(self, region: str, tag: str) -> None:
        """Note that resources with a tag may exist from now on."""
        self._append({"begin": tag, "region": region})

    def end(self, tag: str) -> None:
        """Note that nothing with a tag is left."""
        self._append({"end": tag})

    def unfinished(self, region: str) -> Iterator[str]:
        """Yield the tags of runs in a region that have not cleaned up; damaged lines are skipped."""
        entries = [entry for line in self._lines() if isinstance(entry := _entry(line), dict)]
        ended = {entry.get("end") for entry in entries}
        for entry in entries:
            if entry.get("region") == region and entry.get("begin") not in ended:
                yield str(entry["begin"])

    def _lines(self) -> list[str]:
        return self._file.read_text(encoding="utf-8").splitlines() if self._file.exists() else []

    def _append(self, entry: dict[str, str]) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
            file.flush()
            # A crash of this computer must not lose what may cost money.
            os.fsync(file.fileno())


def _entry(line: str) -> object:
    try:
        return json.loads(line)
    except ValueError:
        return None
