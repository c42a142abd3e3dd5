"""Tasks of a run, one command on one host each, and the layout that a framework makes them of."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from orchestrator.config.schema import integer, number, option, text
from orchestrator.core.host import Host

Files = dict[str, bytes]
"""Name below a run's folder -> content."""

FIRST_PORT = 20000
LAST_PORT = 30000


@dataclass(frozen=True)
class ResourceOptions:
    """Layout of a run on several VMs."""

    workers_per_host: int = option(1, integer(1, 256), "dask: worker processes per VM.")
    threads_per_worker: int = option(0, integer(0, 1024), "dask: threads per worker; 0: the VM's cores, divided.")
    memory_per_worker: str = option("", text(), "dask: such as 4GiB; empty: the VM's memory, divided.")
    slots_per_host: int = option(
        0, integer(0, 256), "horovod, torchrun, mpi: processes per VM; 0: one per GPU, or 1 without GPUs."
    )
    min_hosts: int = option(
        0, integer(0, 10_000), "horovod: continue while this many VMs are left; 0: stop when one is lost."
    )
    wait: float = option(120.0, number(0, 3600, "s"), "time to wait for all workers.")


@dataclass(frozen=True)
class Task:
    """One command on one host.

    :param host: name of the host.
    :param role: ``main`` (its exit status is the job's), or a helper that ends with it: ``scheduler``, ``worker``,
        ``server``, ``mesh``, ``guard``.
    :param command: a shell command, run in the run's working directory.
    :param env: variables on top of the login environment.
    """

    host: str
    role: str
    command: str
    env: dict[str, str]


@dataclass(frozen=True)
class JobLayout:
    """One run before it is split into tasks.

    :param run_id: the run's id.
    :param hosts: those that take part, first one first.
    :param command: the job's own, as in its ``job.ini``.
    :param resources: section ``[resources]`` of ``job.ini``.
    :param env: section ``[env]`` of ``job.ini``.
    :param image: container image that tasks run in; empty for a virtual environment.
    :param now: current time, UTC: certificates of the run count from it.
    """

    run_id: str
    hosts: tuple[Host, ...]
    command: str
    now: datetime
    resources: ResourceOptions = field(default_factory=ResourceOptions)
    env: Mapping[str, str] = field(default_factory=dict)
    image: str = ""

    @property
    def head(self) -> Host:
        """The first host."""
        return self.hosts[0]

    @property
    def port(self) -> int:
        """Return an even port; the odd one after it belongs to the run, too."""
        # Derived from the id, so that two runs on one cluster rarely meet and every host gets the same number. The
        # range lies below Linux's ephemeral ports (32768 up), so no outgoing connection holds it.
        return FIRST_PORT + 2 * (zlib.crc32(self.run_id.encode()) % ((LAST_PORT - FIRST_PORT) // 2))

    @property
    def command_file(self) -> Files:
        """The job's command as a file of the run, for frameworks that wrap it."""
        return {"bin/command.sh": (self.command + "\n").encode()}

    @property
    def hostfile(self) -> Files:
        """Private addresses, one per line."""
        return {"hostfile": "".join(f"{host.private_address}\n" for host in self.hosts).encode()}

    @property
    def wait_s(self) -> str:
        """Seconds to wait for all workers, as text for a variable."""
        return f"{self.resources.wait:g}"

    def task(self, host: Host, role: str, command: str, extra_env: Mapping[str, str] | None = None) -> Task:
        """Return a task with the variables of every task, and more."""
        return Task(host.name, role, command, self.task_env(host) | dict(extra_env or {}))

    def task_env(self, host: Host) -> dict[str, str]:
        """Return the variables of every task; the host adds STRATUS_FOLDER, _SLOTS and _HOSTFILE."""
        variables = {
            "STRATUS_RUN": self.run_id,
            "STRATUS_HOST": host.name,
            # Stable over all tasks of a run: frameworks and jobs shard their data by it.
            "STRATUS_RANK": str(self.hosts.index(host)),
            "STRATUS_SIZE": str(len(self.hosts)),
            "STRATUS_HOSTS": ",".join(member.private_address for member in self.hosts),
            "STRATUS_ADDRESS": host.private_address,
        }
        if self.resources.slots_per_host:
            variables["STRATUS_SLOTS"] = str(self.resources.slots_per_host)
        if self.image:
            variables["STRATUS_IMAGE"] = self.image
        return dict(self.env) | variables
