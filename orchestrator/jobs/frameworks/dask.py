"""Dask: scheduler, worker and the job's own command on the first host, a worker on each other one; TLS between all."""

from __future__ import annotations

import shlex

from orchestrator.core.host import Host
from orchestrator.crypto.tls import generate_cluster_tls
from orchestrator.jobs.frameworks.registry import Framework, Need, TaskPlan
from orchestrator.jobs.tasks import Files, JobLayout

MAIN = 'sh "$STRATUS_FOLDER/bin/dask_main.sh" "$STRATUS_FOLDER" "$STRATUS_FOLDER/bin/command.sh"'


def plan_cluster(layout: JobLayout) -> TaskPlan:
    """Return a Dask cluster, and the job's command as its client."""
    head, resources = layout.head, layout.resources
    scheduler = f"tls://{head.private_address}:{layout.port}"
    env = {
        "SCHEDULER": scheduler,
        "STRATUS_WORKERS": ",".join(host.name for host in layout.hosts),
        "STRATUS_WORKERS_PER_HOST": str(resources.workers_per_host),
        "STRATUS_WAIT": layout.wait_s,
        "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "True",
        # Without it a run that has lost all its workers waits forever.
        "DASK_DISTRIBUTED__SCHEDULER__NO_WORKERS_TIMEOUT": f"{max(resources.wait, 1):g}s",
    }
    tasks = [layout.task(head, "scheduler", _scheduler_command(head, layout.port), env)]
    tasks += [layout.task(host, "worker", _worker_command(layout, host, scheduler), env) for host in layout.hosts]
    return [*tasks, layout.task(head, "main", MAIN, env)], _tls_files(layout) | layout.command_file


def _tls_files(layout: JobLayout) -> Files:
    # Dask checks the authority, not the name; the names keep the certificate valid for tools that do.
    tls = generate_cluster_tls([host.private_address for host in layout.hosts], layout.now)
    return {"tls/ca.pem": tls.ca.encode(), "tls/cert.pem": tls.cert.encode(), "tls/key.pem": tls.key.encode()}


def _dask_command(subcommand: str, options: dict[str, str], *args: str) -> str:
    # Through the interpreter: an environment that shares packages has no scripts of its own.
    flags = [word for name, value in options.items() if value for word in (f"--{name}", value)]
    return shlex.join(["python", "-m", "dask", subcommand, *args, "--protocol", "tls", *flags])


def _scheduler_command(host: Host, port: int) -> str:
    address = host.private_address
    options = {"host": address, "port": str(port), "dashboard-address": f"{address}:{port + 1}"}
    return _dask_command("scheduler", options)


def _worker_command(layout: JobLayout, host: Host, scheduler: str) -> str:
    resources = layout.resources
    options = {
        "host": host.private_address,
        # By default a worker's pages listen on all interfaces, the public one included.
        "dashboard-address": f"{host.private_address}:0",
        "name": host.name,
        "nworkers": str(resources.workers_per_host),
        "nthreads": str(resources.threads_per_worker or ""),
        "memory-limit": resources.memory_per_worker,
        "death-timeout": layout.wait_s,
        "local-directory": "../scratch",
    }
    return _dask_command("worker", options, scheduler)


DISTRIBUTED = Need(
    "distributed",
    ("distributed", "dask[distributed]", "dask[complete]", "dask-ml", "dask-jobqueue", "dask-cuda", "coiled"),
    "add a line  distributed  to requirements.txt",
    only_multi=True,
)

FRAMEWORK = Framework(
    "dask", multi=plan_cluster, scripts=("dask_main.sh", "dask_gate.py"), has_dashboard=True, needs=(DISTRIBUTED,)
)
