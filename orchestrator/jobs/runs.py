"""Runs of a job as the hosts report them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.core import remote_scripts
from orchestrator.core.errors import UsageError
from orchestrator.core.host import Host
from orchestrator.hosts import parallel
from orchestrator.jobs.build import JobPlan

if TYPE_CHECKING:
    from orchestrator.ssh import SshClient


@dataclass(frozen=True)
class RunHandle:
    """A run that was started and goes on by itself.

    :param roles: host -> its roles (``main``, ``scheduler``, ``worker``).
    :param folder: where its results will be.
    """

    run_id: str
    job: str
    multi: bool
    roles: Mapping[str, tuple[str, ...]]
    has_dashboard: bool
    folder: Path

    @property
    def short_id(self) -> str:
        """The end of the id, enough for Attach()."""
        return self.run_id.rsplit("-", 1)[-1]


@dataclass(frozen=True)
class RunResult:
    """A run that ended well."""

    run_id: str
    job: str
    seconds: float


@dataclass(frozen=True)
class RunSummary:
    """One line of the list of runs.

    :param state: running, done, failed, cancelled, lost.
    """

    run_id: str
    job: str
    multi: bool
    hosts: tuple[str, ...]
    state: str
    started_at: datetime | None
    seconds: float | None


@dataclass(frozen=True)
class TaskState:
    """One task as its host knows it.

    :param ended: how it ended: an exit status, ``cancelled``, ``lost`` (vanished without a status), or empty while it
        runs.
    """

    host: str
    role: str
    is_alive: bool
    exit_text: str
    started_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True)
class Run:
    """A run as its hosts know it.

    :param roles: host -> roles it has in the run.
    :param dashboard: port of the Dask dashboard on the first host's private address; 0 without one.
    :param min_hosts: with how many hosts it goes on, and takes new ones; 0: with no fewer than it began with.
    :param start: what ``start.sh`` takes after the run.
    """

    run_id: str
    job: str
    framework: str
    multi: bool
    roles: Mapping[str, tuple[str, ...]]
    outputs: tuple[str, ...]
    dashboard_port: int
    tasks: tuple[TaskState, ...] = ()
    min_hosts: int = 0
    start_args: tuple[str, ...] = ()

    @property
    def hosts(self) -> tuple[str, ...]:
        """Names of the hosts that take part, first one first."""
        return tuple(self.roles)

    @property
    def main_hosts(self) -> tuple[str, ...]:
        """Names of the hosts whose task decides how the run ended."""
        return tuple(host for host, roles in self.roles.items() if "main" in roles)

    @property
    def state(self) -> str:
        """``running``, ``done``, ``failed``, ``cancelled`` or ``lost``: the worst of its main tasks."""
        ends = [task.exit_text or ("" if task.is_alive else "lost") for task in self.tasks if task.role == "main"]
        if not ends or "" in ends:
            return "running" if ends else "lost"
        words = {"0": "done", "cancelled": "cancelled", "lost": "lost"}
        found = [words.get(end, "failed") for end in ends]
        return next((word for word in ("failed", "lost", "cancelled") if word in found), "done")

    @property
    def running_tasks(self) -> Mapping[str, tuple[str, ...]]:
        """Name of every host -> roles of its tasks that run."""
        return {
            host: tuple(task.role for task in self.tasks if task.host == host and task.is_alive) for host in self.roles
        }

    @property
    def started_at(self) -> datetime | None:
        """When its first task began."""
        return min((task.started_at for task in self.tasks if task.started_at), default=None)

    @property
    def seconds(self) -> float | None:
        """How long its main tasks took; None before their end."""
        ends = [task.ended_at for task in self.tasks if task.role == "main"]
        began = self.started_at
        if began is None or not ends or None in ends:
            return None
        return max((end - began).total_seconds() for end in ends if end)


@dataclass(frozen=True)
class TaskExit:
    """How one host's main task ended.

    :param status: its exit status; None when it was lost, cancelled or killed without one.
    :param how: ``exit``, ``cancelled``, ``lost``, ``unknown``.
    :param tail: its last lines.
    :param notice: when AWS takes its spot machine back; empty when nothing of that kind was said.
    """

    host: str
    exit_status: int | None
    reason: str
    tail: tuple[str, ...]
    reclaim_time: str = ""

    @property
    def ok(self) -> bool:
        """Whether it ended with exit status 0."""
        return self.exit_status == 0


@dataclass(frozen=True)
class LocatedRun:
    """A run, and the hosts that were up when it was resolved.

    :param hosts: all hosts of the source, or at least those of the run.
    """

    run: Run
    hosts: tuple[Host, ...]

    @property
    def host_names(self) -> tuple[str, ...]:
        """Names of the hosts that were up."""
        return tuple(host.name for host in self.hosts)

    def hosts_named(self, names: Sequence[str]) -> list[Host]:
        """Return the hosts of these names that were up."""
        return [host for host in self.hosts if host.name in names]

    def missing_names(self, names: Sequence[str]) -> list[str]:
        """Return those of these names that were not up, sorted."""
        return sorted(set(names) - set(self.host_names))


def from_plan(plan: JobPlan) -> Run:
    """Return a run that has just been started, as its hosts would report it, but for the state of its tasks."""
    return _parse_manifest(json.loads(plan.manifest), ())


def summarize(run: Run) -> RunSummary:
    """Return one line of the list of runs."""
    return RunSummary(run.run_id, run.job, run.multi, run.hosts, run.state, run.started_at, run.seconds)


def list_runs(ssh: SshClient, hosts: Sequence[Host], run_id: str = "") -> list[Run]:
    """List the runs on these hosts, oldest first.

    :param run: only this one (the full id).
    """
    answers = parallel.for_each(
        hosts,
        lambda host: ssh.run(host, remote_scripts.inline_command("runs.sh", *([run_id] if run_id else []))),
        clock=ssh.clock,
    )
    known: dict[str, dict[str, Any]] = {}
    tasks: dict[str, list[TaskState]] = {}
    for host, outcome in answers.items():
        if outcome.value is None:
            continue
        for line in outcome.value.stdout.splitlines():
            if line.startswith("@@job "):
                _, name, facts = line.split(" ", 2)
                known[name] = json.loads(facts)
            elif line.startswith("@@run "):
                words = line.split()
                tasks.setdefault(words[1], []).append(_parse_task(host, words[2:]))
    if not any(outcome.ok for outcome in answers.values()):
        answers.raise_if_failed("no host could be asked about runs")
    found = [_parse_manifest(facts, tuple(tasks.get(name, ()))) for name, facts in known.items()]
    return sorted(found, key=lambda one: (one.started_at or datetime.max.replace(tzinfo=UTC), one.run_id))


def _parse_task(host: str, fields: Sequence[str]) -> TaskState:
    role, alive, ended, started_at, ended_at = fields
    return TaskState(
        host, role, alive == "yes", "" if ended == "-" else ended, _parse_time(started_at), _parse_time(ended_at)
    )


def _parse_time(text: str) -> datetime | None:
    return None if text == "-" else datetime.fromisoformat(text.replace("Z", "+00:00"))


def _parse_manifest(facts: dict[str, Any], tasks: tuple[TaskState, ...]) -> Run:
    return Run(
        run_id=str(facts["run"]),
        job=str(facts["job"]),
        framework=str(facts["framework"]),
        multi=bool(facts["multi"]),
        roles={host: tuple(names) for host, names in facts["roles"].items()},
        outputs=tuple(facts["outputs"]),
        dashboard_port=int(facts["dashboard"]),
        tasks=tasks,
        # Runs of an older version know neither.
        min_hosts=int(facts.get("min_hosts", 0)),
        start_args=tuple(facts.get("start", ())),
    )


def select_run(runs: Sequence[Run], id_suffix: str = "") -> Run:
    """Choose a run by its id or the id's end; the newest when nothing is asked for.

    :raises UsageError: when there is none, or several answer.
    """
    matching = [run for run in runs if run.run_id == id_suffix or run.run_id.endswith(id_suffix)]
    if not matching:
        known = ", ".join(run.run_id for run in runs[-5:])
        raise UsageError(
            f"no run {id_suffix!r} here" if id_suffix else "no run here yet", fix=f"known: {known}" if known else ""
        )
    exact = [run for run in matching if run.run_id == id_suffix]
    if id_suffix and len(matching) > 1 and not exact:
        raise UsageError(f"{id_suffix!r} fits several runs: {', '.join(run.run_id for run in matching)}")
    return exact[0] if exact else matching[-1]
