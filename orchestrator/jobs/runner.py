"""Starts jobs on hosts so that they outlive us, follows them, finds them again, and ends them.

Everything a run is lies on the VMs, in ``~/stratus/runs/<run>``: any shell with the cluster's key can come back to it.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.core import remote_scripts
from orchestrator.core.errors import HostError
from orchestrator.core.host import Host
from orchestrator.core.next_step import NextStep
from orchestrator.hosts import parallel
from orchestrator.jobs.build import JobPlan, Task

if TYPE_CHECKING:
    from orchestrator.ssh import SshClient

# A followed host sends a heartbeat every five seconds; silence for this long means that it, or the network, is gone.
SILENCE_S = 20.0
# How often and for how long a lost host is looked for again before it is called lost (laptops change networks).
RECONNECT_INTERVAL_S = 2.0
TAIL_LINES = 30

OnLine = Callable[[str, str], None]


def start(ssh: SshClient, hosts: Mapping[str, Host], plan: JobPlan) -> parallel.Outcomes[int]:
    """Lay the run out on its hosts and start its tasks, detached; one round trip per host, all at once.

    :return: per host, how many tasks were started.
    """
    taking_part = [hosts[name] for name in plan.hosts]
    return parallel.for_each(taking_part, lambda host: _start_on(ssh, host, plan), clock=ssh.clock)


def _start_on(ssh: SshClient, host: Host, plan: JobPlan) -> int:
    tasks = plan.tasks_on(host.name)
    return stage_run(ssh, host, plan.run_id, plan.start_args, _run_files(plan, tasks))


def stage_run(ssh: SshClient, host: Host, run_id: str, start_args: Sequence[str], files: Mapping[str, bytes]) -> int:
    """Lay a run out on one host and start its tasks.

    :param words: what ``start.sh`` takes after the run.
    :param files: of the run on this host, by name below its folder; each ``task/ROLE.cmd`` is a task.
    :return: how many were started.
    """
    content = {f"run/{name}": data for name, data in files.items()} | remote_scripts.scripts(("start.sh",))
    command = remote_scripts.bundle_command("start.sh", run_id, *start_args)
    reply = ssh.run(host, command, stdin=remote_scripts.bundle(content), timeout_s=60)
    missing = [line.removeprefix("@@missing ") for line in reply.stdout.splitlines() if line.startswith("@@missing ")]
    if missing:
        raise HostError(f"no {missing[0]} here yet", where=host.name, fix=NextStep("InstallDeps"))
    started = reply.stdout.count("@@started ")
    expected = sum(name.startswith("task/") and name.endswith(".cmd") for name in files)
    if not reply.ok or ("@@exists" not in reply.stdout and started != expected):
        words_said = (reply.stderr or reply.stdout).strip().splitlines()
        why = words_said[-1] if words_said else reply.exit_status
        raise HostError(f"could not start {run_id}: {why}", where=host.name)
    return started


def _run_files(plan: JobPlan, tasks: Sequence[Task]) -> dict[str, bytes]:
    """Return the files of a run on one host."""
    content = {"job.json": (plan.manifest + "\n").encode()} | plan.files
    content |= remote_scripts.scripts(remote_scripts.RUN_SCRIPTS, folder="bin/")
    for task in tasks:
        env = "".join(f"{name}={shlex.quote(value)}\n" for name, value in task.env.items())
        content |= {f"task/{task.role}.cmd": (task.command + "\n").encode(), f"task/{task.role}.env": env.encode()}
    return content


def cancel(
    ssh: SshClient, hosts: Sequence[Host], run_id: str, running_tasks: Mapping[str, Sequence[str]] | None = None
) -> parallel.Outcomes[int]:
    """End every process and container of a run on these hosts.

    :param going: name of a host -> roles of its tasks that ran when this was decided: they count as cancelled, also
        where one falls because another host was faster.
    :return: per host, how many processes would not go; 0 is the answer to expect.
    """
    known = running_tasks or {}
    return parallel.for_each(
        hosts, lambda host: _cancel_on(ssh, host, run_id, known.get(host.name, ())), clock=ssh.clock
    )


def _cancel_on(ssh: SshClient, host: Host, run_id: str, running_roles: Sequence[str]) -> int:
    # The folder is told relative to the login's home, where every SSH session begins.
    command = remote_scripts.inline_command("cancel.sh", f"stratus/runs/{run_id}", "all", *running_roles)
    reply = ssh.run(host, command, timeout_s=60)
    left = [line for line in reply.stdout.splitlines() if line.startswith("@@left ")]
    if not left:
        raise HostError(f"could not cancel {run_id}: {reply.stderr.strip() or reply.exit_status}", where=host.name)
    return int(left[-1].split()[1])


@dataclass(frozen=True)
class CancelReport:
    """What a cancel left behind: per host the number of processes that would not go (0 is the answer to expect)."""

    run_id: str
    left: Mapping[str, int]
    failed: Mapping[str, Exception]
