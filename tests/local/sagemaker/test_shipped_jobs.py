"""The shipped jobs train on SageMaker from their unchanged folders, with the metrics of their runs on VMs."""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.errors import StratusError
from orchestrator.jobs.record import RunRecord
from orchestrator.services.hosting.planning import DeployChoices
from orchestrator.services.sagemaker import TrainingChoices
from orchestrator.session import Session
from tests.support.jobs.framework_jobs import TRAINING, needs_horovod, needs_mxnet, needs_torch
from tests.support.localcloud.shipped_jobs import SHIPPED, push_image
from tests.support.localcloud.training_project import prepare
from tests.support.paths import ROOT
from tests.support.project import Project

for package in ("sklearn", "distributed", "netCDF4", "pyhdf", "matplotlib"):
    pytest.importorskip(package, reason=f"the examples need {package}")

pytestmark = pytest.mark.slow
SMALL = "--data data --out outputs --model trees --trees 5 --rows 2000"


@pytest.fixture(scope="module")
def project(cloud: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Return a project with two VMs and a role for training."""
    project = prepare(Project(tmp_path_factory.mktemp("desk"), "shipped", cloud))
    project.job("single = true\n")
    with project.session() as session:
        assert not session.cluster.launch(session.cluster.plan(2)).failed
    yield project
    with project.session("cleaner") as session:
        assert session.cluster.terminate().remaining == ()


def run_on_vms(session: Session, folder: Path, *, multi: bool) -> tuple[list[str], RunRecord]:
    """Run a job on the VMs; return its lines, sorted."""
    lines: list[str] = []
    handle = session.jobs.start(multi=multi, folder=folder)
    session.jobs.follow(handle.run_id, on_line=lambda host, line: lines.append(line))
    return sorted(lines), session.jobs.fetch(handle.run_id)


def train(session: Session, folder: Path, count: int, **choices: Any) -> tuple[list[str], RunRecord]:
    """Train a job on SageMaker; return its lines, sorted."""
    lines: list[str] = []
    handle = session.sagemaker.start(session.sagemaker.plan(TrainingChoices(folder, count, **choices)))
    run_id = handle.run_id
    session.runs.follow(run_id, on_line=lambda host, line: lines.append(line), on_hosts=lambda hosts: None)
    return sorted(lines), session.runs.fetch(run_id)


def copy(name: str, project: Project, change: Callable[[str], str]) -> Path:
    """Copy an example with its data; its job.ini is changed so that it takes seconds."""
    folder = project.folder / name
    ignored = shutil.ignore_patterns("data", "outputs", "__pycache__")
    shutil.copytree(ROOT / "examples" / name, folder, ignore=ignored, dirs_exist_ok=True)
    text = (folder / "job.ini").read_text()
    (folder / "job.ini").write_text(change(text))
    return folder


def numbers(values: Any, path: str = "") -> dict[str, float]:
    """Return the numbers of metrics by their path, without those on the run itself: its times, its workers."""
    if isinstance(values, dict):
        items = [(f"{path}/{name}", item) for name, item in values.items() if name != "run"]
        return {key: number for place, item in items for key, number in numbers(item, place).items()}
    is_number = isinstance(values, int | float) and not isinstance(values, bool)
    return {path: float(values)} if is_number else {}


def differences(record: RunRecord, expected: RunRecord) -> dict[str, tuple[float, float]]:
    """Return the metrics of two runs that differ by more than 1e-6."""
    own, other = numbers(record.metrics), numbers(expected.metrics)
    assert own.keys() == other.keys()
    assert len(own) > 2
    pairs = {name: (own[name], other[name]) for name in own}
    return {name: pair for name, pair in pairs.items() if not math.isclose(*pair, rel_tol=1e-6) and pair[0] == pair[0]}


def test_cloud_retrieval_has_the_metrics_of_its_run_on_vms(project: Project) -> None:
    def small(text: str) -> str:
        text = text.replace("requirements = requirements.txt", f"python = {sys.executable}\nsystem_packages = yes")
        return text.replace("--data data --out outputs --fast", SMALL)

    folder = copy("cloud_retrieval", project, small)
    make = [sys.executable, "synthesize.py", "--out", "data", "--scenes", "2", "--size", "64"]
    subprocess.run(make, cwd=folder, check=True, capture_output=True, timeout=120)
    with project.session() as session:
        _, expected = run_on_vms(session, folder, multi=False)
        for count in (1, 2):
            _, record = train(session, folder, count)
            assert differences(record, expected) == {}


@pytest.mark.parametrize(
    "name",
    [
        "granules",
        pytest.param("images", marks=needs_horovod),
        pytest.param("sensors", marks=needs_horovod),
        pytest.param("mnist_kvstore", marks=needs_mxnet),
    ],
)
def test_a_job_has_the_metrics_of_vms_on_one_instance_and_on_two_and_predicts_as_its_model_does(
    name: str, project: Project
) -> None:
    job = SHIPPED[name]
    on_vms = job.copy(project.folder / f"{name}-vms", prepared=True)
    folder = project.folder / name / job.folder
    file = job.copy(folder, prepared=not job.has_image)
    with project.session() as session:
        if job.has_image:
            push_image(session, file)
        metrics = []
        for count in (1, 2):
            _, expected = run_on_vms(session, on_vms, multi=count == 2)
            _, record = train(session, file, count)
            assert differences(record, expected) == {}
            metrics.append(record.metrics)
        request = project.folder / f"{name}{job.suffix}"
        request.write_bytes(job.request(folder))
        endpoint = session.endpoints.deploy(session.endpoints.plan(DeployChoices(record.run_id, file)))
        accepted = "application/x-npz" if job.suffix == ".zip" else "application/x-npy"
        value = session.endpoints.predict(endpoint.name, request, accepted).value
        session.endpoints.delete(endpoint.name)
    local = job.predict(folder, record.folder / "outputs", request)
    deployed = value if isinstance(value, dict) else {"rows": value}
    assert deployed.keys() == local.keys()
    # Bit for bit, missing values included.
    assert [key for key in local if deployed[key].tobytes() != local[key].tobytes()] == []

    if name == "sensors":
        assert [values["run"]["size"] for values in metrics] == [1, 2]
        # One process and two differ by rounding, which may turn a row over.
        first, second = (values["final"]["target_accuracy"] for values in metrics)
        assert first == pytest.approx(second, abs=0.02)


def sums(project: Project, folder: Path, count: int, needed: str) -> tuple[list[str], list[str]]:
    """Train an example of ten lines; return what its processes print, in order, and the totals that it brings."""
    with project.session() as session:
        try:
            lines, record = train(session, folder, count)
        except StratusError as error:
            if "No matching distribution" in str(error):
                pytest.skip(f"no package index here: {needed}")
            raise
    printed = [line for line in lines if line.startswith(("workers", "rank"))]
    return printed, [path.read_text().strip() for path in record.folder.rglob("total.txt")]


@needs_torch
@pytest.mark.parametrize("count", [1, 2])
def test_torchrun_sums_on_one_instance_and_on_two_with_the_interpreter_that_the_job_names(
    count: int, project: Project
) -> None:
    prepared = f"python = {TRAINING}\nsystem_packages = yes"
    folder = copy("hello_torchrun", project, lambda text: text.replace("requirements = requirements.txt", prepared))

    total = "3" if count == 2 else "1"
    expected = [f"rank {rank} of {count} sum {total}" for rank in range(count)]
    assert sums(project, folder, count, "torch") == (expected, [total])


@pytest.mark.parametrize("count", [1, 2])
def test_dask_sums_on_one_instance_and_from_the_unchanged_folder_on_two(count: int, project: Project) -> None:
    folder = ROOT / "examples" / "hello_dask"
    if count == 1:
        # Its packages are downloaded once, for two instances.
        prepared = f"python = {sys.executable}\nsystem_packages = yes"
        folder = copy("hello_dask", project, lambda text: text.replace("requirements = requirements.txt", prepared))

    assert sums(project, folder, count, "dask") == (["workers 2 total 332833500"], ["332833500"])


@pytest.mark.parametrize("count", [1, 2])
def test_mpi_sums_from_the_unchanged_folder_on_one_instance_and_on_two(count: int, project: Project) -> None:
    total = "3" if count == 2 else "1"
    expected = [f"rank {rank} of {count} sum {total}" for rank in range(count)]
    folder = ROOT / "examples" / "hello_mpi"

    assert sums(project, folder, count, "mpi4py") == (expected, [total])
