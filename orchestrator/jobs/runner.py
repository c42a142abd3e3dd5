"""Starts jobs on hosts so that they outlive us, follows them, finds them again, and ends them.

Everything a run is lies on the VMs, in ``~/stratus/runs/<run>``: any shell with the cluster's key can come back to it.
"""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.core import remote_scripts
from orchestrator.core.errors import ConnectError, HostError, JobFailed, UsageError
from orchestrator.core.host import Host
from orchestrator.hosts import parallel
from orchestrator.jobs.build import Job, Task

if TYPE_CHECKING:
    from orchestrator.ssh import Links

# A followed host sends a heartbeat every five seconds; silence for this long means that it, or the network, is gone.
SILENCE = 20.0
# How often and for how long a lost host is looked for again before it is called lost (laptops change networks).
RETRY_EVERY = 2.0
TAIL = 30

Line = Callable[[str, str], None]


@dataclass(frozen=True)
class TaskState:
    """One task as its host knows it.

    :param ended: how it ended: an exit status, ``cancelled``, ``lost`` (vanished without a status), or empty while it
        runs.
    """

    host: str
    role: str
    alive: bool
    ended: str
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

    run: str
    job: str
    framework: str
    multi: bool
    roles: Mapping[str, tuple[str, ...]]
    outputs: tuple[str, ...]
    dashboard: int
    tasks: tuple[TaskState, ...] = ()
    min_hosts: int = 0
    start: tuple[str, ...] = ()

    @property
    def hosts(self) -> tuple[str, ...]:
        """Names of the hosts that take part, first one first."""
        return tuple(self.roles)

    @property
    def mains(self) -> tuple[str, ...]:
        """Names of the hosts whose task decides how the run ended."""
        return tuple(host for host, roles in self.roles.items() if "main" in roles)

    @property
    def state(self) -> str:
        """``running``, ``done``, ``failed``, ``cancelled`` or ``lost``: the worst of its main tasks."""
        ends = [task.ended or ("" if task.alive else "lost") for task in self.tasks if task.role == "main"]
        if not ends or "" in ends:
            return "running" if ends else "lost"
        words = {"0": "done", "cancelled": "cancelled", "lost": "lost"}
        found = [words.get(end, "failed") for end in ends]
        return next((word for word in ("failed", "lost", "cancelled") if word in found), "done")

    @property
    def going(self) -> Mapping[str, tuple[str, ...]]:
        """Name of every host -> roles of its tasks that run."""
        return {
            host: tuple(task.role for task in self.tasks if task.host == host and task.alive) for host in self.roles
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
class Ending:
    """How one host's main task ended.

    :param status: its exit status; None when it was lost, cancelled or killed without one.
    :param how: ``exit``, ``cancelled``, ``lost``, ``unknown``.
    :param tail: its last lines.
    :param notice: when AWS takes its spot machine back; empty when nothing of that kind was said.
    """

    host: str
    status: int | None
    how: str
    tail: tuple[str, ...]
    notice: str = ""

    @property
    def ok(self) -> bool:
        """Whether it ended with exit status 0."""
        return self.status == 0


def start(links: Links, hosts: Mapping[str, Host], job: Job) -> parallel.Outcomes[int]:
    """Lay the run out on its hosts and start its tasks, detached; one round trip per host, all at once.

    :return: per host, how many tasks were started.
    """
    taking_part = [hosts[name] for name in job.hosts]
    return parallel.each(taking_part, lambda host: _start_one(links, host, job))


def _start_one(links: Links, host: Host, job: Job) -> int:
    tasks = job.on(host.name)
    return lay_out(links, host, job.run, job.start, _layout(job, tasks))


def lay_out(links: Links, host: Host, run: str, words: Sequence[str], files: Mapping[str, bytes]) -> int:
    """Lay a run out on one host and start its tasks.

    :param words: what ``start.sh`` takes after the run.
    :param files: of the run on this host, by name below its folder; each ``task/ROLE.cmd`` is a task.
    :return: how many were started.
    """
    content = {f"run/{name}": data for name, data in files.items()} | remote_scripts.tools(("start.sh",))
    command = remote_scripts.unpack("start.sh", run, *words)
    reply = links.run(host, command, stdin=remote_scripts.bundle(content), timeout=60)
    missing = [line.removeprefix("@@missing ") for line in reply.stdout.splitlines() if line.startswith("@@missing ")]
    if missing:
        raise HostError(f"no {missing[0]} here yet", where=host.name, fix="InstallDeps()")
    started = reply.stdout.count("@@started ")
    expected = sum(name.startswith("task/") and name.endswith(".cmd") for name in files)
    if not reply.ok or ("@@exists" not in reply.stdout and started != expected):
        words_said = (reply.stderr or reply.stdout).strip().splitlines()
        why = words_said[-1] if words_said else reply.exit_status
        raise HostError(f"could not start {run}: {why}", where=host.name)
    return started


def _layout(job: Job, tasks: Sequence[Task]) -> dict[str, bytes]:
    """Return the files of a run on one host."""
    content = {"job.json": (job.summary + "\n").encode()} | job.files
    content |= remote_scripts.tools(remote_scripts.RUN_TOOLS, under="bin/")
    for task in tasks:
        env = "".join(f"{name}={shlex.quote(value)}\n" for name, value in task.env.items())
        content |= {f"task/{task.role}.cmd": (task.command + "\n").encode(), f"task/{task.role}.env": env.encode()}
    return content


@dataclass
class _Follower:
    """Follows one host's main task, through lost connections, until it ends."""

    host: Host
    on_line: Line
    seen: int = 0
    ended: str = ""
    tail: list[str] = field(default_factory=list)
    notice: str = ""

    def line(self, text: str) -> None:
        if text.startswith("@@exit "):
            self.ended = text.split()[1]
        elif text.startswith("@@spot "):
            self.seen += 1
            self.notice = text.split()[1]
            said = f"AWS takes this spot machine back at {self.notice}; the job was told (SIGTERM)"
            self.on_line(self.host.name, said)
        elif not text.startswith("@@"):
            self.seen += 1
            self.tail = [*self.tail[1 - TAIL :], text]
            self.on_line(self.host.name, text)

    def ending(self) -> Ending:
        tail = list(self.tail)
        while tail and not tail[-1].strip():
            tail.pop()
        if self.ended.lstrip("-").isdigit():
            return Ending(self.host.name, int(self.ended), "exit", tuple(tail), self.notice)
        return Ending(self.host.name, None, self.ended or "lost", tuple(tail), self.notice)


def follow(
    links: Links, hosts: Sequence[Host], run: str, *, on_line: Line, patience: float = 60.0
) -> parallel.Outcomes[Ending]:
    """Show a run's output as it comes, from its start, until its main tasks end.

    :param hosts: the hosts that have a main task.
    :param on_line: called with (host, line); from several threads when there are several hosts.
    :param patience: seconds for which a lost host is looked for again before it counts as lost.
    """
    return parallel.each(hosts, lambda host: _follow_one(links, _Follower(host, on_line), run, patience))


def _follow_one(links: Links, follower: _Follower, run: str, patience: float) -> Ending:
    last_heard = time.monotonic()
    while True:
        before = follower.seen
        try:
            command = remote_scripts.call("follow.sh", run, "main", str(follower.seen))
            links.stream(follower.host, command, on_line=follower.line, silence=SILENCE)
        except ConnectError as error:
            if error.kind in ("auth", "host-key", "key-file"):
                raise
            if follower.seen > before:
                last_heard = time.monotonic()
            if time.monotonic() - last_heard > patience:
                raise
            time.sleep(RETRY_EVERY)
            continue
        if not follower.ended:
            raise ConnectError("lost", "the connection ended before the job did", where=follower.host.name)
        return follower.ending()


def find(links: Links, hosts: Sequence[Host], run: str = "") -> list[Run]:
    """List the runs on these hosts, oldest first.

    :param run: only this one (the full id).
    """
    answers = parallel.each(
        hosts, lambda host: links.run(host, remote_scripts.call("runs.sh", *([run] if run else [])))
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
                tasks.setdefault(words[1], []).append(_task_state(host, words[2:]))
    if not any(outcome.ok for outcome in answers.values()):
        answers.check("no host could be asked about runs")
    found = [_run(facts, tuple(tasks.get(name, ()))) for name, facts in known.items()]
    return sorted(found, key=lambda one: (one.started_at or datetime.max.replace(tzinfo=UTC), one.run))


def _task_state(host: str, words: Sequence[str]) -> TaskState:
    role, alive, ended, started_at, ended_at = words
    return TaskState(host, role, alive == "yes", "" if ended == "-" else ended, _time(started_at), _time(ended_at))


def _time(text: str) -> datetime | None:
    return None if text == "-" else datetime.fromisoformat(text.replace("Z", "+00:00"))


def _run(facts: dict[str, Any], tasks: tuple[TaskState, ...]) -> Run:
    return Run(
        run=str(facts["run"]),
        job=str(facts["job"]),
        framework=str(facts["framework"]),
        multi=bool(facts["multi"]),
        roles={host: tuple(names) for host, names in facts["roles"].items()},
        outputs=tuple(facts["outputs"]),
        dashboard=int(facts["dashboard"]),
        tasks=tasks,
        # Runs of an older version know neither.
        min_hosts=int(facts.get("min_hosts", 0)),
        start=tuple(facts.get("start", ())),
    )


def cancel(
    links: Links, hosts: Sequence[Host], run: str, going: Mapping[str, Sequence[str]] | None = None
) -> parallel.Outcomes[int]:
    """End every process and container of a run on these hosts.

    :param going: name of a host -> roles of its tasks that ran when this was decided: they count as cancelled, also
        where one falls because another host was faster.
    :return: per host, how many processes would not go; 0 is the answer to expect.
    """
    known = going or {}
    return parallel.each(hosts, lambda host: _cancel_one(links, host, run, known.get(host.name, ())))


def _cancel_one(links: Links, host: Host, run: str, going: Sequence[str]) -> int:
    # The folder is told relative to the login's home, where every SSH session begins.
    command = remote_scripts.call("cancel.sh", f"stratus/runs/{run}", "all", *going)
    reply = links.run(host, command, timeout=60)
    left = [line for line in reply.stdout.splitlines() if line.startswith("@@left ")]
    if not left:
        raise HostError(f"could not cancel {run}: {reply.stderr.strip() or reply.exit_status}", where=host.name)
    return int(left[-1].split()[1])


def pick(runs: Sequence[Run], wanted: str = "") -> Run:
    """Choose a run by its id or the id's end; the newest when nothing is asked for.

    :raises UsageError: when there is none, or several answer.
    """
    matching = [run for run in runs if run.run == wanted or run.run.endswith(wanted)]
    if not matching:
        known = ", ".join(run.run for run in runs[-5:])
        raise UsageError(
            f"no run {wanted!r} here" if wanted else "no run here yet", fix=f"known: {known}" if known else ""
        )
    exact = [run for run in matching if run.run == wanted]
    if wanted and len(matching) > 1 and not exact:
        raise UsageError(f"{wanted!r} fits several runs: {', '.join(run.run for run in matching)}")
    return exact[0] if exact else matching[-1]


def failure(run: Run, outcome: parallel.Outcome[Ending], *, logs: Path) -> JobFailed:
    """Return what to tell of a main task that did not end well.

    :param logs: folder where the logs of every host are.
    """
    where, fix = f"{run.job} on {outcome.host.name}", f"logs of every host: {logs}"
    if outcome.value is None:
        return JobFailed(f"lost: {outcome.error}", exit_status=None, where=where, fix=fix)
    ending = outcome.value
    if ending.notice:
        what = f"ended by AWS, which takes the spot machine back at {ending.notice}"
        fix = f"what it had is in {logs.parent}; LaunchInstances(), then run it again"
    elif ending.status is None:
        vanished = "vanished without an exit status (killed, or the VM restarted)"
        what = {"cancelled": "was cancelled", "lost": vanished}.get(ending.how, f"ended: {ending.how}")
    else:
        what = f"failed (exit {ending.status}{_meaning(ending.status)})"
    return JobFailed(what, exit_status=ending.status, where=where, tail=ending.tail[-10:], fix=fix)


def _meaning(status: int) -> str:
    """Say what a telling exit status means: https://tldp.org/LDP/abs/html/exitcodes.html."""
    known = {126: ", not executable", 127: ", command not found", 137: ", killed: often out of memory"}
    return known.get(status, f", signal {status - 128}" if status > 128 else "")
