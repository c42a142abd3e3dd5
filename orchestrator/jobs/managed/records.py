"""Training jobs in the records of runs on this computer: which run is one, and what SageMaker told about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.core import json_file
from orchestrator.core.errors import UsageError
from orchestrator.jobs.record import FILE, MANAGED_KEYS
from orchestrator.jobs.runs import RUN_ID

KEY, TUNING_KEY = MANAGED_KEYS


@dataclass(frozen=True)
class TrainingRecord:
    """A run that is a training job, as its record has it.

    :param roles: container -> roles it has in the run; empty if unknown.
    :param state: as when it was fetched; empty before that.
    :param tuning: name of the tuning job whose best training job it is; empty for none.
    """

    run_id: str
    name: str
    job: str = ""
    roles: Mapping[str, tuple[str, ...]] | None = None
    state: str = ""
    tuning: str = ""

    @property
    def main_hosts(self) -> tuple[str, ...]:
        """Containers with a main task."""
        return tuple(host for host, roles in (self.roles or {}).items() if "main" in roles)


@dataclass(frozen=True)
class TuningRecord:
    """A run that is a tuning job, as its record has it.

    :param gave_up: why it was stopped here without an order; empty if it was not.
    """

    run_id: str
    name: str
    job: str = ""
    gave_up: str = ""


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
    tuning = load_tuning(runs_folder, run_id)
    return TrainingRecord(run_id, named["name"], str(facts.get("job", "")), roles, state, tuning.name if tuning else "")


def load_tuning(runs_folder: Path, run_id: str) -> TuningRecord | None:
    """Return the record of a tuning job; None if the run is none, or has no record here."""
    facts = json_file.load(runs_folder / run_id, FILE)
    named = facts.get(TUNING_KEY)
    if not isinstance(named, dict) or not isinstance(named.get("name"), str):
        return None
    return TuningRecord(run_id, named["name"], str(facts.get("job", "")), str(named.get("gave_up") or ""))


def find(runs_folder: Path, run_id: str, is_own: Callable[[str], bool], listed: Callable[[], Sequence[str]]) -> str:
    """Return the id of a run of one kind; empty if it has none of that id.

    :param run_id: its id, or the end of it; empty for the newest run of this computer, if that is one of the kind.
    :param is_own: returns True for the id of a recorded run of the kind.
    :param listed: returns the ids that the service itself knows; called if this computer has no record of the run.
    :raises UsageError: several runs of the kind match.
    """
    known = run_ids(runs_folder, run_id)
    if known and not run_id:
        known = known[-1:]
    matches = [name for name in known if is_own(name)]
    if run_id in matches:
        return run_id
    if len(matches) > 1 and len(matches) == len(known):
        raise UsageError(f"{run_id!r} matches several runs: {', '.join(matches)}")
    if known or not run_id:
        return matches[0] if len(known) == 1 and matches else ""
    # Of a run that was started from another computer this one has no record.
    others = [name for name in listed() if name.endswith(run_id)]
    return others[0] if len(others) == 1 else ""


def note(folder: Path, *, key: str = KEY, **facts: Any) -> None:
    """Add facts of the training job to the record of a run.

    :param key: of the part of the record: `TUNING_KEY` for facts of its tuning job.
    """
    present = json_file.load(folder, FILE)
    named = present.get(key)
    merged = {**(named if isinstance(named, dict) else {}), **facts}
    json_file.save(folder, FILE, {**present, key: merged})


def note_outcome(folder: Path, state: str, usd: str | None) -> None:
    """Note state and cost, USD, of a run of which nothing may ever be fetched; one without a record stays so."""
    if facts := json_file.load(folder, FILE):
        json_file.save(folder, FILE, {**facts, "state": state, "cost_usd": usd})


def note_timings(folder: Path, timings: Mapping[str, float]) -> None:
    """Replace the seconds per phase in the record of a run."""
    json_file.save(folder, FILE, {**json_file.load(folder, FILE), "timings": dict(timings)})
