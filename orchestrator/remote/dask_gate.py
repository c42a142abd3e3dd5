"""Holds a Dask job back until its cluster is whole, and closes the cluster after it; run on the scheduler's host.

    python dask_gate.py wait|shutdown

From the environment: SCHEDULER (address), STRATUS_WORKERS (host names, comma-separated), STRATUS_WORKERS_PER_HOST,
STRATUS_WAIT (seconds). ``wait`` exits 0 when every host's workers are there and all run the same versions.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from distributed import Client  # type: ignore[attr-defined, unused-ignore]

COMPARED = ("python", "dask", "distributed", "numpy", "msgpack", "cloudpickle")


def missing(client: Client, hosts: list[str], each: int) -> list[str]:
    """List the hosts that have fewer than ``each`` workers so far."""
    names = [str(worker["name"]) for worker in client.scheduler_info(n_workers=-1)["workers"].values()]
    seen = Counter(host for name in names for host in hosts if name == host or name.rpartition("-")[0] == host)
    return [host for host in hosts if seen[host] < each]


def disagreements(client: Client) -> list[str]:
    """List the packages whose versions differ between the scheduler and its workers."""
    versions: Any = client.get_versions()

    def of(side: dict[str, dict[str, dict[str, str]]], package: str) -> str:
        facts = {**side.get("host", {}), **side.get("packages", {})}
        return str(facts.get(package))

    sides = [versions["scheduler"], *versions["workers"].values()]
    found = {package: sorted({of(side, package) for side in sides}) for package in COMPARED}
    return [f"{package}: {' / '.join(values)}" for package, values in found.items() if len(values) > 1]


def dead() -> str:
    """Return the last words of a scheduler or worker of this host that ended already; empty while they live."""
    folder = Path(os.environ["STRATUS_FOLDER"])
    for role in ("scheduler", "worker"):
        if (folder / "state" / f"{role}.rc").exists():
            lines = (folder / "log" / f"{role}.log").read_text(errors="replace").split("\n")
            return (
                f"the {role} ended: {next((line.strip() for line in reversed(lines) if line.strip()), 'no word why')}"
            )
    return ""


def connect(deadline: float) -> Client:
    """Connect to the scheduler, which may still be starting.

    :raises OSError: it does not come, or has ended.
    """
    while True:
        try:
            return Client(os.environ["SCHEDULER"], timeout=2)
        except OSError:
            if why := dead():
                raise OSError(why) from None
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def wait() -> int:
    """Wait for all workers; say in one line who is missing when they do not come."""
    hosts = os.environ["STRATUS_WORKERS"].split(",")
    each, seconds = int(os.environ["STRATUS_WORKERS_PER_HOST"]), float(os.environ["STRATUS_WAIT"])
    began = time.monotonic()
    try:
        client = connect(began + seconds)
    except OSError as error:
        waited = time.monotonic() - began
        print(f"dask: no scheduler at {os.environ['SCHEDULER']} after {waited:.0f} s: {error}", flush=True)
        return 1
    with client:
        while absent := missing(client, hosts, each):
            if why := dead():
                print(f"dask: {why}", flush=True)
                return 1
            if time.monotonic() - began > seconds:
                print(
                    f"dask: no worker from {', '.join(absent)} after {seconds:.0f} s; see their worker.log", flush=True
                )
                return 1
            time.sleep(0.1)
        if different := disagreements(client):
            print(
                f"dask: versions differ between the hosts: {'; '.join(different)}. install again",
                flush=True,
            )
            return 1
        print(
            f"dask: {len(hosts) * each} workers on {len(hosts)} hosts in {time.monotonic() - began:.1f} s", flush=True
        )
    return 0


def shutdown() -> int:
    """Close the scheduler and all workers."""
    try:
        with Client(os.environ["SCHEDULER"], timeout=5) as client:
            client.shutdown()
    except OSError as error:
        print(f"dask: the cluster was gone already: {error}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit({"wait": wait, "shutdown": shutdown}[sys.argv[1]]())
