"""No framework: the command on every host. Rank, size and the hosts' addresses are in its environment."""

from __future__ import annotations

from orchestrator.jobs.tasks import Files, JobLayout, Task


def each(given: JobLayout) -> tuple[list[Task], Files]:
    """The command on every host."""
    return [given.task(host, "main", given.command) for host in given.hosts], {}
