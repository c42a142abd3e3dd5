"""A Dask cluster of real processes for tests of the examples: a scheduler and workers, with TLS on all connections."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.support.examples.example_data import ignore_log

DEADLINE = 60.0


def wait_until(condition: Callable[[], Any], description: str) -> Any:
    """Wait until ``condition`` returns a true value, and return that value."""
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.02)
    raise AssertionError(f"not within {DEADLINE:.0f} s: {description}")


class Cluster:
    """A scheduler and its workers: processes in folders of their own, as on hosts of their own; TLS everywhere."""

    def __init__(self, home: Path, data: Path) -> None:
        from distributed.security import Security

        self.home, self.data, self.processes = home, data, contextlib.ExitStack()
        security = Security.temporary()
        pems = {"ca": security.tls_ca_file, "cert": security.tls_worker_cert, "key": security.tls_worker_key}
        self.files = {name: home / f"{name}.pem" for name in pems}
        for name, text in pems.items():
            self.files[name].write_text(text)
        self.scheduler_file = home / "scheduler.json"
        port = ("--host", "tls://127.0.0.1", "--port", "0")
        self.start("scheduler", *port, "--scheduler-file", str(self.scheduler_file))
        self.address = wait_until(self.read_address, "the scheduler has an address")

    def read_address(self) -> str:
        """Return the scheduler's address, or nothing while its file is incomplete."""
        with contextlib.suppress(OSError, ValueError):
            return str(json.loads(self.scheduler_file.read_text())["address"])
        return ""

    def settings(self) -> dict[str, str]:
        """Return Dask's own configuration of TLS."""
        tls = {"distributed.comm.tls.ca-file": str(self.files["ca"])}
        for role in ("scheduler", "worker", "client"):
            tls[f"distributed.comm.tls.{role}.cert"] = str(self.files["cert"])
            tls[f"distributed.comm.tls.{role}.key"] = str(self.files["key"])
        return tls

    def start(self, kind: str, *args: str) -> subprocess.Popen[bytes]:
        """Start a Dask process in a new folder with a link ``data``, configured by its environment alone."""
        folder = Path(self.home, f"host-{len(list(self.home.glob('host-*')))}")
        folder.mkdir()
        (folder / "data").symlink_to(self.data)
        env = {
            f"DASK_{key.upper().replace('.', '__').replace('-', '_')}": text for key, text in self.settings().items()
        }
        command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", "--no-dashboard", *args]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(command, cwd=folder, env=os.environ | env, stdout=log, stderr=log)
        self.processes.callback(kill, process)
        return process

    def start_worker(self, name: str) -> subprocess.Popen[bytes]:
        """Start a worker of one thread."""
        threads = ("--nworkers", "1", "--nthreads", "1", "--no-nanny")
        return self.start("worker", "--scheduler-file", str(self.scheduler_file), "--name", name, *threads)

    def wait_for_workers(self, count: int) -> None:
        """Wait until ``count`` workers have joined."""
        import dask
        from distributed import Client

        with dask.config.set(self.settings()), Client(self.address) as client:
            client.wait_for_workers(count, timeout=DEADLINE)

    @contextlib.contextmanager
    def as_client(self) -> Iterator[None]:
        """Use the cluster's keys, and work in a folder with a link ``data``, as a client on a host does."""
        import dask

        with dask.config.set(self.settings()), contextlib.chdir(self.home / "host-0"):
            yield

    def run(self, pipeline: Any, options: Any, out: Path, log: Callable[[str], None] = ignore_log) -> Any:
        """Run a job's pipeline on this cluster, with the data named relative to the folders of the workers."""
        with self.as_client():
            return pipeline.run(dataclasses.replace(options, data="data", out=out, scheduler=self.address), log)


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and wait for its end."""
    process.kill()
    process.wait(DEADLINE)
