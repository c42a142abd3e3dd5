"""TerminateAll and Status with managed resources: no service delays another, and no failed lookup is an end."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from localcloud.scenarios.scenario import Fault, Scenario, make_fault
from orchestrator.aws.managed.sweep import PROBLEM_TIMEOUT_S
from orchestrator.core.errors import StratusError
from orchestrator.services.hosting.planning import DeployChoices
from orchestrator.services.sagemaker import TrainingChoices
from orchestrator.session import Session
from tests.support.jobs.served_job import RUN_ID, write_job, write_run
from tests.support.simulated_project import CONFIG, SimulatedProject

Simulate = Callable[..., SimulatedProject]

CALLS = "ListTrainingJobs,ListHyperParameterTuningJobs,ListEndpoints,ListTransformJobs"
WITH_ROLE = CONFIG + "[sagemaker]\nrole = arn:aws:iam::123456789012:role/stratus-sagemaker-ml-us-west-2\n"
UNANSWERED = (make_fault("dropped", action=CALLS, times=900), make_fault("slow", action=CALLS, times=900, seconds=70))
REFUSED = make_fault("error", action=CALLS, code="AccessDeniedException", message="No.", times=900)


def launched(project: SimulatedProject) -> Session:
    """Launch an instance and return the session."""
    session = project.session()
    session.cluster.launch(session.cluster.plan(1))
    return session


def deploy(project: SimulatedProject) -> None:
    """Create an endpoint from this computer."""
    statement = {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
    trust = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    project.cloud.session().client("iam").create_role(
        RoleName="stratus-sagemaker-ml-us-west-2", AssumeRolePolicyDocument=trust
    )
    job = write_job(project.folder / "line")
    write_run(project.folder / "runs", "line")
    session = project.session()
    session.endpoints.deploy(session.endpoints.plan(DeployChoices(RUN_ID[-3:], job, name="line")))


@pytest.mark.parametrize("fault", UNANSWERED, ids=["dropped", "silent"])
def test_a_service_that_does_not_answer_delays_no_termination_and_is_reported(simulate: Simulate, fault: Fault) -> None:
    project = replace(simulate(), config=WITH_ROLE)
    session = launched(project)
    project.cloud.play(Scenario(7, (fault,)))
    before, start = len(project.cloud.calls), project.cloud.clock.now()

    report = session.cluster.terminate()

    made = [call.action for call in project.cloud.calls[before:]]
    assert made.index("TerminateInstances") < next(index for index, action in enumerate(made) if action in CALLS)
    assert [line.split(":")[0] for line in map(str, report.remaining)] == ["SageMaker"]
    assert project.our_states == []
    assert project.cloud.clock.now() - start < 4 * PROBLEM_TIMEOUT_S


def test_a_status_without_an_answer_of_a_service_names_it_soon(simulate: Simulate) -> None:
    project = replace(simulate(), config=WITH_ROLE)
    session = launched(project)
    project.cloud.play(Scenario(7, (UNANSWERED[1],)))
    start = project.cloud.clock.now()

    managed = session.cluster.status().managed

    assert [service for service, _ in managed.problems] == ["SageMaker"]
    assert project.cloud.clock.now() - start < 30


@pytest.mark.parametrize("fault", [*UNANSWERED, REFUSED], ids=["dropped", "silent", "refused"])
def test_a_service_that_was_never_used_is_no_concern(simulate: Simulate, fault: Fault) -> None:
    project = simulate()
    session = launched(project)
    project.cloud.play(Scenario(7, (fault,)))

    report = session.cluster.terminate()

    assert report.remaining == ()


def test_another_computer_ends_what_this_one_created(simulate: Simulate) -> None:
    project = replace(simulate(), config=WITH_ROLE)
    deploy(project)
    project.config = CONFIG

    report = project.session("another").cluster.terminate()

    assert report.remaining == ()
    assert [end.resource.kind for end in report.managed.ends] == ["endpoint"]
    assert project.cloud.live_managed() == []


def test_a_refused_lookup_does_not_end_the_wait_for_what_others_list(simulate: Simulate) -> None:
    project = replace(simulate(), config=WITH_ROLE)
    deploy(project)
    refused = make_fault("error", action="ListTrainingJobs", code="AccessDeniedException", message="No.", times=900)
    project.cloud.play(Scenario(7, (refused,)))

    report = project.session().cluster.terminate()

    assert [(end.resource.kind, end.error) for end in report.managed.ends] == [("endpoint", "")]
    assert [line.split(":")[0] for line in report.managed.unconfirmed] == ["SageMaker"]


def test_a_service_that_answers_after_some_time_ends_everything(simulate: Simulate) -> None:
    project = replace(simulate(), config=WITH_ROLE)
    deploy(project)
    project.cloud.play(Scenario(7, (make_fault("error", action=CALLS, code="ThrottlingException", times=9),)))

    report = project.session().cluster.terminate()

    assert report.remaining == ()
    assert project.cloud.live_managed() == []


def test_the_end_of_a_launch_names_what_was_made_with_the_cluster(simulate: Simulate) -> None:
    """It stays: other launches may use it."""
    project = replace(simulate(), config=CONFIG + "[file_systems]\nlab = efs at /lab\n")
    session = project.session()
    plan = session.cluster.plan(1)
    session.cluster.launch(plan)

    report = session.cluster.terminate_launch(plan.launch_id)

    assert [resource.kind for resource in report.managed.kept_resources] == ["EFS file system"]
    assert session.cluster.terminate().remaining == ()


UNSEEN = f"{CALLS},DescribeTrainingJob,DescribeHyperParameterTuningJob,DescribeEndpoint,DescribeTransformJob"
DELETED = "DeleteEndpoint,DeleteEndpointConfig,DeleteModel"


def train(project: SimulatedProject) -> str:
    """Start a training job from this computer and return its name."""
    job = project.folder / "job"
    job.mkdir()
    (job / "job.ini").write_text("[job]\nsingle = true\n")
    with project.session() as session:
        plan = session.sagemaker.plan(TrainingChoices(job, 1, "ml.m5.xlarge"))
        session.sagemaker.start(plan)
    return plan.request.name


def denied(action: str, when: str = "always") -> Fault:
    """Return the refusal of calls for which a permission is missing."""
    return make_fault("error", action=action, code="AccessDeniedException", message="No.", times=900, when=when)


def test_what_may_not_be_described_is_ended_by_its_name_in_the_journal_and_reported(simulate: Simulate) -> None:
    project = replace(simulate(), config=WITH_ROLE)
    deploy(project)
    name = train(project)
    assert len(project.cloud.live_managed()) == 2
    session = project.session()
    assert session.account.cost().usd_per_hour == session.cluster.status().managed.usd_per_hour
    project.cloud.play(Scenario(7, (denied(UNSEEN),)))

    report = project.session().cluster.terminate()

    (line,) = map(str, report.remaining)
    assert line.startswith("SageMaker: ")
    assert "not allowed to perform sagemaker:ListHyperParameterTuningJobs" in line
    assert f"the end of {name} stratus-ml-line was requested unseen" in line
    project.cloud.clock.sleep(300)
    assert project.cloud.live_managed() == []
    assert [project.count_calls(action) for action in ("StopTrainingJob", "DeleteEndpoint", "DeleteModel")] == [1] * 3


def test_what_may_neither_be_described_nor_ended_is_named_with_both_refusals(simulate: Simulate) -> None:
    project = replace(simulate(), config=WITH_ROLE)
    deploy(project)
    project.cloud.play(Scenario(7, (denied(f"{UNSEEN},{DELETED}"),)))

    (line,) = map(str, project.session().cluster.terminate().remaining)

    assert "stratus-ml-line: deleting the endpoint stratus-ml-line" in line
    assert "not allowed to perform sagemaker:DeleteEndpoint: No." in line
    assert len(project.cloud.live_managed()) == 1


def test_an_endpoint_that_may_be_of_a_colleague_is_not_deleted_unseen(simulate: Simulate) -> None:
    project = replace(simulate(), config=WITH_ROLE)
    unknown = make_fault("error", action="CreateEndpoint", code="InternalFailure", message="Later.", times=900)
    # The first lookup is that of the plan: the name is free then.
    project.cloud.play(Scenario(7, (unknown, denied("DescribeEndpoint", when="from call 2"))))
    with pytest.raises(StratusError):
        deploy(project)
    project.cloud.play(Scenario(7, (denied(UNSEEN),)))

    (line,) = map(str, project.session().cluster.terminate().remaining)

    assert "whether this computer created the endpoint stratus-ml-line is not known" in line
    assert project.count_calls("DeleteEndpoint") == 0
