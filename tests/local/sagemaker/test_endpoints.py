"""Endpoints and batch transforms of a fetched run, through the services, on the embedded cloud: real predictions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.aws.sagemaker import ownership
from orchestrator.aws.sagemaker.hosting.autoscaling import Scaling
from orchestrator.aws.sagemaker.hosting.requests import Fleet
from orchestrator.core.errors import CloudRefused, JobFailed, StratusError, UsageError
from orchestrator.services.hosting.endpoints import EndpointStatus
from orchestrator.services.hosting.planning import DeployChoices
from orchestrator.services.hosting.transforms import TransformChoices
from orchestrator.session import Session
from tests.support.jobs.served_job import RUN_ID, write_job, write_run
from tests.support.localcloud.clients import boto
from tests.support.localcloud.training_project import prepare
from tests.support.project import Project
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

ROWS = [[1.0], [2.0]]
EXPECTED = [[0.1 * 1.0 + 0.7], [0.1 * 2.0 + 0.7]]
BUCKET = "endpoint-data"
AS_IT_IS = Fleet("", "", 0, 0, 0)


@pytest.fixture(scope="module")
def project(cloud: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Return a project with a role for SageMaker, and a fetched run of the job ``line``."""
    project = prepare(Project(tmp_path_factory.mktemp("desk"), "serving", cloud))
    project.job("single = python work.py\n", work__py="print(1)")
    write_job(project.folder / "line")
    boto(cloud, "s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    with project.session() as session:
        write_run(session.jobs.context.runs_folder, "line")
    yield project
    with project.session("cleaner") as session:
        assert session.cluster.terminate().remaining == ()


@pytest.fixture(scope="module")
def session(project: Project) -> Iterator[Session]:
    with project.session() as session:
        yield session


def choose(project: Project, **options: Any) -> DeployChoices:
    return DeployChoices(RUN_ID[-3:], project.folder / "line", **options)


def deploy(session: Session, project: Project, **options: Any) -> EndpointStatus:
    return session.endpoints.deploy(session.endpoints.plan(choose(project, **options)))


def leftovers(project: Project) -> list[str]:
    """Return the names of everything that hosting has created and not deleted."""
    sagemaker = boto(project.env, "sagemaker")
    prefix = "stratus-serving"
    names = [item["EndpointName"] for item in sagemaker.list_endpoints(NameContains=prefix)["Endpoints"]]
    names += [item["ModelName"] for item in sagemaker.list_models(NameContains=prefix)["Models"]]
    configs = sagemaker.list_endpoint_configs(NameContains=prefix)["EndpointConfigs"]
    return names + [item["EndpointConfigName"] for item in configs]


@pytest.mark.parametrize("mode", ["real-time", "serverless", "asynchronous"])
def test_a_run_is_served_predicts_and_is_gone(session: Session, project: Project, mode: str, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("1\n2\n")
    plan = session.endpoints.plan(choose(project, fleet=Fleet(mode)))
    status = session.endpoints.deploy(plan)

    assert plan.usd_per_hour is not None
    assert (plan.usd_per_hour > 0) == (mode != "serverless")
    assert (status.state, status.mode, status.name) == ("InService", mode, "stratus-serving-line-k3x")
    (resource,) = session.cluster.status().managed.resources
    assert (resource.kind, resource.name, resource.usd_per_hour) == ("endpoint", status.name, plan.usd_per_hour)
    answers = [session.endpoints.predict("k3x", data).value for data in (ROWS, np.array(ROWS))]
    assert [np.asarray(answer).tolist() for answer in answers] == [EXPECTED, EXPECTED]
    assert session.endpoints.predict("k3x", str(tmp_path / "rows.csv")).value == EXPECTED
    assert session.endpoints.delete("").name == status.name
    assert session.endpoints.list() == []
    assert leftovers(project) == []


def test_terminate_all_ends_an_endpoint_that_another_computer_deployed(project: Project) -> None:
    with project.session() as here:
        status = deploy(here, project, name="left")
    with project.session("other computer") as there:
        report = there.cluster.terminate()

    assert [end.resource.name for end in report.managed.ends] == [status.name]
    assert report.remaining == ()
    assert leftovers(project) == []


def test_a_model_that_cannot_be_served_shows_its_last_lines_and_leaves_nothing(
    session: Session, project: Project
) -> None:
    predict = "def load(folder): raise ValueError('no weights')\ndef predict(model, data): return 0\n"
    job = write_job(project.folder / "broken/line", predict=predict)

    with pytest.raises(JobFailed) as caught:
        session.endpoints.deploy(session.endpoints.plan(DeployChoices(RUN_ID, job)))

    assert "did not pass the ping health check" in str(caught.value)
    assert caught.value.tail[-1] == "serve: predict.py cannot load the model: no weights"
    assert leftovers(project) == []
    assert session.cluster.status().managed.resources == ()


def test_an_endpoint_is_updated_and_scaled(session: Session, project: Project) -> None:
    deploy(session, project, fleet=Fleet("serverless"))
    status = session.endpoints.update(session.endpoints.plan_update("k3x", choose(project, fleet=Fleet(count=2))))
    assert (status.mode, status.count, status.state) == ("real-time", 2, "InService")
    assert session.endpoints.predict("k3x", ROWS).value == EXPECTED
    with pytest.raises(UsageError, match="cannot become serverless; only the reverse is possible"):
        session.endpoints.plan_update("k3x", choose(project, fleet=Fleet("serverless")))
    assert session.endpoints.scale("k3x", Scaling(1, 3, 50.0)).scaling == (1, 3)
    with pytest.raises(UsageError, match="is scaled: AWS then changes neither its type nor"):
        session.endpoints.plan_update("k3x", choose(project, fleet=Fleet(instance_type="ml.m5.xlarge")))
    session.endpoints.update(session.endpoints.plan_update("k3x", choose(project, fleet=AS_IT_IS)))
    assert session.endpoints.describe("k3x").count >= 2
    assert session.endpoints.scale("k3x", None).scaling is None
    session.endpoints.delete("k3x")
    assert leftovers(project) == []


def test_aws_has_the_time_at_which_it_deletes_an_endpoint(session: Session, project: Project) -> None:
    status = deploy(session, project, fleet=Fleet("serverless"), max_hours=2.0)
    (schedule,) = boto(project.env, "scheduler").list_schedules()["Schedules"]

    assert (status.reason, schedule["Name"]) == ("", status.name)
    assert status.ends_at is not None
    assert status.created_at is not None
    assert 1.9 < (status.ends_at - status.created_at).total_seconds() / 3600 < 2.1
    session.endpoints.delete("k3x")
    assert boto(project.env, "scheduler").list_schedules()["Schedules"] == []


def test_a_batch_transform_predicts_every_object(session: Session, project: Project) -> None:
    s3 = boto(project.env, "s3")
    for key, text in (("rows/a.csv", "1\n2\n"), ("rows/b.csv", "3\n"), ("rows2/c.csv", "x\n")):
        s3.put_object(Bucket=BUCKET, Key=key, Body=text.encode())

    choices = TransformChoices(f"s3://{BUCKET}/rows", RUN_ID, project.folder / "line")
    plan = session.transforms.plan(choices)
    result = session.transforms.run(plan)

    assert (plan.objects, result.state, result.objects) == (2, "Completed", 2)
    bucket, _, prefix = result.output_url.removeprefix("s3://").partition("/")
    content = s3.get_object(Bucket=bucket, Key=f"{prefix}a.csv.out")["Body"].read()
    assert [[float(line)] for line in content.split()] == EXPECTED
    bad = session.transforms.plan(TransformChoices(f"s3://{BUCKET}/rows2/", RUN_ID, project.folder / "line"))
    with pytest.raises(JobFailed, match="the container answered 400: line 1: 'x' is not a number"):
        session.transforms.run(bad)
    assert leftovers(project) == []


def test_a_batch_transform_is_stopped_at_the_limit_of_time(session: Session, project: Project) -> None:
    boto(project.env, "s3").put_object(Bucket=BUCKET, Key="slow/a.csv", Body=b"1\n")
    job = write_job(project.folder / "slow" / "line", predict="import time\ndef load(folder): time.sleep(3600)\n")

    plan = session.transforms.plan(TransformChoices(f"s3://{BUCKET}/slow", RUN_ID, job))
    with pytest.raises(JobFailed, match=r"the transform is Stopped: stopped after 0\.000278 h: \[cluster\] max_hours"):
        session.transforms.run(replace(plan, limit_s=1.0))

    assert plan.limit_s == session.context.settings.cluster.max_hours * 3600
    assert [entry for entry in session.transforms.log.open_entries() if entry.kind == "transform"] == []
    assert leftovers(project) == []


def failure_of(session: Session) -> str:
    """Return what an error of the model's own code says to do."""
    with pytest.raises(StratusError) as caught:
        session.endpoints.predict("errors", b"1")
    return str(caught.value.fix)


def test_an_answer_that_the_model_refuses_is_one_line(session: Session, project: Project) -> None:
    deploy(session, project, name="errors")
    cases: list[tuple[Any, str]] = [
        ("none.csv", "none.csv: cannot be read: No such file or directory"),
        ({1j}, "set cannot be sent"),
        (np.array([{}], dtype=object), "an array of object cannot be sent: numbers only"),
        (b"1", "stratus-serving-errors: the model answered 500: KeyError: 'bytes'"),
        (b"x" * 6_291_457, "the request has 6,291,457 bytes; a real-time endpoint takes 6,291,456"),
    ]
    for data, message in cases:
        with pytest.raises(StratusError) as caught:
            session.endpoints.predict("errors", data)
        assert message in str(caught.value)
    assert "group /aws/sagemaker/Endpoints/stratus-serving-errors" in failure_of(session)
    # Lines reach CloudWatch a while after the answer.
    wait_until(lambda: "KeyError: 'bytes'" in failure_of(session))
    with pytest.raises(UsageError, match="there is an endpoint stratus-serving-errors already"):
        session.endpoints.plan(choose(project, name="errors"))
    session.endpoints.delete("errors")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"run": "zzz"}, "Runs()  lists yours"),
        ({"name": "a_b"}, "cannot be the name of an endpoint: letters, digits and single hyphens"),
        ({"max_hours": -1.0}, "max_hours = -1: 0 for never, or up to 8760"),
        ({"fleet": Fleet("fast")}, "'fast' is not a way of hosting"),
        ({"fleet": Fleet("serverless", memory_mb=1500)}, "one of 1024, 2048, 3072, 4096, 5120, 6144 MB"),
        ({"fleet": Fleet("serverless", concurrency=500)}, "1 to 200 requests at the same time"),
        ({"fleet": Fleet(count=0)}, "count = 0: an endpoint has at least 1 instance"),
        ({"fleet": Fleet(instance_type="ml.p3.2xlarge")}, "ml.p3.2xlarge is retired"),
        ({"fleet": Fleet(instance_type="m5.large")}, "use ml.m5.large"),
    ],
)
def test_a_deployment_that_cannot_be_is_refused_before_anything_is_created(
    session: Session, project: Project, options: dict[str, Any], message: str
) -> None:
    choices = DeployChoices(**{"run": RUN_ID, "job": project.folder / "line", **options})
    with pytest.raises(UsageError) as caught:
        session.endpoints.plan(choices)

    assert message in str(caught.value)
    assert leftovers(project) == []


def test_more_instances_than_the_quota_are_refused_with_what_to_type(session: Session, project: Project) -> None:
    with pytest.raises(CloudRefused, match=r"ml\.g5\.xlarge for endpoint usage is 20, 30 needed") as caught:
        session.endpoints.plan(choose(project, fleet=Fleet(instance_type="ml.g5.xlarge", count=30)))
    assert "RequestLimitIncrease" in str(caught.value)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("folder", "'folder' is not an S3 prefix"),
        (f"s3://{BUCKET}/nothing", "there are no objects with this prefix"),
        (f"s3://{BUCKET}/mixed/", "the objects are of several types: image/png, text/csv"),
    ],
)
def test_a_transform_that_cannot_be_is_refused(session: Session, project: Project, source: str, message: str) -> None:
    for key in ("mixed/a.csv", "mixed/b.png"):
        boto(project.env, "s3").put_object(Bucket=BUCKET, Key=key, Body=b"1")
    with pytest.raises(UsageError) as caught:
        session.transforms.plan(TransformChoices(source, RUN_ID, project.folder / "line"))
    assert message in str(caught.value)


@pytest.mark.parametrize("kind", ["endpoint", "endpoint-config", "model", "transform-job", "training-job"])
def test_what_was_deleted_after_it_was_listed_has_no_tags(session: Session, kind: str) -> None:
    arn = f"arn:aws:sagemaker:us-west-2:123456789012:{kind}/stratus-serving-gone"

    assert ownership.tags(session.context.clients, arn) == []


def test_the_record_of_a_run_names_its_job(session: Session, project: Project) -> None:
    other = write_job(project.folder / "other")
    with pytest.raises(UsageError, match="is of the job line, not of other"):
        session.endpoints.plan(DeployChoices(RUN_ID, other))
    record = json.loads((session.jobs.context.runs_folder / RUN_ID / "record.json").read_text())
    assert record["job"] == "line"
