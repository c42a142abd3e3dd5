"""Jobs as plain values: what a ``job.ini`` says, and the commands it becomes on a set of hosts.

Pure: nothing here touches a host. :mod:`orchestrator.runner` starts and follows what :func:`build` returns.
"""

from __future__ import annotations

import json
import shlex
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.errors import UsageError
from orchestrator.hosts import Host
from orchestrator.jobfile import JobSpec
from orchestrator.keys import cluster_tls

__all__ = ["Job", "JobSpec", "Task", "build"]


@dataclass(frozen=True)
class Task:
    """One command on one host.

    :param host: name of the host.
    :param role: ``main`` (its exit status is the job's), ``scheduler`` or ``worker``.
    :param command: a shell command, run in the run's ``work`` folder.
    :param env: variables on top of the login environment.
    """

    host: str
    role: str
    command: str
    env: dict[str, str]


@dataclass(frozen=True)
class Job:
    """One run of a job: tasks with roles, ready to be laid out on the hosts.

    :param run: the run's id, ``20261120-1412-k3``.
    :param spec: what its ``job.ini`` says.
    :param multi: over all hosts, or on the first alone.
    :param tasks: all commands.
    :param files: small files each host gets with the run (name below the run's folder -> content).
    """

    run: str
    spec: JobSpec
    multi: bool
    tasks: tuple[Task, ...]
    files: dict[str, bytes]

    @property
    def hosts(self) -> tuple[str, ...]:
        """Names of the hosts that take part, first one first."""
        return tuple(dict.fromkeys(task.host for task in self.tasks))

    @property
    def mains(self) -> tuple[str, ...]:
        """Names of the hosts whose task decides how the job ended."""
        return tuple(task.host for task in self.tasks if task.role == "main")

    def on(self, host: str) -> tuple[Task, ...]:
        """Return the tasks of one host."""
        return tuple(task for task in self.tasks if task.host == host)

    @property
    def summary(self) -> str:
        """The run in one line of JSON; it lies on every host, so that any shell can find its way back."""
        roles = {host: [task.role for task in self.on(host)] for host in self.hosts}
        facts = {
            "run": self.run,
            "job": self.spec.name,
            "framework": self.spec.framework,
            "multi": self.multi,
            "roles": roles,
            "outputs": list(self.spec.table.outputs),
            "dashboard": _port(self.run) + 1 if "scheduler" in roles[self.hosts[0]] else 0,
        }
        return json.dumps(facts, sort_keys=True)


def build(spec: JobSpec, hosts: Sequence[Host], *, run: str, multi: bool) -> Job:
    """Turn a job into commands for these hosts.

    :param hosts: all hosts of the cluster that shall take part; one VM means the first of them.
    :raises UsageError: when the job has no command for that many hosts.
    """
    if not hosts:
        raise UsageError("no host is up", fix="LaunchInstances()")
    command = spec.table.multi if multi else spec.table.single
    if not command:
        verb = "multi" if multi else "single"
        raise UsageError(f"job.ini names no command for {verb}", where=str(spec.folder), fix=f"add {verb} = ...")
    if multi and spec.framework == "dask":
        tasks, files = _dask(spec, hosts, command, run)
    else:
        chosen = hosts if multi else hosts[:1]
        tasks, files = [Task(host.name, "main", command, _env(spec, chosen, host, run)) for host in chosen], {}
    return Job(run, spec, multi, tuple(tasks), files)


def _env(spec: JobSpec, hosts: Sequence[Host], host: Host, run: str) -> dict[str, str]:
    """Return the variables that every task sees."""
    own = {
        "STRATUS_RUN": run,
        "STRATUS_HOST": host.name,
        "STRATUS_RANK": str(hosts.index(host)),
        "STRATUS_SIZE": str(len(hosts)),
        "STRATUS_HOSTS": ",".join(each.private_address for each in hosts),
        "STRATUS_ADDRESS": host.private_address,
    }
    if spec.runtime == "docker":
        own["STRATUS_IMAGE"] = spec.table.image or spec.built_image
    return dict(spec.env) | own


def _port(run: str) -> int:
    """Return the scheduler's port, spread so that two runs on one cluster do not meet; the dashboard's is next."""
    return 20000 + 2 * (zlib.crc32(run.encode()) % 5000)


def _dask(spec: JobSpec, hosts: Sequence[Host], command: str, run: str) -> tuple[list[Task], dict[str, bytes]]:
    """Scheduler, worker and the job's own command on the first host; a worker on each other one; TLS between all."""
    head, port = hosts[0], _port(run)
    scheduler = f"tls://{head.private_address}:{port}"
    # The names that the certificate is good for; Dask checks the authority, not the name.
    tls = cluster_tls([host.private_address for host in hosts])
    files = {"tls/ca.pem": tls.ca.encode(), "tls/cert.pem": tls.cert.encode(), "tls/key.pem": tls.key.encode()}
    shared = {
        "SCHEDULER": scheduler,
        "STRATUS_WORKERS": ",".join(host.name for host in hosts),
        "STRATUS_WORKERS_PER_HOST": str(spec.resources.workers_per_host),
        "STRATUS_WAIT": f"{spec.resources.wait:g}",
        "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "True",
        # Without it a run that has lost all its workers waits for ever.
        "DASK_DISTRIBUTED__SCHEDULER__NO_WORKERS_TIMEOUT": f"{max(spec.resources.wait, 1):g}s",
    }

    def task(host: Host, role: str, words: str) -> Task:
        return Task(host.name, role, words, _env(spec, hosts, host, run) | shared)

    tasks = [task(head, "scheduler", _scheduler(head, port))]
    tasks += [task(host, "worker", _worker(spec, host, scheduler)) for host in hosts]
    wrapped = 'sh "$STRATUS_FOLDER/bin/dask_main.sh" "$STRATUS_FOLDER" "$STRATUS_FOLDER/bin/command.sh"'
    files["bin/command.sh"] = (command + "\n").encode()
    return [*tasks, task(head, "main", wrapped)], files


def _dask_words(kind: str, options: dict[str, str], *words: str) -> str:
    """Return a ``dask`` command line; through the interpreter, as a shared environment has no scripts of its own."""
    given = [word for name, value in options.items() if value for word in (f"--{name}", value)]
    return shlex.join(["python", "-m", "dask", kind, *words, "--protocol", "tls", *given])


def _scheduler(host: Host, port: int) -> str:
    address = host.private_address
    options = {"host": address, "port": str(port), "dashboard-address": f"{address}:{port + 1}"}
    return _dask_words("scheduler", options)


def _worker(spec: JobSpec, host: Host, scheduler: str) -> str:
    resources = spec.resources
    options = {
        "host": host.private_address,
        # Its pages, too, listen on the private address; left to itself it takes all.
        "dashboard-address": f"{host.private_address}:0",
        "name": host.name,
        "nworkers": str(resources.workers_per_host),
        "nthreads": str(resources.threads_per_worker or ""),
        "memory-limit": resources.memory_per_worker,
        "death-timeout": f"{resources.wait:g}",
        "local-directory": "../scratch",
    }
    return _dask_words("worker", options, scheduler)
