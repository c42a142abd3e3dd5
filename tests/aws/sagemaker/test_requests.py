"""Every request that creates or changes something is checked against AWS's own models before it is sent."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from typing import Any

import pytest
from botocore import xform_name

from orchestrator.aws import request_rules
from orchestrator.aws.client import READING
from orchestrator.aws.sagemaker.hosting.autoscaling import Scaling
from orchestrator.aws.sagemaker.hosting.requests import ASYNCHRONOUS, MODES, REAL_TIME, Fleet
from orchestrator.core.errors import UsageError
from orchestrator.services.hosting.planning import DeployChoices
from orchestrator.services.hosting.transforms import TransformChoices
from orchestrator.services.managed import tuning
from orchestrator.services.managed.tuning import TuningChoices
from orchestrator.services.sagemaker import TrainingChoices
from orchestrator.session import Session
from tests.support.aws.iam_policy import Recorder
from tests.support.jobs.served_job import RUN_ID, write_job, write_run
from tests.support.simulated_project import CONFIG, SimulatedProject

BUCKET = "rows"
Path = tuple[str | int, ...]
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
    job = write_job(project.folder / "line", "multi = python train.py\n[metrics]\nloss = loss=([0-9.]+)\n")
    write_run(project.folder / "runs", "line")
    s3 = session.context.clients.s3
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    s3.put_object(Bucket=BUCKET, Key="rows/a.csv", Body=b"1\n")
    session.roles.create(session.roles.plan())
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
    session.transforms.run(session.transforms.plan(TransformChoices(f"s3://{BUCKET}/rows", RUN_ID, job)))
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


@pytest.mark.slow
def test_every_request_of_a_life_that_creates_or_changes_is_checked_before_it_is_sent(
    simulate: Callable[..., SimulatedProject],
) -> None:
    project = simulate()
    project.config = CONFIG + "[sagemaker]\nkeep_alive_minutes = 30\n"
    session = project.session()
    recorder = Recorder(lambda _: {})
    recorder.watch(session.context.clients.session)
    live(project, session)
    names = {"monitoring": "cloudwatch"}
    sent = {call.operation: (names.get(call.service, call.service), call.parameters) for call in recorder.calls}
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
