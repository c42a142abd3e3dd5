"""PushImage() end to end: built by a real engine, pushed with the login of the embedded cloud's ECR, found by a job."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import localcloud
from localcloud.server.registry import Registry
from orchestrator.core.errors import UsageError
from orchestrator.services.sagemaker import TrainingChoices
from tests.support.localcloud.training_project import prepare
from tests.support.project import Project

pytestmark = pytest.mark.slow


@pytest.fixture
def project(registry_program: None, tmp_path: Path) -> Iterator[Project]:
    """A project on a cloud whose ECR is a registry with a login."""
    env = localcloud.up(tmp_path / "cloud", pending=0.4, boot=0.1, bound_to=os.getpid())
    try:
        with Registry(tmp_path / "registry", env, login=True):
            yield prepare(Project(tmp_path, "pushing", env))
    finally:
        localcloud.down(tmp_path / "cloud")


def test_an_image_is_built_pushed_and_found_before_a_training_job(image: str, project: Project) -> None:
    text = "runtime = docker\nsingle = sh -c 'mkdir -p outputs; echo trained >outputs/model'\n"
    job = project.job(text, Dockerfile=f"FROM {image}\nCOPY job.ini /job.ini\n")
    built = f"{project.session().jobs.load_job(job).built_image}"
    try:
        with project.session() as session:
            with pytest.raises(UsageError, match="there is no repository stratus/job in ECR"):
                session.sagemaker.plan(TrainingChoices(job))
            pushed = session.images.push(session.images.plan(job))
            handle = session.sagemaker.start(plan := session.sagemaker.plan(TrainingChoices(job)))
            session.runs.follow(handle.run_id, on_line=lambda *_: None, on_hosts=lambda _: None)
            record = session.runs.fetch(handle.run_id)
            (job / "Dockerfile").write_text(f"FROM {image}\nCOPY job.ini /other.ini\n")
            with pytest.raises(UsageError, match=r"the repository stratus/job has no image [0-9a-f]{12}") as caught:
                session.sagemaker.plan(TrainingChoices(job))
    finally:
        for tag in (built, f"{built}-managed"):
            subprocess.run(["docker", "image", "rm", "-f", tag], capture_output=True, check=False)

    assert "@sha256:" in pushed.image
    assert plan.request.image == pushed.image
    assert str(caught.value.fix) == f'PushImage("{job}")  builds it and pushes it there'
    assert (record.state, (record.folder / "outputs/model").read_text()) == ("done", "trained\n")
