"""Runs that were started on this computer, in whichever folder: ending VMs in one folder concerns the runs of all."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from orchestrator.jobs import record


@dataclass(frozen=True)
class RunFolders:
    """Folders that runs of this computer are fetched into: one in every folder in which runs were started.

    :param own: of the present working directory.
    :param list_path: file that lists all of them, one JSON string per line; None if there is no such file.
    :param warn: called with what could not be read: ending VMs must not fail for a folder of this computer.
    """

    own: Path
    list_path: Path | None
    warn: Callable[[str], None]

    def note_own(self) -> None:
        """Add the own folder to the list; a list that cannot be written stays as it is."""
        own = str(self.own.absolute())
        if self.list_path is None or own in self._listed():
            return
        with suppress(OSError):
            self.list_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Appended in one write, so that processes in two folders do not undo each other's line. The line break
            # before it ends a line that was torn by a crash.
            with self.list_path.open("a", encoding="utf-8") as file:
                file.write(f"\n{json.dumps(own)}\n")

    def not_fetched(self, instance_ids: Collection[str]) -> tuple[str, ...]:
        """Return the ids of the runs on some instances that were not fetched after their end."""
        return self._collect(lambda runs: [folder.name for folder in record.not_fetched(runs, instance_ids)])

    def note_stopped(self, instance_ids: Collection[str], now: datetime) -> tuple[str, ...]:
        """Note the end of the runs on stopped instances, and return the ids of those not known to have ended."""
        return self._collect(lambda runs: record.note_stopped(runs, instance_ids, now))

    def started_in(self, run_ids: Collection[str]) -> dict[str, str]:
        """Return run id -> folder in which it was started, of those that were started in another one."""
        others = self._all()[1:]
        return {name: str(runs.parent) for name in run_ids for runs in others if (runs / name).is_dir()}

    def _collect(self, find: Callable[[Path], list[str]]) -> tuple[str, ...]:
        run_ids: list[str] = []
        for folder in self._all():
            try:
                run_ids += find(folder)
            except OSError as error:
                self.warn(f"{folder}: cannot be read: {error.strerror or error}")
        return tuple(run_ids)

    def _all(self) -> list[Path]:
        """Return all folders, the own one first."""
        own = str(self.own.absolute())
        return [self.own, *(Path(path) for path in dict.fromkeys(self._listed()) if path != own)]

    def _listed(self) -> list[str]:
        try:
            text = self.list_path.read_text(encoding="utf-8", errors="replace") if self.list_path else ""
        except OSError:
            return []
        # Any other line was torn by a crash, or edited.
        values = map(_value, text.splitlines())
        return [value for value in values if isinstance(value, str) and Path(value).is_absolute() and "\0" not in value]


def _value(line: str) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None
