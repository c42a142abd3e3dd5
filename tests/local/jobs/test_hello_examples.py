"""The ten-line examples of frameworks, on one host and on two, as files and as docs/jobs.md prints them."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest

from orchestrator.core.errors import StratusError
from orchestrator.install.needs import missing_needs
from orchestrator.jobs.spec import load
from tests.support.jobs.framework_jobs import TRAINING, needs_torch, two_hosts
from tests.support.paths import ROOT
from tests.support.project import Project

EXAMPLE = re.compile(r"<!-- example (\S+) -->\n```\w*\n(.*?)```\n", re.DOTALL)
__all__ = ["two_hosts"]

NAMES = ("hello_dask", "hello_torchrun", "hello_mpi")


def run_example(project: Project, folder: Path, *, multi: bool, hosts: tuple[str, ...] = ()) -> tuple[list[str], str]:
    """Install and run an example; return what its processes print, in order, and its result."""
    lines: list[str] = []
    with project.session() as session:
        try:
            run = session.jobs.start(multi=multi, folder=folder, names=hosts)
        except StratusError as error:
            if "No matching distribution" in str(error):
                pytest.skip("no package index here")
            raise
        session.jobs.follow(run.run_id, on_line=lambda host, line: lines.append(line))
        record = session.jobs.fetch(run.run_id)
    totals = {path.read_text().strip() for path in record.folder.rglob("total.txt")}
    return sorted(line for line in lines if line.startswith(("workers", "rank"))), " ".join(totals)


def copy_example(name: str, project: Project, python: Path) -> Path:
    """Copy an example that uses the packages of an interpreter, which makes the install fast."""
    folder = project.folder / name
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / "examples" / name, folder)
    text = (folder / "job.ini").read_text()
    prepared = f"python = {python}\nsystem_packages = yes"
    (folder / "job.ini").write_text(text.replace("requirements = requirements.txt", prepared))
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_printed_in_the_documentation_and_has_what_its_framework_needs(name: str) -> None:
    printed = dict(EXAMPLE.findall((ROOT / "docs/jobs.md").read_text(encoding="utf-8")))
    folder = ROOT / "examples" / name

    for file in ("job.ini", "requirements.txt", "hello.py"):
        assert printed[f"{name}/{file}"] == (folder / file).read_text(encoding="utf-8")
    assert missing_needs(load(folder, {})) == []
    assert f"examples/{name})" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("multi", [False, True])
def test_dask_sums_on_one_host_and_on_two(two_hosts: Project, multi: bool) -> None:
    folder = copy_example("hello_dask", two_hosts, Path(sys.executable))

    assert run_example(two_hosts, folder, multi=multi) == (["workers 2 total 332833500"], "332833500")


@needs_torch
@pytest.mark.slow
@pytest.mark.parametrize("multi", [False, True])
def test_torchrun_sums_on_one_host_and_on_two(two_hosts: Project, multi: bool) -> None:
    folder = copy_example("hello_torchrun", two_hosts, TRAINING)
    expected = ["rank 0 of 2 sum 3", "rank 1 of 2 sum 3"] if multi else ["rank 0 of 1 sum 1"]

    assert run_example(two_hosts, folder, multi=multi) == (expected, "3" if multi else "1")


@pytest.mark.slow
@pytest.mark.parametrize("multi", [False, True])
def test_mpi_runs_as_it_is_on_one_host(two_hosts: Project, multi: bool) -> None:
    """Its packages come from the package index.

    On one host only: Open MPI's processes on two process hosts share a kernel and connect by 127.0.0.1, where their
    first message may wait for ever. How mpirun reaches both is in test_frameworks.py.
    """
    folder = ROOT / "examples" / "hello_mpi"

    assert run_example(two_hosts, folder, multi=multi, hosts=("fw-1",)) == (["rank 0 of 1 sum 1"], "1")
