"""Output of a run's remote scripts, parsed into records: the only place where jobs read what a host sends.

A host's output is untrusted input. Lines that begin with ``@@`` are the scripts' own; all others are the job's.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from orchestrator.hosts.commands import marked_lines
from orchestrator.jobs.runs import Run, TaskExit, TaskState

MARK = "@@"
HEARTBEAT = "@@beat"


@dataclass(frozen=True)
class StartOutput:
    """Output of ``start.sh``.

    :param missing: what has to be installed first; empty when nothing is missing.
    :param exists: True if the run was staged by an earlier attempt.
    :param started: number of tasks started.
    """

    missing: str
    exists: bool
    started: int


@dataclass(frozen=True)
class KillOutput:
    """Output of ``killall.sh``.

    :param run_ids: runs that had processes or containers left.
    :param left: number of processes and containers that could not be killed; None when the script did not finish.
    :param stuck: one line for each of them.
    """

    run_ids: tuple[str, ...]
    left: int | None
    stuck: tuple[str, ...]


def parse_runs(outputs: Mapping[str, str]) -> list[Run]:
    """Return the runs that hosts list, oldest first.

    :param outputs: name of a host -> output of ``runs.sh`` there.
    """
    manifests: dict[str, dict[str, Any]] = {}
    tasks: dict[str, list[TaskState]] = {}
    for host, output in outputs.items():
        for line in marked_lines(output, "@@job"):
            run_id, _, manifest = line.partition(" ")
            # Any host's will do: they are equal, also after hosts were added.
            manifests[run_id] = json.loads(manifest)
        for line in marked_lines(output, "@@run"):
            run_id, *fields = line.split()
            tasks.setdefault(run_id, []).append(_parse_task(host, fields))
    runs = [_parse_run(facts, tasks.get(run_id, ())) for run_id, facts in manifests.items()]
    # A run whose first task has not written its start yet is the newest.
    return sorted(runs, key=lambda run: (run.started_at or datetime.max.replace(tzinfo=UTC), run.run_id))


def parse_manifest(manifest: str) -> Run:
    """Return the run that a ``job.json`` describes, without the state of its tasks."""
    return _parse_run(json.loads(manifest), ())


def _parse_run(facts: Mapping[str, Any], tasks: Sequence[TaskState]) -> Run:
    return Run(
        run_id=str(facts["run"]),
        job=str(facts["job"]),
        framework=str(facts["framework"]),
        multi=bool(facts["multi"]),
        roles={host: tuple(names) for host, names in facts["roles"].items()},
        outputs=tuple(facts["outputs"]),
        dashboard_port=int(facts["dashboard"]),
        tasks=tuple(tasks),
        # Runs that were started by an older version have neither.
        min_hosts=int(facts.get("min_hosts", 0)),
        start_args=tuple(facts.get("start", ())),
    )


def _parse_task(host: str, fields: Sequence[str]) -> TaskState:
    role, alive, exit_text, started_at, ended_at = fields
    return TaskState(
        host=host,
        role=role,
        is_alive=alive == "yes",
        exit_text="" if exit_text == "-" else exit_text,
        started_at=_parse_time(started_at),
        ended_at=_parse_time(ended_at),
    )


def _parse_time(text: str) -> datetime | None:
    return None if text == "-" else datetime.fromisoformat(text)


def parse_start(output: str) -> StartOutput:
    """Return what ``start.sh`` did."""
    missing = marked_lines(output, "@@missing")
    return StartOutput(missing[0] if missing else "", "@@exists" in output, len(marked_lines(output, "@@started")))


def parse_left(output: str) -> int | None:
    """Return the number of processes that ``cancel.sh`` could not end; None when the script did not finish."""
    counts = marked_lines(output, "@@left")
    return int(counts[-1]) if counts else None


def parse_kill(output: str) -> KillOutput:
    """Return what ``killall.sh`` did."""
    stuck = [line for line in output.splitlines() if not line.startswith(MARK)]
    return KillOutput(tuple(marked_lines(output, "@@ended")), parse_left(output), tuple(stuck))


def parse_files(output: str) -> dict[str, bytes]:
    """Return the files that ``give.sh`` sends, by name below the run's folder."""
    fields = (line.split(" ") for line in marked_lines(output, "@@file"))
    return {name: base64.b64decode(content) for name, content in fields}


@dataclass
class HeartbeatFilter:
    """Removes heartbeats from the lines of ``follow.sh``, and rejoins what they cut in two.

    The heartbeat is written beside the log: after output without a line end, such as a progress bar, it stands on the
    job's own line, and the rest of that line comes as a line of its own.
    """

    partial: str = ""

    def feed(self, line: str) -> str | None:
        """Return a whole line; None while it is not complete."""
        if line.endswith(HEARTBEAT):
            self.partial += line.removesuffix(HEARTBEAT)
            return None
        whole, self.partial = self.partial + line, ""
        return whole


def parse_line(line: str) -> tuple[str, str]:
    """Return mark and value of a line of ``follow.sh``: ``("@@exit", "0")``; ``("", line)`` for a line of the job."""
    if not line.startswith(MARK):
        return "", line
    mark, _, value = line.partition(" ")
    return mark, value.strip()


def parse_exit(host: str, exit_text: str, tail: Sequence[str], reclaim_time: str) -> TaskExit:
    """Return a main task's exit.

    :param exit_text: value of ``@@exit``.
    :param tail: last lines of its log.
    """
    # Trailing empty lines would push the error message out of the few lines that are shown.
    lines = list(tail)
    while lines and not lines[-1].strip():
        lines.pop()
    if exit_text.lstrip("-").isdigit():
        return TaskExit(host, int(exit_text), "exit", tuple(lines), reclaim_time)
    return TaskExit(host, None, exit_text or "lost", tuple(lines), reclaim_time)
