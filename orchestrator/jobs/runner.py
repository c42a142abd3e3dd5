"""Start runs on hosts, detached, and cancel them.

A run is kept on the VMs, in ``~/stratus/runs/<run id>``: any computer with the cluster's key can resolve it there.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrator.core import remote_scripts
from orchestrator.core.errors import HostError
from orchestrator.core.host import Host
from orchestrator.core.next_step import NextStep
from orchestrator.hosts import parallel
from orchestrator.hosts.commands import script_error
from orchestrator.jobs import host_output
from orchestrator.jobs.build import JobPlan
from orchestrator.jobs.frameworks import registry
from orchestrator.jobs.host_output import LogReader, StartOutput
from orchestrator.jobs.runs import LocatedRun
from orchestrator.jobs.tasks import Task
from orchestrator.ssh import CommandResult
from orchestrator.ssh.line_stream import LineStreams, heartbeat_limits

if TYPE_CHECKING:
    from orchestrator.ssh import SshClient
    from orchestrator.ssh.line_stream import LineStream

SCRIPT_TIMEOUT_S = 60.0
HOSTS_SHOWN = 6

MAX_LINES, MAX_CHARACTERS = 1000, 1 << 20
"""Output of ``start.sh``: a line for each task, and for each other run that has one on the host."""


@dataclass(frozen=True)
class CancelReport:
    """Result of a cancel.

    :param left: host -> number of processes that could not be ended; 0 is the expected number.
    :param failed: host -> why its processes could not be ended.
    :param ended_as: state of a run that had ended before, such as ``done``; empty if it was running.
    :param kind: what the run is on a managed service: ``training job``; empty for one on VMs.
    """

    run_id: str
    left: Mapping[str, int]
    failed: Mapping[str, Exception]
    ended_as: str = ""
    kind: str = ""


@dataclass(frozen=True)
class RunFiles:
    """Files of a run, by name below its folder; each ``task/ROLE.cmd`` is a task.

    :param shared: of every host.
    :param own: host -> its own ones.
    :param args: arguments of ``start.sh``.
    """

    shared: Mapping[str, bytes]
    own: Mapping[str, Mapping[str, bytes]]
    args: tuple[str, ...]


@dataclass(frozen=True)
class LiveLog:
    """The output of a task that has just been started, over the connection of its start.

    :param reader: knows the mark of the lines that are not the task's.
    """

    stream: LineStream
    reader: LogReader


@dataclass(frozen=True)
class StartedRun:
    """A run that was started.

    :param busy: other runs that have a task on a host, by its name.
    :param logs: host -> output of its task ``main``; empty unless the run is to be followed.
    """

    busy: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    logs: Mapping[str, LiveLog] = field(default_factory=dict)


def files_of_run(plan: JobPlan, *places: Mapping[str, Mapping[str, bytes]]) -> RunFiles:
    """Return the files of a run.

    :param places: host -> name -> content of files that tell it places in S3.
    """
    own = {name: own_files(plan, plan.tasks_on(name)) for name in plan.hosts}
    for files in places:
        own = {name: content | dict(files.get(name, {})) for name, content in own.items()}
    return RunFiles(shared_files(plan), own, (plan.run_id, *plan.start_args))


def start(
    ssh: SshClient, hosts: Sequence[Host], plan: JobPlan, streams: LineStreams, *, follow: bool = False
) -> StartedRun:
    """Start the tasks of a run, detached, on hosts that are prepared for it.

    :param hosts: those of the plan.
    :param streams: of ``run.sh`` on each host; they are closed, apart from those of the logs.
    :param follow: keep the streams of tasks that are to be followed.
    :raises HostsFailed: it did not start on all of them, and was cancelled on the others.
    """
    readers = {name: LogReader() for name in plan.main_hosts} if follow else {}

    def start_on(host: Host) -> StartOutput:
        reader = readers.get(host.name)
        order = f"follow {reader.mark}" if reader else "go"
        return _start_on(streams[host.name], host, order, plan)

    with streams:
        outcomes = parallel.for_each(hosts, start_on, clock=ssh.clock)
        if outcomes.failed:
            # Roll back a partial start: a run that lacks hosts would wait for them until its timeout, on paid machines.
            cancel_on(ssh, hosts, plan.run_id)
            outcomes.raise_if_failed(f"{plan.spec.name} did not start")
        logs = {name: LiveLog(streams.take(name), reader) for name, reader in readers.items()}
    return StartedRun(
        {name: outcome.unwrap().busy for name, outcome in outcomes.items() if outcome.unwrap().busy}, logs
    )


def shared(busy: Mapping[str, Sequence[str]]) -> str:
    """Return that hosts are shared with other runs.

    :param busy: host -> ids of other runs that have a task there.
    """
    runs, hosts = list(dict.fromkeys(run_id for ids in busy.values() for run_id in ids)), list(busy)
    on = " ".join(hosts) if len(hosts) <= HOSTS_SHOWN else f"{len(hosts)} VMs"
    others = runs[0] if len(runs) == 1 else f"{len(runs)} other runs ({runs[0]} ...)"
    return f"{others} still {'runs' if len(runs) == 1 else 'run'} on {on}, too: they share cores, memory and GPUs"


def _start_on(stream: LineStream, host: Host, order: str, plan: JobPlan) -> StartOutput:
    """Send the order to start to ``run.sh`` on a host, and read what it started."""
    lines: list[str] = []

    def keep(line: str) -> None:
        lines.append(line)
        # Time limits hold between pieces of output: a host that sends without end would be read forever.
        if sum(map(len, lines)) > MAX_CHARACTERS or len(lines) > MAX_LINES:
            raise HostError("more output than a start has", where=host.name)

    stream.send(f"{order}\n".encode())
    limits = heartbeat_limits(SCRIPT_TIMEOUT_S, SCRIPT_TIMEOUT_S)
    if not stream.read(keep, until=lambda line: line.startswith("@@start "), timeouts=limits):
        stream.exit_status()
    status = 0 if lines and lines[-1] == "@@start 0" else 1
    messages = "\n".join(line for line in lines if not line.startswith("@@"))
    result = CommandResult(host.name, "run.sh", "\n".join(lines), messages, status, 0.0)
    return _checked(result, host, plan.run_id, len(plan.tasks_on(host.name)))


def stage_run(
    ssh: SshClient, host: Host, run_id: str, start_args: Sequence[str], files: Mapping[str, bytes]
) -> StartOutput:
    """Write a run's files to one host and start its tasks there.

    :param start_args: arguments of ``start.sh`` after the run's id.
    :param files: of the run on this host, by name below its folder; each ``task/ROLE.cmd`` is a task.
    :return: tasks started, and other runs there.
    :raises HostError: something is not installed, or not all tasks were started.
    """
    content = {f"run/{name}": data for name, data in files.items()} | remote_scripts.scripts(("start.sh",))
    command = remote_scripts.bundle_command("start.sh", run_id, *start_args)
    result = ssh.run(host, command, stdin=remote_scripts.bundle(content), timeout_s=SCRIPT_TIMEOUT_S)
    expected = sum(name.startswith("task/") and name.endswith(".cmd") for name in files)
    return _checked(result, host, run_id, expected)


def _checked(result: CommandResult, host: Host, run_id: str, expected: int) -> StartOutput:
    """Return the output of ``start.sh``.

    :param expected: number of tasks.
    :raises HostError: something is not installed, or not all tasks were started.
    """
    output = host_output.parse_start(result.stdout)
    if output.missing:
        raise HostError(f"no {output.missing} here yet", where=host.name, fix=NextStep("InstallDeps"))
    # An existing run is a success: the connection was lost after an earlier attempt had started it.
    if not result.ok or (not output.exists and output.started != expected):
        raise script_error(result, f"could not start {run_id}")
    return output


def shared_files(plan: JobPlan) -> dict[str, bytes]:
    """Return the files of a run that every host gets."""
    files = {"job.json": (plan.manifest + "\n").encode()} | plan.files
    files |= registry.find(plan.spec.framework).run_scripts
    if inputs := plan.spec.staged_data:
        files["inputs"] = inputs
    if plan.spec.options.max_hours:
        files["limit"] = b"%d\n" % round(plan.spec.options.max_hours * 3600)
    return files


def own_files(plan: JobPlan, tasks: Sequence[Task]) -> dict[str, bytes]:
    """Return the files of a run that the host of these tasks alone gets."""
    files: dict[str, bytes] = {}
    # On one host: the user wants to be told once.
    if plan.spec.options.notify and tasks and tasks[0].host == plan.hosts[0]:
        files["notify"] = (plan.spec.options.notify + "\n").encode()
    for task in tasks:
        # The host's shell sources this file.
        env = "".join(f"{name}={shlex.quote(value)}\n" for name, value in task.env.items())
        files |= {f"task/{task.role}.cmd": (task.command + "\n").encode(), f"task/{task.role}.env": env.encode()}
    return files


def cancel(ssh: SshClient, located: LocatedRun) -> CancelReport:
    """End every process and container of a run on every host of it that is up."""
    run = located.run
    outcomes = cancel_on(ssh, located.members, run.run_id, run.running_tasks)
    # A failure rather than a success: a host that is only cut off may still run its tasks.
    not_up = {name: HostError("is not up", where=name) for name in located.missing_members}
    left = {name: outcome.unwrap() for name, outcome in outcomes.succeeded.items()}
    # Helpers may outlive the main task: a run with one of them is still cancelled.
    is_over = run.state != "running" and not any(run.running_tasks.values())
    return CancelReport(run.run_id, left, outcomes.errors | not_up, run.state if is_over else "")


def cancel_on(
    ssh: SshClient, hosts: Sequence[Host], run_id: str, running_tasks: Mapping[str, Sequence[str]] | None = None
) -> parallel.Outcomes[int]:
    """End every process and container of a run on these hosts.

    :param running_tasks: host -> roles of its tasks that ran when this was decided: they count as cancelled, also
        where one fails because another host was faster.
    :return: per host, number of processes that could not be ended.
    """
    roles = running_tasks or {}
    return parallel.for_each(
        hosts, lambda host: _cancel_on_host(ssh, host, run_id, roles.get(host.name, ())), clock=ssh.clock
    )


def _cancel_on_host(ssh: SshClient, host: Host, run_id: str, running_roles: Sequence[str]) -> int:
    # Relative to the login's home, where every SSH session begins: ~ is not expanded inside quotes.
    command = remote_scripts.inline_command("cancel.sh", f"stratus/runs/{run_id}", "all", *running_roles)
    result = ssh.run(host, command, timeout_s=SCRIPT_TIMEOUT_S)
    left = host_output.parse_left(result.stdout)
    if left is None:
        raise script_error(result, f"could not cancel {run_id}")
    return left
