"""The role of SageMaker's containers and images in ECR, through the services and the verbs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.aws.sagemaker import registry
from orchestrator.core.errors import UsageError
from orchestrator.core.journal import Journal
from orchestrator.install.local_image import managed_name
from orchestrator.services.hosting.planning import DeployChoices
from orchestrator.services.sagemaker import TrainingChoices
from tests.support.jobs.served_job import RUN_ID, write_job, write_run
from tests.support.localcloud.pushed_images import put_image
from tests.support.project import Project
from tests.support.simulated_project import SimulatedProject, simulate

__all__ = ["simulate"]

ECR = "123456789012.dkr.ecr.us-west-2.amazonaws.com"
Simulate = Callable[..., SimulatedProject]


def test_a_role_is_planned_created_and_extended_by_further_data(simulate: Simulate) -> None:
    project = simulate()
    with project.session() as session:
        new = session.roles.plan()
        created = session.roles.create(new)
        same = session.roles.plan()
        more = session.roles.plan(["s3://data/cifar/"])
        session.roles.create(more)
        extended = session.roles.plan(["s3://other/"])
        with pytest.raises(UsageError, match="'data/x' is not data on S3"):
            session.roles.plan(["data/x"])

    assert new.arn == ""
    assert [plan.is_current for plan in (new, created, same, more)] == [False, True, True, False]
    assert created.pass_role["Resource"] == created.arn == same.arn
    assert extended.role is not None
    resources = [statement["Resource"] for statement in extended.role.permissions["Statement"]]
    assert {"arn:aws:s3:::data/cifar/*", "arn:aws:s3:::other/*"} <= set(resources)
    entries = Journal(project.folder / "laptop", project.clock).entries()
    assert [entry.kind for entry in entries] == ["role", "role"]
    assert all(entry.outcome for entry in entries)


def test_data_of_a_role_is_what_its_url_names_and_no_longer_name(simulate: Simulate) -> None:
    project = simulate()
    with project.session() as session:
        with pytest.raises(UsageError, match="My_Bucket is not a name of a bucket"):
            session.roles.plan(["s3://My_Bucket/x"])
        created = session.roles.create(session.roles.plan(["s3://data/x"]))
        assert session.roles.plan(["s3://data/x"]).is_current

    assert created.role is not None
    (statement,) = [item for item in created.role.permissions["Statement"] if item["Sid"] == "ReadInput0"]
    assert statement["Resource"] == ["arn:aws:s3:::data/x", "arn:aws:s3:::data/x/*"]


def test_a_role_of_the_settings_is_never_changed(simulate: Simulate) -> None:
    project = simulate()
    iam = project.cloud.session().client("iam")
    iam.create_role(RoleName="own", AssumeRolePolicyDocument="{}")
    project.config += "[sagemaker]\nrole = own\n"
    with project.session() as session:
        plan = session.roles.plan()
        assert session.roles.create(plan) is plan
        project.config = project.config.replace("role = own", "role = missing")
    with project.session() as session, pytest.raises(UsageError, match="the role missing does not exist"):
        session.roles.plan()

    assert plan.arn.endswith(":role/own")
    assert iam.list_role_policies(RoleName="own")["PolicyNames"] == []


def test_a_pushed_image_is_the_one_that_trains(simulate: Simulate) -> None:
    project = simulate()
    job = project.folder / "job"
    job.mkdir()
    (job / "job.ini").write_text("[job]\nruntime = docker\nimage = python:3.12\nsingle = true\n")
    with project.session() as session:
        session.roles.create(session.roles.plan())
        context = session.context
        with pytest.raises(UsageError, match="not in ECR") as caught:
            session.sagemaker.plan(TrainingChoices(job))
        name = managed_name(session.jobs.load_job(job), session.settings.install)
        image = f"registry/stratus/job@{put_image(context.clients.service('ecr'), name)}"
        entry = context.journal.record_intent(registry.PUSH, name=name, **context.cluster_id.journal_fields)
        context.journal.record_outcome(entry, image=image)
        plan = session.sagemaker.plan(TrainingChoices(job))

    assert "PushImage()" in str(caught.value)
    assert plan.request.image == image


def test_an_image_that_is_not_in_ecr_is_one_line_before_anything_is_created(simulate: Simulate) -> None:
    project = simulate()
    job = write_job(project.folder / "line", f"runtime = docker\nimage = {ECR}/team/job:1\n")
    with project.session() as session:
        session.roles.create(session.roles.plan())
        write_run(session.jobs.context.runs_folder, "line")
        plans: tuple[Callable[[], str], ...] = (
            lambda: session.sagemaker.plan(TrainingChoices(job)).request.image,
            lambda: session.endpoints.plan(DeployChoices(RUN_ID, job)).model.image,
        )
        for plan in plans:
            with pytest.raises(UsageError, match="no repository team/job in ECR") as caught:
                plan()
            assert "correct image in job.ini" in str(caught.value.fix)
        put_image(session.context.clients.service("ecr"), "team/job:1")
        assert [plan() for plan in plans] == [f"{ECR}/team/job:1"] * 2


def test_an_elastic_job_is_refused_on_several_instances(simulate: Simulate) -> None:
    project = simulate()
    job = project.folder / "job"
    job.mkdir()
    lines = "framework = horovod\nsingle = true\nmulti = true\n[resources]\nmin_hosts = 1\n"
    (job / "job.ini").write_text(f"[job]\n{lines}")
    with project.session() as session:
        session.roles.create(session.roles.plan())
        with pytest.raises(UsageError, match="SageMaker ends a job that loses an instance"):
            session.sagemaker.plan(TrainingChoices(job, 2))
        assert session.sagemaker.plan(TrainingChoices(job, 1)).request.count == 1


@pytest.mark.slow
def test_a_job_trains_with_the_role_that_was_made(cloud: dict[str, str], tmp_path: Path) -> None:
    project = Project(tmp_path, "made-role", cloud)
    job = project.job("single = sh -c 'mkdir -p outputs; echo 1 >outputs/x'\n")
    with project.session() as session:
        session.roles.create(session.roles.plan())
        handle = session.sagemaker.start(session.sagemaker.plan(TrainingChoices(job)))
        session.runs.follow(handle.run_id, on_line=lambda *_: None, on_hosts=lambda _: None)
        record = session.runs.fetch(handle.run_id)
        assert session.cluster.terminate().remaining == ()

    assert record.state == "done"
