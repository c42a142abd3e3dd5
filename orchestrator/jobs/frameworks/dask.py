"""Dask: scheduler, worker and the job's own command on the first host, a worker on each other one; TLS between all."""

from __future__ import annotations

import shlex

from orchestrator.core.host import Host
from orchestrator.crypto.tls import generate_cluster_tls
from orchestrator.jobs.tasks import Files, JobLayout, Task


def many(given: JobLayout) -> tuple[list[Task], Files]:
    """A Dask cluster, and the job's command as its client."""
    head, port, resources = given.head, given.port, given.spec.resources
    scheduler = f"tls://{head.private_address}:{port}"
    # The names that the certificate is good for; Dask checks the authority, not the name.
    tls = generate_cluster_tls([host.private_address for host in given.hosts], given.now)
    files = {"tls/ca.pem": tls.ca.encode(), "tls/cert.pem": tls.cert.encode(), "tls/key.pem": tls.key.encode()}
    shared = {
        "SCHEDULER": scheduler,
        "STRATUS_WORKERS": ",".join(host.name for host in given.hosts),
        "STRATUS_WORKERS_PER_HOST": str(resources.workers_per_host),
        "STRATUS_WAIT": f"{resources.wait:g}",
        "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "True",
        # Without it a run that has lost all its workers waits for ever.
        "DASK_DISTRIBUTED__SCHEDULER__NO_WORKERS_TIMEOUT": f"{max(resources.wait, 1):g}s",
    }
    tasks = [given.task(head, "scheduler", _scheduler(head, port), shared)]
    tasks += [given.task(host, "worker", _worker(given, host, scheduler), shared) for host in given.hosts]
    wrapped = 'sh "$STRATUS_FOLDER/bin/dask_main.sh" "$STRATUS_FOLDER" "$STRATUS_FOLDER/bin/command.sh"'
    return [*tasks, given.task(head, "main", wrapped, shared)], files | given.command_file


def _words(kind: str, options: dict[str, str], *words: str) -> str:
    """Return a ``dask`` command line; through the interpreter, as a shared environment has no scripts of its own."""
    given = [word for name, value in options.items() if value for word in (f"--{name}", value)]
    return shlex.join(["python", "-m", "dask", kind, *words, "--protocol", "tls", *given])


def _scheduler(host: Host, port: int) -> str:
    address = host.private_address
    options = {"host": address, "port": str(port), "dashboard-address": f"{address}:{port + 1}"}
    return _words("scheduler", options)


def _worker(given: JobLayout, host: Host, scheduler: str) -> str:
    resources = given.spec.resources
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
    return _words("worker", options, scheduler)
