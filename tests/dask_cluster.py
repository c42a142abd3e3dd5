"""A Dask cluster of real processes for tests of the examples: a scheduler and its workers, TLS between all."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

DEADLINE = 60.0


def until(fact: Callable[[], Any], what: str) -> Any:
    """Wait for ``fact`` to be true, with a deadline."""
    limit = time.monotonic() + DEADLINE
    while time.monotonic() < limit:
        if found := fact():
            return found
        time.sleep(0.02)
    raise AssertionError(f"not within {DEADLINE:.0f} s: {what}")


class Cluster:
    """A scheduler and its workers, processes that work in folders of their own, as hosts do; TLS between all."""

    def __init__(self, home: Path, data: Path) -> None:
        from distributed.security import Security

        self.home, self.data, self.processes = home, data, contextlib.ExitStack()
        made = Security.temporary()
        pems = {"ca": made.tls_ca_file, "cert": made.tls_worker_cert, "key": made.tls_worker_key}
        self.files = {name: home / f"{name}.pem" for name in pems}
        for name, text in pems.items():
            self.files[name].write_text(text)
        self.contact = home / "scheduler.json"
        self.start("scheduler", "--host", "tls://127.0.0.1", "--port", "0", "--scheduler-file", str(self.contact))
        self.address = until(self.contact_address, "the scheduler has an address")

    def contact_address(self) -> str:
        """The scheduler's address, once its file is complete."""
        with contextlib.suppress(OSError, ValueError):
            return str(json.loads(self.contact.read_text())["address"])
        return ""

    def settings(self) -> dict[str, str]:
        """Dask's own configuration of TLS."""
        tls = {"distributed.comm.tls.ca-file": str(self.files["ca"])}
        for role in ("scheduler", "worker", "client"):
            tls[f"distributed.comm.tls.{role}.cert"] = str(self.files["cert"])
            tls[f"distributed.comm.tls.{role}.key"] = str(self.files["key"])
        return tls

    def start(self, kind: str, *words: str) -> subprocess.Popen[bytes]:
        """A process of Dask in a new folder where ``data`` is linked; configured by the environment alone."""
        place = Path(self.home, f"host-{len(list(self.home.glob('host-*')))}")
        place.mkdir()
        (place / "data").symlink_to(self.data)
        names = {
            f"DASK_{key.upper().replace('.', '__').replace('-', '_')}": text for key, text in self.settings().items()
        }
        command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", "--no-dashboard", *words]
        with (place / "log").open("wb") as log:
            process = subprocess.Popen(command, cwd=place, env=os.environ | names, stdout=log, stderr=log)
        self.processes.callback(ended, process)
        return process

    def worker(self, name: str) -> subprocess.Popen[bytes]:
        """One worker more."""
        words = (
            "--scheduler-file",
            str(self.contact),
            "--name",
            name,
            "--nworkers",
            "1",
            "--nthreads",
            "1",
            "--no-nanny",
        )
        return self.start("worker", *words)

    def joined(self, count: int) -> None:
        """Wait until ``count`` workers are there."""
        import dask
        from distributed import Client

        with dask.config.set(self.settings()), Client(self.address) as client:
            client.wait_for_workers(count, timeout=DEADLINE)

    @contextlib.contextmanager
    def near(self) -> Any:
        """Work as a client does: with the cluster's keys, in a folder where ``data`` is linked."""
        import dask

        with dask.config.set(self.settings()), contextlib.chdir(self.home / "host-0"):
            yield


def ended(process: subprocess.Popen[bytes]) -> None:
    """End a process and wait for it."""
    process.kill()
    process.wait(DEADLINE)
