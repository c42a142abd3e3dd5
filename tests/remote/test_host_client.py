"""The module that gives notebooks of a VM a Dask client: it finds the run, or says in a line what is missing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

MODULE = ROOT / "orchestrator/remote/notebooks/host_client.py"
SCHEDULER = "tls://10.0.0.5:8786"
ENDED = 2**22 + 1
"""Above the largest id of a process: no process has it."""


def add_run(home: Path, name: str, *, address: str = SCHEDULER, pid: int = 0, role: str = "worker") -> Path:
    """Write a run as start.sh leaves it on a VM, and return its folder."""
    folder = home / "stratus/runs" / name
    for part in ("task", "state"):
        (folder / part).mkdir(parents=True)
    (folder / "job.json").write_text(json.dumps({"start": ["code/many", "many", "venv"]}))
    (folder / f"task/{role}.env").write_text(f"OTHER='a b'\n{f'SCHEDULER={address}' if address else ''}\n")
    (folder / f"state/{role}.pid").write_text(f"{pid}\n" if pid else "")
    return folder


def last_line(home: Path, call: str = "client()") -> str:
    """Call the module where no package is installed; return the last line of the error."""
    code = f"import sys; sys.path.append({str(MODULE.parent)!r}); import host_client as stratus; stratus.{call}"
    command = [sys.executable, "-I", "-S", "-B", "-c", code]
    done = subprocess.run(command, env=os.environ | {"HOME": str(home)}, capture_output=True, text=True, timeout=60)
    return done.stderr.splitlines()[-1].removeprefix("host_client.NoClient: ")


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        ("client()", "20261122-120000-k4x has ended, and its Dask cluster with it; on your computer, RunMulti"),
        ("client('k4x')", "20261122-120000-k4x has ended, and its Dask cluster with it; on your computer, RunMulti"),
        ("client('k5x')", "20261122-130000-k5x has no Dask cluster; on your computer, Runs() lists all runs"),
        ("client('k9')", "there is no run k9 on this VM; on your computer, Runs() lists all"),
    ],
)
def test_a_run_without_a_cluster_is_one_line(tmp_path: Path, call: str, reason: str) -> None:
    add_run(tmp_path, "20261122-110000-k3x", pid=ENDED)
    add_run(tmp_path, "20261122-120000-k4x", pid=os.getpid()).joinpath("state/worker.rc").write_text("0\n")
    add_run(tmp_path, "20261122-130000-k5x", pid=os.getpid(), address="")

    assert last_line(tmp_path, call).startswith(reason)


def test_the_newest_run_that_works_counts_and_its_version_is_what_to_install(tmp_path: Path) -> None:
    """A worker's VM has no scheduler."""
    folder = add_run(tmp_path, "20261122-110000-k3x", pid=os.getpid())
    add_run(tmp_path, "20261122-120000-k4x", pid=ENDED)
    without_version = last_line(tmp_path)
    (folder / "state/versions.txt").write_text("dask==2026.8.0\ndistributed==2026.8.1\n")

    assert without_version == (
        "distributed is not installed in this kernel: %pip install distributed  and restart the kernel"
    )
    assert "%pip install distributed==2026.8.1  and restart" in last_line(tmp_path, "client('k3x')")


def test_an_address_that_is_no_dask_scheduler_is_not_used(tmp_path: Path) -> None:
    add_run(tmp_path, "20261122-110000-k3x", pid=os.getpid(), address="http://169.254.169.254/")

    assert last_line(tmp_path).startswith("there is no Dask run on this VM; on your computer, RunMulti")
