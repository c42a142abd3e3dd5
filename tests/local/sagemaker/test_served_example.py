"""The cloud retrieval example, deployed three ways and batch-transformed: predictions have the bits of its run."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.aws.sagemaker.hosting.requests import Fleet
from orchestrator.services.hosting.planning import DeployChoices
from orchestrator.services.hosting.transforms import TransformChoices
from tests.support.examples.example_data import CLOUD_RETRIEVAL, missing_packages
from tests.support.jobs.served_job import RUN_ID
from tests.support.localcloud.clients import boto
from tests.support.localcloud.training_project import prepare
from tests.support.project import Project

MISSING = missing_packages(("numpy", "sklearn", "h5py", "matplotlib", "distributed"))
pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")]

SCENE = "synthetic_00001.hdf5"


def run_example(runs: Path, job: Path) -> Path:
    """Run a copy of the example here, as a fetched run; return its outputs."""
    shutil.copytree(CLOUD_RETRIEVAL, job, ignore=shutil.ignore_patterns("data", "outputs", "__pycache__"))
    outputs, data = runs / RUN_ID / "outputs", job / "data"
    for command in (
        ["synthesize.py", "--scenes", "1", "--size", "72", "--seed", "3", "--out", str(data)],
        ["retrieve.py", "--data", str(data), "--out", str(outputs), "--fast", "--rows", "2000"],
    ):
        subprocess.run([sys.executable, *command], cwd=job, check=True, capture_output=True, timeout=240)
    facts = {"run": RUN_ID, "job": "cloud_retrieval", "state": "done", "fetched": "2026-11-22T12:00:00+00:00"}
    (runs / RUN_ID / "record.json").write_text(json.dumps(facts))
    return outputs


@pytest.fixture
def project(cloud: dict[str, str], tmp_path: Path) -> Iterator[Project]:
    project = prepare(Project(tmp_path, "retrieval", cloud))
    project.job("single = python work.py\n", work__py="print(1)")
    yield project
    with project.session("cleaner") as session:
        assert session.cluster.terminate().remaining == ()


def check_equal(planes: dict[str, Any], outputs: Path) -> None:
    """Compare planes with those of the run, bit for bit."""
    import h5py
    import numpy

    assert "cloud_optical_thickness" in planes
    with h5py.File(outputs / "predictions.h5") as file:
        for name, values in planes.items():
            assert values.dtype == file[SCENE][name].dtype
            assert numpy.array_equal(values, file[SCENE][name][:]), name


def test_predictions_of_every_way_of_hosting_are_those_of_the_run(project: Project, tmp_path: Path) -> None:
    import numpy

    job = tmp_path / "cloud_retrieval"
    data = job / "data"
    with project.session() as session:
        outputs = run_example(session.jobs.context.runs_folder, job)
        for mode in ("real-time", "serverless", "asynchronous"):
            plan = session.endpoints.plan(DeployChoices(RUN_ID, job, fleet=Fleet(mode)))
            name = session.endpoints.deploy(plan).name
            check_equal(session.endpoints.predict(name, data / SCENE, "application/x-npz").value, outputs)
            session.endpoints.delete(name)
        s3 = boto(project.env, "s3")
        s3.create_bucket(Bucket="served-scenes", CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
        s3.put_object(Bucket="served-scenes", Key=f"test/{SCENE}", Body=(data / SCENE).read_bytes())
        choices = TransformChoices("s3://served-scenes/test", RUN_ID, job, accept="application/x-npz")
        result = session.transforms.run(session.transforms.plan(choices))
    bucket, _, prefix = result.output_url.removeprefix("s3://").partition("/")
    content = s3.get_object(Bucket=bucket, Key=f"{prefix}{SCENE}.out")["Body"].read()
    check_equal(dict(numpy.load(io.BytesIO(content))), outputs)
