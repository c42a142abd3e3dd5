"""The role that the tool makes, on an embedded cloud that enforces it: platform and containers have what they need.

moto evaluates actions and resources of a role, but denies what has a condition: here its statements have none.
tests/aws/sagemaker/test_requests.py evaluates those, and what the embedded cloud does without asking: images and logs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from orchestrator.core.errors import JobFailed
from orchestrator.services.hosting.planning import DeployChoices
from orchestrator.services.hosting.transforms import TransformChoices
from orchestrator.services.sagemaker import TrainingChoices
from orchestrator.session import Session
from tests.support.jobs.served_job import RUN_ID, write_job, write_run
from tests.support.localcloud.clients import boto
from tests.support.project import Project

pytestmark = pytest.mark.slow

BUCKET, DATA = "role-data", "s3://role-data/rows/"
JOB = f"data = {DATA} -> rows\n[training]\ncheckpoints = state\n"
WORK = """import os, pathlib
print(os.listdir("rows"))
for name in ("outputs", "state"):
    pathlib.Path(name).mkdir(exist_ok=True)
    pathlib.Path(name, "a").write_text("1")
"""


@pytest.fixture(scope="module")
def project(cloud: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Return a project with data, a job, a fetched run, and no role."""
    project = Project(tmp_path_factory.mktemp("desk"), "roles", cloud)
    s3 = boto(cloud, "s3")
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    s3.put_object(Bucket=BUCKET, Key="rows/a.csv", Body=b"1\n2\n")
    project.job(f"single = python work.py\n{JOB}", work__py=WORK)
    write_job(project.folder / "line")
    yield project
    with project.session("cleaner") as session:
        assert session.cluster.terminate().remaining == ()


def give(project: Project, session: Session, *, but: str = "") -> None:
    """Create the role with its statements, without their conditions and without one of them."""
    plan = session.roles.plan([DATA])
    assert plan.role
    session.roles.create(plan)
    statements = [
        {key: value for key, value in one.items() if key != "Condition"}
        for one in plan.role.permissions["Statement"]
        if one["Sid"] != but
    ]
    document: Any = {"Version": "2012-10-17", "Statement": statements}
    iam = boto(project.env, "iam")
    iam.put_role_policy(RoleName=plan.name, PolicyName="stratus", PolicyDocument=json.dumps(document))


def train(project: Project, session: Session) -> str:
    """Train a job that reads data and writes checkpoints; return its state."""
    handle = session.sagemaker.start(session.sagemaker.plan(TrainingChoices(project.folder / "job")))
    session.runs.follow(handle.run_id, on_line=lambda *_: None, on_hosts=lambda _: None)
    return session.runs.fetch(handle.run_id).state


def test_a_job_an_endpoint_and_a_transform_need_no_more_than_the_role_allows(project: Project) -> None:
    with project.session() as session:
        give(project, session)
        assert train(project, session) == "done"
        write_run(session.jobs.context.runs_folder, "line")
        folder = project.folder / "line"
        session.endpoints.deploy(session.endpoints.plan(DeployChoices(RUN_ID[-3:], folder)))
        assert session.endpoints.predict("k3x", [[1.0]]).value == [[0.1 * 1.0 + 0.7]]
        session.endpoints.delete("")
        result = session.transforms.run(session.transforms.plan(TransformChoices(DATA, RUN_ID[-3:], folder)))
        assert (result.state, result.objects) == ("Completed", 1)


@pytest.mark.parametrize("statement", ["OwnObjects", "ReadInput0", "ListInput0"])
def test_a_job_fails_without_a_statement_of_the_role(project: Project, statement: str) -> None:
    with project.session() as session:
        give(project, session, but=statement)
        with pytest.raises(JobFailed, match=r"AccessDenied|Access Denied|Forbidden"):
            train(project, session)
