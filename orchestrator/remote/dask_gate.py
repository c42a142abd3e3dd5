"""Waits until a Dask cluster is complete, and closes it after the job; runs on the scheduler's host.

    python dask_gate.py wait|shutdown

From the environment: SCHEDULER (address), STRATUS_WORKERS (host names, comma-separated), STRATUS_WORKERS_PER_HOST,
STRATUS_WAIT (seconds). ``wait`` exits with 0 when all workers are connected and run the same versions.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from distributed import Client  # type: ignore[attr-defined, unused-ignore]

# Tasks and messages between processes are pickled: these versions must agree.
COMPARED_PACKAGES = ("python", "dask", "distributed", "numpy", "msgpack", "cloudpickle")


def missing(client: Client, hosts: list[str], per_host: int) -> list[str]:
    """List the hosts that have fewer than ``per_host`` workers so far."""
    # n_workers=-1: by default, the scheduler lists some of its workers only.
    names = [str(worker["name"]) for worker in client.scheduler_info(n_workers=-1)["workers"].values()]
    # With several workers per host, Dask appends -0, -1, ... to the name of the host.
    counts = Counter(host for name in names for host in hosts if name == host or name.rpartition("-")[0] == host)
    return [host for host in hosts if counts[host] < per_host]


def version_differences(client: Client) -> list[str]:
    """List the packages whose versions differ between the scheduler and its workers."""
    versions: Any = client.get_versions()

    def version(process: dict[str, dict[str, dict[str, str]]], package: str) -> str:
        known = {**process.get("host", {}), **process.get("packages", {})}
        return str(known.get(package))

    processes = [versions["scheduler"], *versions["workers"].values()]
    values_of = {package: sorted({version(process, package) for process in processes}) for package in COMPARED_PACKAGES}
    return [f"{package}: {' / '.join(values)}" for package, values in values_of.items() if len(values) > 1]


def failure() -> str:
    """Return the last line of a scheduler or worker of this host that has ended; empty while both run."""
    folder = Path(os.environ["STRATUS_FOLDER"])
    for role in ("scheduler", "worker"):
        if (folder / "state" / f"{role}.rc").exists():
            lines = (folder / "log" / f"{role}.log").read_text(errors="replace").split("\n")
            return f"the {role} ended: {next((line.strip() for line in reversed(lines) if line.strip()), 'no output')}"
    return ""


def connect(deadline: float) -> Client:
    """Connect to the scheduler, which may still be starting.

    :raises OSError: it does not come up in time, or has ended.
    """
    while True:
        try:
            # Short attempts: between them, a scheduler that has ended is noticed.
            return Client(os.environ["SCHEDULER"], timeout=2)
        except OSError:
            if reason := failure():
                raise OSError(reason) from None
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def wait() -> int:
    """Wait for all workers; print one line with the missing hosts if they do not connect. Return the exit status."""
    hosts = os.environ["STRATUS_WORKERS"].split(",")
    per_host, timeout_s = int(os.environ["STRATUS_WORKERS_PER_HOST"]), float(os.environ["STRATUS_WAIT"])
    started = time.monotonic()
    try:
        client = connect(started + timeout_s)
    except OSError as error:
        waited = time.monotonic() - started
        print(f"dask: no scheduler at {os.environ['SCHEDULER']} after {waited:.0f} s: {error}", flush=True)
        return 1
    with client:
        while absent := missing(client, hosts, per_host):
            if reason := failure():
                print(f"dask: {reason}", flush=True)
                return 1
            if time.monotonic() - started > timeout_s:
                print(
                    f"dask: no worker from {', '.join(absent)} after {timeout_s:.0f} s; see their worker.log",
                    flush=True,
                )
                return 1
            time.sleep(0.1)
        if differences := version_differences(client):
            print(
                f"dask: versions differ between the hosts: {'; '.join(differences)}. install again",
                flush=True,
            )
            return 1
        print(
            f"dask: {len(hosts) * per_host} workers on {len(hosts)} VMs in {time.monotonic() - started:.1f} s",
            flush=True,
        )
    return 0


def shutdown() -> int:
    """Close the scheduler and all workers."""
    try:
        with Client(os.environ["SCHEDULER"], timeout=5) as client:
            client.shutdown()
    except OSError as error:
        print(f"dask: the cluster was closed already: {error}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit({"wait": wait, "shutdown": shutdown}[sys.argv[1]]())
