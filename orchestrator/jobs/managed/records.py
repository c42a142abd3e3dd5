"""Training jobs in the records of runs on this computer: which run is one, and what SageMaker told about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.core import json_file
from orchestrator.jobs.record import FILE
from orchestrator.jobs.runs import RUN_ID

KEY = "training_job"


@dataclass(frozen=True)
class TrainingRecord:
    """A run that is a training job, as its record has it.

    :param roles: container -> roles it has in the run; empty if unknown.
    :param state: as when it was fetched; empty before that.
    """

    run_id: str
    name: str
    job: str = ""
    roles: Mapping[str, tuple[str, ...]] | None = None
    state: str = ""

    @property
    def main_hosts(self) -> tuple[str, ...]:
        """Containers with a main task."""
        return tuple(host for host, roles in (self.roles or {}).items() if "main" in roles)


def run_ids(runs_folder: Path, id_suffix: str = "") -> list[str]:
    """Return the ids of all runs with a record, oldest first."""
    ids = sorted(path.parent.name for path in runs_folder.glob(f"*/{FILE}"))
    return [run_id for run_id in ids if RUN_ID.fullmatch(run_id) and run_id.endswith(id_suffix)]


def load(runs_folder: Path, run_id: str) -> TrainingRecord | None:
    """Return the record of a training job; None if the run is none, or has no record here."""
    facts = json_file.load(runs_folder / run_id, FILE)
    named = facts.get(KEY)
    # A user may edit the record.
    if not isinstance(named, dict) or not isinstance(named.get("name"), str):
        return None
    commands = facts.get("commands")
    roles: dict[str, tuple[str, ...]] = {}
    for task in commands if isinstance(commands, dict) else ():
        host, _, role = str(task).rpartition(" ")
        roles[host] = (*roles.get(host, ()), role)
    state = str(facts.get("state", "")) if facts.get("fetched") else ""
    return TrainingRecord(run_id, named["name"], str(facts.get("job", "")), roles, state)


def note(folder: Path, **facts: Any) -> None:
    """Add facts of the training job to the record of a run."""
    present = json_file.load(folder, FILE)
    named = present.get(KEY)
    merged = {**(named if isinstance(named, dict) else {}), **facts}
    json_file.save(folder, FILE, {**present, KEY: merged})


def note_timings(folder: Path, timings: Mapping[str, float]) -> None:
    """Replace the seconds per phase in the record of a run."""
    json_file.save(folder, FILE, {**json_file.load(folder, FILE), "timings": dict(timings)})
