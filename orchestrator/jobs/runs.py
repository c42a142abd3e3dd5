"""Runs of a job: a started one, one as its hosts report it, one as a line of a list."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from orchestrator.core.errors import UsageError
from orchestrator.core.host import Host
from orchestrator.core.next_step import NextStep

KNOWN_SHOWN = 5

RUN_ID = re.compile(r"[0-9]{8}-[0-9]{6}-[a-z0-9]{3}")
"""Form of a run's id; it names a folder on the hosts and on this computer."""


@dataclass(frozen=True)
class RunHandle:
    """A run that was started, detached.

    :param roles: host -> its roles (``main``, ``scheduler``, ``worker``).
    :param has_dashboard: True if its framework serves a dashboard.
    :param folder: the folder of its results, once they are fetched.
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
    """A run that ended well.

    :param seconds: duration of its main tasks.
    """

    run_id: str
    job: str
    seconds: float


@dataclass(frozen=True)
class RunSummary:
    """One line of the list of runs.

    :param state: running, done, failed, timeout, cancelled, lost.
    :param seconds: duration of its main tasks; None before their end.
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
    """State of one task on its host.

    :param exit_text: an exit status, ``cancelled``, ``timeout``, ``lost`` (vanished without a status), or empty while
        it runs.
    :param is_undated: True if its start is damaged.
    """

    host: str
    role: str
    is_alive: bool
    exit_text: str
    started_at: datetime | None
    ended_at: datetime | None
    is_undated: bool = False


@dataclass(frozen=True)
class Run:
    """A run as its hosts report it.

    :param roles: host -> roles it has in the run.
    :param dashboard_port: port of the framework's dashboard on the first host's private address; 0 without one.
    :param min_hosts: number of hosts that an elastic run needs to continue; 0: it is not elastic.
    :param start_args: arguments of ``start.sh`` after the run's id.
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
        """Names of the hosts whose task's exit status is the run's."""
        return tuple(host for host, roles in self.roles.items() if "main" in roles)

    @property
    def state(self) -> str:
        """``running``, ``done``, ``failed``, ``timeout``, ``cancelled`` or ``lost``: the worst of its main tasks."""
        exits = [task.exit_text or ("" if task.is_alive else "lost") for task in self.tasks if task.role == "main"]
        # Without any state of a main task the outcome is unknown, so it must not count as a success.
        if not exits or "" in exits:
            return "running" if exits else "lost"
        names = {"0": "done", "cancelled": "cancelled", "timeout": "timeout", "lost": "lost"}
        states = [names.get(exit_text, "failed") for exit_text in exits]
        # A failure comes first: the tasks on other hosts are cancelled, or lose their peers, because of it.
        # A limit of time comes before it: it strikes all hosts, and tasks may fail as their peers end.
        return next((state for state in ("timeout", "failed", "lost", "cancelled") if state in states), "done")

    @property
    def running_tasks(self) -> Mapping[str, tuple[str, ...]]:
        """Name of every host -> roles of its tasks that run."""
        return {
            host: tuple(task.role for task in self.tasks if task.host == host and task.is_alive) for host in self.roles
        }

    @property
    def started_at(self) -> datetime | None:
        """Start of its first task."""
        return min((task.started_at for task in self.tasks if task.started_at), default=None)

    @property
    def seconds(self) -> float | None:
        """Duration of its main tasks; None before their end."""
        ends = [task.ended_at for task in self.tasks if task.role == "main"]
        # From the first task of any role: schedulers and workers start before the main task, on the same paid machines.
        started_at = self.started_at
        if started_at is None or not ends or None in ends:
            return None
        return max((end - started_at).total_seconds() for end in ends if end)

    def elapsed_s(self, now: datetime) -> float | None:
        """Return the duration of its main tasks, until now while it is running; None if it is unknown.

        :param now: current time, UTC.
        """
        seconds, started_at = self.seconds, self.started_at
        if seconds is None and started_at and self.state == "running":
            seconds = (now - started_at).total_seconds()
        # The clocks of host and reader may differ, and a job may write any time.
        return None if seconds is None else max(0.0, seconds)

    @property
    def summary(self) -> RunSummary:
        """The run as one line of a list."""
        return RunSummary(self.run_id, self.job, self.multi, self.hosts, self.state, self.started_at, self.seconds)


@dataclass(frozen=True)
class Listing:
    """A run as one host lists it.

    :param manifest: the run as ``job.json`` there describes it; None if that is damaged.
    :param tasks: those of this host.
    """

    host: str
    manifest: Run | None
    tasks: tuple[TaskState, ...] = ()


@dataclass(frozen=True)
class TaskExit:
    """Exit of one host's main task.

    :param exit_status: None when it was lost, cancelled or killed without one.
    :param reason: ``exit``, ``cancelled``, ``timeout``, ``lost``, ``unknown``.
    :param tail: its last lines.
    :param reclaim_time: time at which AWS reclaims its spot instance; empty without such a notice.
    :param disk_full: True if the host's disk had no room left at its end.
    :param started_at: start of the run's first task on the host; None if it is unknown.
    :param first_line_s: seconds from the start to the first line of output; None unless it was followed from there.
    """

    host: str
    exit_status: int | None
    reason: str
    tail: tuple[str, ...]
    reclaim_time: str = ""
    disk_full: bool = False
    started_at: datetime | None = None
    ended_at: datetime | None = None
    first_line_s: float | None = None

    @property
    def ok(self) -> bool:
        """True if it ended with exit status 0."""
        return self.exit_status == 0


@dataclass(frozen=True)
class LocatedRun:
    """A run, and the hosts that were up when it was resolved.

    :param hosts: all hosts of the source, or at least those of the run.
    """

    run: Run
    hosts: tuple[Host, ...]

    @property
    def members(self) -> list[Host]:
        """The run's hosts, as far as they were up."""
        return self.hosts_named(self.run.hosts)

    @property
    def missing_members(self) -> list[str]:
        """Names of the run's hosts that were not up, sorted."""
        return self.missing_names(self.run.hosts)

    @property
    def up(self) -> str:
        """Names of the hosts that were up, for a message."""
        return f"up: {', '.join(host.name for host in self.hosts)}"

    def hosts_named(self, names: Sequence[str]) -> list[Host]:
        """Return the hosts of these names that were up."""
        return [host for host in self.hosts if host.name in names]

    def on_running(self, states: Mapping[str, str]) -> LocatedRun:
        """Return the run with those of its hosts whose instances are running: to others every connection times out.

        :param states: id -> state of the instances.
        """
        return LocatedRun(self.run, tuple(host for host in self.hosts if states.get(host.identity) == "running"))

    def missing_names(self, names: Sequence[str]) -> list[str]:
        """Return those of these names that were not up, sorted."""
        return sorted(set(names) - {host.name for host in self.hosts})

    def require_hosts(self, names: Sequence[str]) -> list[Host]:
        """Return the hosts of these names.

        :raises UsageError: one of them was not up.
        """
        if missing := self.missing_names(names):
            raise UsageError(f"{', '.join(missing)}: not up", fix=self.up)
        return self.hosts_named(names)


def select_run(runs: Sequence[Run], id_suffix: str = "") -> Run:
    """Return a run by its id or the id's end; the newest when empty.

    :param runs: oldest first.
    :raises UsageError: there is none, or several match.
    """
    matches = [run for run in runs if run.run_id.endswith(id_suffix)]
    if not matches:
        known = ", ".join(run.run_id for run in runs[-KNOWN_SHOWN:])
        message = f"no run {id_suffix!r} here" if id_suffix else "no run here yet"
        raise UsageError(message, fix=f"known: {known}" if known else NextStep("RunSingleVMComputing") + " starts one")
    # A script that has the full id must get that run, even if the id is the end of another one.
    exact = [run for run in matches if run.run_id == id_suffix]
    if id_suffix and len(matches) > 1 and not exact:
        raise UsageError(f"{id_suffix!r} matches several runs: {', '.join(run.run_id for run in matches)}")
    return exact[0] if exact else matches[-1]
