"""Start runs on hosts, detached, and cancel them.

A run is kept on the VMs, in ``~/stratus/runs/<run id>``: any computer with the cluster's key can resolve it there.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
from orchestrator.jobs.host_output import StartOutput
from orchestrator.jobs.runs import LocatedRun
from orchestrator.jobs.tasks import Task

if TYPE_CHECKING:
    from orchestrator.ssh import SshClient

SCRIPT_TIMEOUT_S = 60.0
HOSTS_SHOWN = 6


@dataclass(frozen=True)
class CancelReport:
    """Result of a cancel.

    :param left: host -> number of processes that could not be ended; 0 is the expected number.
    :param failed: host -> why its processes could not be ended.
    :param ended_as: state of a run that had ended before, such as ``done``; empty if it was running.
    """

    run_id: str
    left: Mapping[str, int]
    failed: Mapping[str, Exception]
    ended_as: str = ""


def start(ssh: SshClient, hosts: Sequence[Host], plan: JobPlan) -> dict[str, tuple[str, ...]]:
    """Stage a run on its hosts and start its tasks, detached; one round trip to each host.

    :param hosts: those of the plan.
    :return: other runs that have a task on a host, by its name.
    :raises HostsFailed: it did not start on all of them, and was cancelled on the others.
    """
    outcomes = parallel.for_each(hosts, lambda host: _start_on(ssh, host, plan), clock=ssh.clock)
    if outcomes.failed:
        # Roll back a partial start: a run that lacks hosts would wait for them until its timeout, on paid machines.
        cancel_on(ssh, hosts, plan.run_id)
        outcomes.raise_if_failed(f"{plan.spec.name} did not start")
    return {name: outcome.unwrap().busy for name, outcome in outcomes.items() if outcome.unwrap().busy}


def shared(busy: Mapping[str, Sequence[str]]) -> str:
    """Return that hosts are shared with other runs.

    :param busy: host -> ids of other runs that have a task there.
    """
    runs, hosts = list(dict.fromkeys(run_id for ids in busy.values() for run_id in ids)), list(busy)
    on = " ".join(hosts) if len(hosts) <= HOSTS_SHOWN else f"{len(hosts)} VMs"
    others = runs[0] if len(runs) == 1 else f"{len(runs)} other runs ({runs[0]} ...)"
    return f"{others} still {'runs' if len(runs) == 1 else 'run'} on {on}, too: they share cores, memory and GPUs"


def _start_on(ssh: SshClient, host: Host, plan: JobPlan) -> StartOutput:
    files = run_files(plan, plan.tasks_on(host.name))
    return stage_run(ssh, host, plan.run_id, plan.start_args, files)


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
    output = host_output.parse_start(result.stdout)
    if output.missing:
        raise HostError(f"no {output.missing} here yet", where=host.name, fix=NextStep("InstallDeps"))
    expected = sum(name.startswith("task/") and name.endswith(".cmd") for name in files)
    # An existing run is a success: the connection was lost after an earlier attempt had started it.
    if not result.ok or (not output.exists and output.started != expected):
        raise script_error(result, f"could not start {run_id}")
    return output


def run_files(plan: JobPlan, tasks: Sequence[Task]) -> dict[str, bytes]:
    """Return the files of a run on the host of these tasks."""
    files = {"job.json": (plan.manifest + "\n").encode()} | plan.files
    files |= registry.find(plan.spec.framework).run_scripts
    if plan.spec.options.max_hours:
        files["limit"] = b"%d\n" % round(plan.spec.options.max_hours * 3600)
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
