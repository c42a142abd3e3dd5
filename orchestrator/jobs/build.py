"""Plan of a run: the commands that a job becomes on a set of hosts, as plain values.

Pure: nothing here connects to a host. :mod:`orchestrator.jobs.runner` starts what :func:`build` returns.
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
from orchestrator.jobs.frameworks import registry
from orchestrator.jobs.frameworks.registry import Framework
from orchestrator.jobs.managed import options as managed_options
from orchestrator.jobs.spec import JobSpec
from orchestrator.jobs.tasks import JobLayout, Task

# Without l, o, 0 and 1, which are easily confused when an id is typed.
ID_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"


@dataclass(frozen=True)
class JobPlan:
    """One run of a job: tasks with roles, ready to be staged on the hosts.

    :param run_id: ``20261120-141203-k3x``.
    :param multi: True for a run on all hosts, False for one on the first alone.
    :param tasks: all commands.
    :param files: small files each host gets with the run (name below the run's folder -> content).
    :param dashboard_port: port of the framework's dashboard on the first host's private address; 0 without one.
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
        """Names of the hosts whose task's exit status is the job's."""
        return tuple(task.host for task in self.tasks if task.role == "main")

    @property
    def roles(self) -> dict[str, tuple[str, ...]]:
        """Host -> roles of its tasks."""
        return {host: tuple(task.role for task in self.tasks_on(host)) for host in self.hosts}

    def tasks_on(self, host_name: str) -> tuple[Task, ...]:
        """Return the tasks of one host."""
        return tuple(task for task in self.tasks if task.host == host_name)

    @property
    def start_args(self) -> tuple[str, ...]:
        """Arguments of ``start.sh`` after the run's id."""
        return (self.spec.code_path, self.spec.name, self.spec.runtime, *self.spec.data_links)

    @property
    def manifest(self) -> str:
        """``job.json``: the run in one line of JSON. Every host keeps it, so that any computer can resolve the run."""
        facts = {
            "run": self.run_id,
            "job": self.spec.name,
            "framework": self.spec.framework,
            "multi": self.multi,
            "roles": self.roles,
            "outputs": list(self.spec.options.outputs),
            "dashboard": self.dashboard_port,
            # A run on one host has none to lose.
            "min_hosts": self.spec.resources.min_hosts if self.multi else 0,
            "start": list(self.start_args),
        }
        return json.dumps(facts, sort_keys=True)


def build(spec: JobSpec, hosts: Sequence[Host], *, run_id: str, multi: bool, now: datetime) -> JobPlan:
    """Return the plan of a job's run on these hosts.

    :param hosts: all hosts that may take part; a run on one VM uses the first of them.
    :param now: current time, UTC.
    :raises UsageError: the job has no command for that many hosts, or there are too few.
    """
    if not hosts:
        raise UsageError("no VM is up", fix=NextStep("LaunchInstances"))
    check(spec, len(hosts), multi=multi)
    framework, chosen = registry.find(spec.framework), tuple(hosts if multi else hosts[:1])
    command = spec.options.multi if multi else spec.options.single
    # The image's name is a digest of files: computed once here, not by every task.
    env = dict(spec.env)
    if hyperparameters := spec.training.hyperparameters:
        command = managed_options.with_variable(command)
        env[managed_options.VARIABLE] = managed_options.as_options(hyperparameters)
    layout = JobLayout(run_id, chosen, command, now, spec.resources, env, spec.image)
    tasks, files = framework.plan_tasks(layout, multi=multi)
    dashboard_port = framework.dashboard_port(layout, multi=multi)
    return JobPlan(run_id, spec, multi, tuple(tasks), files, dashboard_port)


def check(spec: JobSpec, count: int, *, multi: bool) -> None:
    """Check that a job can be run on a number of hosts.

    :param count: number of hosts that may take part.
    :raises UsageError: it has no command for that, or there are too few.
    """
    if not (spec.options.multi if multi else spec.options.single):
        option = "multi" if multi else "single"
        raise UsageError(f"job.ini has no command for {option}", where=str(spec.folder), fix=f"add {option} = ...")
    if multi:
        _check_host_count(spec, registry.find(spec.framework), count)


def _check_host_count(spec: JobSpec, framework: Framework, count: int) -> None:
    if count < framework.fewest_hosts:
        raise UsageError(
            f"{framework.name} needs {framework.fewest_hosts} VMs, but {count} are up",
            where=str(spec.folder),
            fix=NextStep("LaunchInstances", framework.fewest_hosts - count),
        )
    min_hosts = spec.resources.min_hosts
    if count < min_hosts:
        raise UsageError(
            f"[resources] min_hosts = {min_hosts}, but {count} VMs are up",
            where=str(spec.folder),
            fix=NextStep("LaunchInstances", min_hosts - count) + ", or a smaller min_hosts in job.ini",
        )


def new_run_id(now: datetime) -> str:
    """Return a new run's id: it sorts by time, and its end is short enough to type.

    :param now: current time, UTC.
    """
    # Not `random`: a notebook that seeds it would draw the same ids again.
    return f"{now:%Y%m%d-%H%M%S}-" + "".join(secrets.choice(ID_LETTERS) for _ in range(3))
