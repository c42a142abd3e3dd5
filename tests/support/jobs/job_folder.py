"""A job's folder with a job.ini for every framework, and hosts and plans without any machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.core.clock import REAL_CLOCK
from orchestrator.core.host import Host
from orchestrator.jobs.build import JobPlan, build
from orchestrator.jobs.spec import JobSpec, load

NOW = REAL_CLOCK.now()

DASK = """
[job]
framework = dask
requirements = requirements.txt
data =
    scenes -> data
    s3://bucket/more -> more
single = python go.py
multi = python go.py --scheduler $SCHEDULER
[resources]
threads_per_worker = 3
[env]
LEVEL = 9
"""

DOCKERFILE = "FROM x\nCOPY need.txt extra.txt /job/\nCOPY . .\n"


def example_host(number: int) -> Host:
    """Return a host by its number; nothing listens there."""
    return Host(f"ml-{number}", f"203.0.113.{number}", f"10.0.0.{number}", 22, "ubuntu", Path("key"), "", f"i-{number}")


@pytest.fixture
def job_folder(tmp_path: Path) -> Path:
    """A job's folder with everything its job.ini names."""
    folder = tmp_path / "My Job"
    (folder / "scenes").mkdir(parents=True)
    (folder / "requirements.txt").write_text("dask\n")
    (folder / "job.ini").write_text(DASK)
    return folder


def write_job(folder: Path, framework: str, more: str = "") -> JobSpec:
    """Write and read a job with one command for one VM and for many.

    :param more: lines at the end of its section [resources].
    """
    text = f"[job]\nframework = {framework}\nsingle = python go.py\nmulti = python go.py\n[resources]\nwait = 9\n{more}"
    (folder / "job.ini").write_text(text)
    return load(folder, {})


def plan(spec: JobSpec, count: int, *, run_id: str = "20261120-141203-k3x", multi: bool = True) -> JobPlan:
    """Return the plan of a run on some example hosts."""
    hosts = [example_host(number) for number in range(count)]
    return build(spec, hosts, run_id=run_id, multi=multi, now=NOW)


def write_container_job(folder: Path, text: str = "", **files: str) -> Path:
    """Write the folder of a job whose runtime is docker.

    :param text: more lines of its section [job].
    :param files: content by name, ``__`` for a dot.
    """
    folder.mkdir(exist_ok=True)
    (folder / "job.ini").write_text(f"[job]\nruntime = docker\nsingle = true\n{text}")
    for name, content in ({"Dockerfile": DOCKERFILE} | files).items():
        (folder / name.replace("__", ".")).write_text(content)
    return folder
