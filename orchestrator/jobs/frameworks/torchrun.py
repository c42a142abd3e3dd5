"""torchrun, PyTorch's own launcher: one agent on every host, which meet at the first host's private address.

https://docs.pytorch.org/docs/stable/elastic/run.html; static rendezvous, as the hosts are known.
"""

from __future__ import annotations

from orchestrator.jobs.frameworks import mesh
from orchestrator.jobs.tasks import Files, JobLayout, Task

WRAPPED = 'sh "$STRATUS_FOLDER/bin/torchrun.sh" "$STRATUS_FOLDER"'


def alone(given: JobLayout) -> tuple[list[Task], Files]:
    """All slots of the first host."""
    return [given.task(given.head, "main", WRAPPED)], given.command_file


def many(given: JobLayout) -> tuple[list[Task], Files]:
    """The agent on every host; each is a main task, as each of them knows how its part ended."""
    meeting = {"MASTER_ADDR": given.head.private_address, "MASTER_PORT": str(given.port)}
    tasks = [given.task(host, "main", WRAPPED, meeting) for host in given.hosts]
    return mesh.guarded(given, tasks, given.command_file)
