"""MXNet's parameter server: a scheduler on the first host, a server and a worker on every one.

The variables are ps-lite's: https://mxnet.apache.org/versions/1.9.1/api/faq/distributed_training
"""

from __future__ import annotations

from orchestrator.jobs.frameworks import mesh
from orchestrator.jobs.tasks import Files, JobLayout, Task

SCHEDULER = SERVER = "exec python -c 'import mxnet'"
"""What DMLC_ROLE says starts with the import, and ends the process when the job is over."""

WORKER = 'sh "$STRATUS_FOLDER/bin/mxnet_main.sh" "$STRATUS_FOLDER"'


def many(given: JobLayout) -> tuple[list[Task], Files]:
    """Scheduler, servers and workers; the workers are the main tasks."""
    count = str(len(given.hosts))
    meeting = {
        "DMLC_PS_ROOT_URI": given.head.private_address,
        "DMLC_PS_ROOT_PORT": str(given.port),
        "DMLC_NUM_SERVER": count,
        "DMLC_NUM_WORKER": count,
        "STRATUS_WAIT": f"{given.spec.resources.wait:g}",
    }

    def at(number: int, role: str) -> dict[str, str]:
        # Left to itself it takes the first network interface that it finds.
        return meeting | {"DMLC_ROLE": role, "DMLC_NODE_HOST": given.hosts[number].private_address}

    tasks = [given.task(given.head, "scheduler", SCHEDULER, at(0, "scheduler"))]
    for number, host in enumerate(given.hosts):
        tasks += [given.task(host, "server", SERVER, at(number, "server"))]
        tasks += [given.task(host, "main", WORKER, at(number, "worker"))]
    return mesh.guarded(given, tasks, given.command_file)
