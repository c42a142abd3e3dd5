"""The jobs of docs/jobs.md as pasted, on two hosts; their packages come from the package index."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.core.errors import StratusError
from orchestrator.install.needs import missing_needs
from orchestrator.jobs.spec import load
from tests.support.paths import ROOT
from tests.support.project import Project

EXAMPLE = re.compile(r"<!-- example (\S+) -->\n```\w*\n(.*?)```\n", re.DOTALL)


def paste(name: str, folder: Path) -> Path:
    """Write the files of one job of the page."""
    (folder / name).mkdir(parents=True)
    for path, text in EXAMPLE.findall((ROOT / "docs/jobs.md").read_text(encoding="utf-8")):
        if path.startswith(f"{name}/"):
            (folder / path).write_text(text)
    return folder / name


@pytest.fixture(scope="module")
def project(cloud: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Two running hosts on which nothing is installed."""
    project = Project(tmp_path_factory.mktemp("documented"), "docs", cloud)
    project.job("single = true\n")
    with project.session() as session:
        assert not session.cluster.launch(session.cluster.plan(2)).failed
    yield project
    with project.session("cleaner") as session:
        assert session.cluster.terminate().remaining == ()


@pytest.mark.parametrize("name", ["dask", "mpi"])
def test_a_documented_job_has_what_its_framework_needs(tmp_path: Path, name: str) -> None:
    assert missing_needs(load(paste(name, tmp_path), {})) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "hosts", "expected"),
    # Home folders of process hosts differ, which mpirun cannot handle; those of VMs do not.
    [("dask", (), ["workers 2 total 332833500"]), ("mpi", ("docs-1",), ["rank 0 of 1 sum 0"])],
    ids=["dask", "mpi"],
)
def test_a_documented_job_runs_as_pasted(
    project: Project, name: str, hosts: tuple[str, ...], expected: list[str]
) -> None:
    """The run installs it."""
    lines: list[str] = []
    with project.session() as session:
        try:
            run = session.jobs.start(multi=True, folder=paste(name, project.folder), names=hosts)
        except StratusError as error:
            if "No matching distribution" in str(error):
                pytest.skip("no package index here")
            raise
        session.jobs.follow(run.run_id, on_line=lambda host, line: lines.append(line))

    assert [line for line in sorted(lines) if line.startswith(("workers", "rank"))] == expected
