"""Tasks: one command on one host each, and what a framework is given to make them of."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from orchestrator.core.host import Host
from orchestrator.jobs.spec import JobSpec

Files = dict[str, bytes]


@dataclass(frozen=True)
class Task:
    """One command on one host.

    :param host: name of the host.
    :param role: ``main`` (its exit status is the job's), or a helper that ends with it: ``scheduler``, ``worker``,
        ``server``, ``mesh``.
    :param command: a shell command, run in the run's ``work`` folder.
    :param env: variables on top of the login environment.
    """

    host: str
    role: str
    command: str
    env: dict[str, str]


@dataclass(frozen=True)
class JobLayout:
    """What is to run where.

    :param hosts: that take part, first one first.
    :param command: the job's own, as its ``job.ini`` says it.
    :param run_id: the run's id.
    :param now: current time, UTC: certificates of the run count from it.
    """

    spec: JobSpec
    hosts: tuple[Host, ...]
    command: str
    run_id: str
    now: datetime

    @property
    def head(self) -> Host:
        """The first host."""
        return self.hosts[0]

    @property
    def port(self) -> int:
        """An even port, spread so that two runs on one cluster do not meet; the next one is the run's, too."""
        return 20000 + 2 * (zlib.crc32(self.run_id.encode()) % 5000)

    @property
    def command_file(self) -> Files:
        """The job's command as a file of the run, for frameworks that wrap it."""
        return {"bin/command.sh": (self.command + "\n").encode()}

    def task(self, host: Host, role: str, command: str, extra_env: Mapping[str, str] | None = None) -> Task:
        """Return a task with the variables that every task sees, and more."""
        return Task(host.name, role, command, self.task_env(host) | dict(extra_env or {}))

    def task_env(self, host: Host) -> dict[str, str]:
        """Return the variables that every task sees; the host itself adds STRATUS_FOLDER, _SLOTS and _HOSTFILE."""
        own = {
            "STRATUS_RUN": self.run_id,
            "STRATUS_HOST": host.name,
            "STRATUS_RANK": str(self.hosts.index(host)),
            "STRATUS_SIZE": str(len(self.hosts)),
            "STRATUS_HOSTS": ",".join(each.private_address for each in self.hosts),
            "STRATUS_ADDRESS": host.private_address,
        }
        if self.spec.resources.slots_per_host:
            own["STRATUS_SLOTS"] = str(self.spec.resources.slots_per_host)
        if self.spec.runtime == "docker":
            own["STRATUS_IMAGE"] = self.spec.options.image or self.spec.built_image
        return dict(self.spec.env) | own
