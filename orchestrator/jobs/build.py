"""Jobs as plain values: what a ``job.ini`` says, and the commands it becomes on a set of hosts.

Pure: nothing here touches a host. :mod:`orchestrator.jobs.runner` starts and follows what :func:`build` returns.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from orchestrator.core.errors import UsageError
from orchestrator.core.host import Host
from orchestrator.core.next_step import NextStep
from orchestrator.jobs import frameworks
from orchestrator.jobs.spec import JobSpec
from orchestrator.jobs.tasks import JobLayout, Task

__all__ = ["JobPlan", "JobSpec", "Task", "build", "new_run_id"]


@dataclass(frozen=True)
class JobPlan:
    """One run of a job: tasks with roles, ready to be laid out on the hosts.

    :param run: the run's id, ``20261120-1412-k3``.
    :param spec: what its ``job.ini`` says.
    :param multi: over all hosts, or on the first alone.
    :param tasks: all commands.
    :param files: small files each host gets with the run (name below the run's folder -> content).
    :param dashboard: port of the Dask dashboard on the first host's private address; 0 without one.
    """

    run_id: str
    spec: JobSpec
    multi: bool
    tasks: tuple[Task, ...]
    files: dict[str, bytes]
    dashboard_port: int = 0

    @property
    def hosts(self) -> tuple[str, ...]:
        """Names of the hosts that take part, first one first."""
        return tuple(dict.fromkeys(task.host for task in self.tasks))

    @property
    def main_hosts(self) -> tuple[str, ...]:
        """Names of the hosts whose task decides how the job ended."""
        return tuple(task.host for task in self.tasks if task.role == "main")

    def tasks_on(self, host_name: str) -> tuple[Task, ...]:
        """Return the tasks of one host."""
        return tuple(task for task in self.tasks if task.host == host_name)

    @property
    def start_args(self) -> tuple[str, ...]:
        """What ``start.sh`` takes after the run."""
        places = [f"{self.spec.remote_path(item)}={item.name}" for item in self.spec.data]
        return (self.spec.code_path, self.spec.name, self.spec.runtime, *places)

    @property
    def manifest(self) -> str:
        """The run in one line of JSON; it lies on every host, so that any shell can find its way back."""
        roles = {host: [task.role for task in self.tasks_on(host)] for host in self.hosts}
        facts = {
            "run": self.run_id,
            "job": self.spec.name,
            "framework": self.spec.framework,
            "multi": self.multi,
            "roles": roles,
            "outputs": list(self.spec.options.outputs),
            "dashboard": self.dashboard_port,
            "min_hosts": self.spec.resources.min_hosts if self.multi else 0,
            "start": list(self.start_args),
        }
        return json.dumps(facts, sort_keys=True)


def build(spec: JobSpec, hosts: Sequence[Host], *, run_id: str, multi: bool, now: datetime) -> JobPlan:
    """Turn a job into commands for these hosts.

    :param hosts: all hosts of the cluster that shall take part; one VM means the first of them.
    :raises UsageError: when the job has no command for that many hosts.
    """
    if not hosts:
        raise UsageError("no host is up", fix=NextStep("LaunchInstances"))
    command = spec.options.multi if multi else spec.options.single
    if not command:
        verb = "multi" if multi else "single"
        raise UsageError(f"job.ini names no command for {verb}", where=str(spec.folder), fix=f"add {verb} = ...")
    chosen = tuple(hosts if multi else hosts[:1])
    least = spec.resources.min_hosts
    if multi and least > len(chosen):
        raise UsageError(
            f"[resources] min_hosts = {least}, and {len(chosen)} VMs are up",
            where=str(spec.folder),
            fix=NextStep("LaunchInstances", least - len(chosen)) + ", or a smaller min_hosts in job.ini",
        )
    given = JobLayout(spec, chosen, command, run_id, now)
    tasks, files = frameworks.lay_out(given, multi=multi)
    dashboard = given.port + 1 if multi and spec.framework == "dask" else 0
    return JobPlan(run_id, spec, multi, tuple(tasks), files, dashboard)


def new_run_id(now: datetime) -> str:
    """Return a new run's id: it sorts by time (UTC), and its end is short enough to type."""
    letters = "abcdefghijkmnpqrstuvwxyz23456789"
    return f"{now:%Y%m%d-%H%M%S}-" + "".join(secrets.choice(letters) for _ in range(3))
