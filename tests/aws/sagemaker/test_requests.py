"""Requests of a life with SageMaker: each is checked before it is sent, and the role suffices for what they name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import pytest
from botocore import xform_name

from localcloud.core.clock import VirtualClock
from localcloud.scenarios.scenario import Scenario
from localcloud.simulation.cloud import InMemoryCloud
from orchestrator.aws import request_rules
from orchestrator.aws.client import READING
from orchestrator.aws.sagemaker import roles
from orchestrator.aws.sagemaker.hosting import endpoints, transforms
from orchestrator.aws.sagemaker.hosting.autoscaling import Scaling
from orchestrator.aws.sagemaker.hosting.requests import ASYNCHRONOUS, MODES, REAL_TIME, Fleet
from orchestrator.aws.sagemaker.logs import TRAINING_GROUP
from orchestrator.core.errors import UsageError
from orchestrator.services.hosting.planning import DeployChoices
from orchestrator.services.hosting.transforms import TransformChoices
from orchestrator.services.managed import tuning
from orchestrator.services.managed.tuning import TuningChoices
from orchestrator.services.sagemaker import TrainingChoices
from orchestrator.session import Session
from tests.support.aws.iam_policy import Call, Claim, Policy, Recorder
from tests.support.jobs.served_job import RUN_ID, write_job, write_run
from tests.support.simulated_project import CONFIG, SimulatedProject

BUCKET, DATA = "rows", "s3://rows/rows"
TRAINING = "[training]\ncheckpoints = state\n[metrics]\nloss = loss=([0-9.]+)\n"
SETTINGS = """[sagemaker]
keep_alive_minutes = 30
training_subnets = subnet-0a1b2c3d
training_security_groups = sg-0a1b2c3d
"""
ACCOUNT = "123456789012"
Path = tuple[str | int, ...]
pytestmark = pytest.mark.slow
ENDING = ("Delete", "Deregister", "Stop")
EXPECTED = {
    "CreateTrainingJob",
    "UpdateTrainingJob",
    "CreateHyperParameterTuningJob",
    "CreateModel",
    "CreateEndpointConfig",
    "CreateEndpoint",
    "UpdateEndpoint",
    "CreateTransformJob",
    "RegisterScalableTarget",
    "PutScalingPolicy",
    "PutMetricAlarm",
    "CreateSchedule",
    "CreateRole",
    "PutRolePolicy",
}


def live(project: SimulatedProject, session: Session) -> None:
    """Create a role, train, tune, deploy in each way, update, scale, transform, and end everything."""
    job = write_job(project.folder / "line", f"data = {DATA} -> rows\n{TRAINING}")
    write_run(project.folder / "runs", "line")
    s3 = session.context.clients.s3
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    s3.put_object(Bucket=BUCKET, Key="rows/a.csv", Body=b"1\n")
    session.roles.create(session.roles.plan([DATA]))
    handle = session.sagemaker.start(session.sagemaker.plan(TrainingChoices(job)))
    session.runs.follow(handle.run_id, on_line=lambda *_: None, on_hosts=lambda _: None)
    ranges = "lr=0.1,0.2"
    definition = session.sagemaker.plan(TrainingChoices(job, hyperparameters=tuning.planned_values(ranges)))
    choices = TuningChoices(ranges, "minimize loss", 2, 2, "Random")
    session.tuning.start(session.tuning.plan(definition, choices))
    for mode in MODES:
        planned = session.endpoints.plan(DeployChoices(RUN_ID, job, mode, Fleet(mode), 5.0))
        name = session.endpoints.deploy(planned).name
        if mode == REAL_TIME:
            change = DeployChoices(RUN_ID, job, fleet=Fleet(count=2))
            session.endpoints.update(session.endpoints.plan_update(name, change))
        if mode == ASYNCHRONOUS:
            session.endpoints.scale(name, Scaling(0, 3, 5.0))
    session.transforms.run(session.transforms.plan(TransformChoices(DATA, RUN_ID, job)))
    assert session.cluster.terminate().remaining == ()


def is_refused(pattern: str, text: str) -> bool:
    """Return True if a pattern does not match; those that only Java reads are AWS's own to check."""
    try:
        return bool(pattern) and re.fullmatch(pattern, text, re.DOTALL) is None
    except re.error:
        return False


def wrong_values(shape: Any, value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield the place of each value of a request that AWS limits, and one beyond the limit."""
    limits, enum = shape.metadata, getattr(shape, "enum", None)
    if shape.type_name == "structure":
        for name, item in value.items():
            yield from wrong_values(shape.members[name], item, (*path, name))
    elif shape.type_name == "list":
        for number, item in enumerate(value):
            yield from wrong_values(shape.member, item, (*path, number))
    elif shape.type_name != "map":
        if enum or is_refused(limits.get("pattern", ""), "\0"):
            yield path, "\0"
        if "max" in limits:
            yield path, "x" * (limits["max"] + 1) if isinstance(value, str) else limits["max"] + 1


def replaced(request: Mapping[str, Any], path: Path, value: Any) -> Any:
    """Return a request with another value at a place."""
    copy: Any = deepcopy(dict(request))
    place = copy
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return copy


@dataclass(frozen=True)
class Life:
    """A life that was lived, and its calls.

    :param policy: of the execution role, as it was created.
    """

    project: SimulatedProject
    session: Session
    calls: Sequence[Call]
    policy: Policy

    def requests(self, operation: str) -> list[Mapping[str, Any]]:
        """Return the requests of an operation."""
        found = [call.parameters for call in self.calls if call.operation == operation]
        assert found, operation
        return found


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    cloud = InMemoryCloud(7, Scenario(7, ()), VirtualClock())
    project = SimulatedProject(cloud, tmp_path_factory.mktemp("life"), config=CONFIG + SETTINGS)
    with project.session() as session:
        recorder = Recorder(lambda _: {})
        recorder.watch(session.context.clients.session)
        live(project, session)
        role = roles.current_permissions(session.context.clients, roles.role_name(session.context.cluster_id))
        assert role
        yield Life(project, session, tuple(recorder.calls), Policy(tuple(role["Statement"])))
    cloud.close()


def test_every_request_of_a_life_that_creates_or_changes_is_checked_before_it_is_sent(life: Life) -> None:
    project, session = life.project, life.session
    names = {"monitoring": "cloudwatch"}
    sent = {call.operation: (names.get(call.service, call.service), call.parameters) for call in life.calls}
    sent = {name: call for name, call in sent.items() if call[0] in request_rules.SERVICES}
    changing = {name: call for name, call in sent.items() if name.startswith(request_rules.CHANGING)}
    assert changing.keys() >= EXPECTED
    # What is not checked only reads or ends something.
    assert {name for name in sent if not name.startswith((*READING, *ENDING, *changing))} == set()

    before, refused = len(project.cloud.calls), 0
    for operation, (service, parameters) in changing.items():
        client = session.context.clients.service(service)
        shape = client.meta.service_model.operation_model(operation).input_shape
        wrong = [replaced(parameters, path, value) for path, value in wrong_values(shape, parameters)]
        assert wrong, operation
        for request in wrong:
            with pytest.raises(UsageError) as caught:
                getattr(client, xform_name(operation))(**request)
            assert caught.value.where == operation
        refused += len(wrong)
    assert len(project.cloud.calls) == before
    assert refused > 2 * len(changing)


# -- what SageMaker, and the containers, do with the role
# https://docs.aws.amazon.com/sagemaker/latest/dg/sagemaker-roles.html


def read(url: str) -> Iterator[Claim]:
    """Yield what a download of the objects below a prefix needs."""
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    yield Claim("s3:ListBucket", f"arn:aws:s3:::{bucket}", {"s3:prefix": [prefix]})
    yield Claim("s3:GetObject", f"arn:aws:s3:::{bucket}/{prefix}".rstrip("/") + "/part")


def write(url: str, *actions: str) -> Iterator[Claim]:
    """Yield what an upload below a prefix needs."""
    for action in ("PutObject", *actions):
        yield Claim(f"s3:{action}", f"arn:aws:s3:::{url.removeprefix('s3://').rstrip('/')}/part")


def container(image: str, group: str) -> Iterator[Claim]:
    """Yield what the start of a container, its log and its metrics need."""
    registry, _, name = image.partition("/")
    repository = f"arn:aws:ecr:us-west-2:{registry.partition('.')[0]}:repository/{name.partition(':')[0]}"
    yield Claim("ecr:GetAuthorizationToken", "*")
    for action in ("BatchCheckLayerAvailability", "GetDownloadUrlForLayer", "BatchGetImage"):
        yield Claim(f"ecr:{action}", repository)
    for action in ("CreateLogGroup", "CreateLogStream", "DescribeLogStreams", "PutLogEvents"):
        yield Claim(f"logs:{action}", f"arn:aws:logs:us-west-2:{ACCOUNT}:log-group:{group}:log-stream:host")
    yield Claim("cloudwatch:PutMetricData", "*", {"cloudwatch:namespace": [group]})


def of_training(request: Mapping[str, Any]) -> Iterator[Claim]:
    """Yield what a training job needs."""
    for channel in request["InputDataConfig"]:
        yield from read(channel["DataSource"]["S3DataSource"]["S3Uri"])
    yield from write(f"{request['OutputDataConfig']['S3OutputPath']}/job/output")
    checkpoints = request["CheckpointConfig"]["S3Uri"]
    yield from read(f"{checkpoints}/")
    yield from write(checkpoints, "DeleteObject")
    yield from container(request["AlgorithmSpecification"]["TrainingImage"], TRAINING_GROUP)
    assert request["VpcConfig"]
    kinds = ("NetworkInterfaces", "Vpcs", "DhcpOptions", "Subnets", "SecurityGroups")
    calls = [f"{verb}NetworkInterface{more}" for verb in ("Create", "Delete") for more in ("", "Permission")]
    yield from (Claim(f"ec2:{call}", "*") for call in (*calls, *(f"Describe{kind}" for kind in kinds)))


def of_hosting(life: Life) -> Iterator[Claim]:
    """Yield what models, asynchronous endpoints and transforms need."""
    groups = (f"{endpoints.LOG_GROUP}/name", transforms.LOG_GROUP)
    for request in life.requests("CreateModel"):
        bucket, _, key = request["PrimaryContainer"]["ModelDataUrl"].removeprefix("s3://").partition("/")
        yield Claim("s3:GetObject", f"arn:aws:s3:::{bucket}/{key}")
        for group in groups:
            yield from container(request["PrimaryContainer"]["Image"], group)
    outputs = [item["AsyncInferenceConfig"] for item in life.requests("CreateEndpointConfig") if len(item) > 3]
    assert len(outputs) == 1
    for url in outputs[0]["OutputConfig"].values():
        yield from write(url)
        yield Claim("s3:GetObject", f"arn:aws:s3:::{url.removeprefix('s3://').rpartition('/')[0]}/in/1")
    for request in life.requests("CreateTransformJob"):
        yield from read(request["TransformInput"]["DataSource"]["S3DataSource"]["S3Uri"])
        yield from write(request["TransformOutput"]["S3OutputPath"])


def test_the_role_suffices_for_what_a_life_needs_and_each_of_its_statements_is_needed(life: Life) -> None:
    (tuned,) = life.requests("CreateHyperParameterTuningJob")
    trained = [*life.requests("CreateTrainingJob"), tuned["TrainingJobDefinition"]]
    claims = [*(claim for request in trained for claim in of_training(request)), *of_hosting(life)]
    given = {
        request.get("RoleArn") or request["ExecutionRoleArn"] for request in (*trained, *life.requests("CreateModel"))
    }
    assert given == {roles.role_arn(ACCOUNT, roles.role_name(life.session.context.cluster_id))}
    assert [str(claim) for claim in claims if not life.policy.allowing(claim)] == []

    needed = {one["Sid"] for claim in claims if len(found := life.policy.allowing(claim)) == 1 for one in found}
    assert needed == {one["Sid"] for one in life.policy.statements}
    # No action is allowed that nothing needs.
    assert life.policy.actions == {claim.action for claim in claims}
