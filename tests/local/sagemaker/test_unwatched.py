"""What was created on SageMaker and may not be described: that it is billed is said, and what is typed then ends it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from localcloud.core.clock import VirtualClock
from localcloud.scenarios.scenario import Scenario, make_fault
from localcloud.simulation.cloud import InMemoryCloud
from orchestrator.core.errors import CloudRefused, LeftRunning
from orchestrator.interface.console import Console
from orchestrator.interface.shell import prompt_verbs
from orchestrator.interface.verbs.registry import default_registry
from orchestrator.interface.workspace import Workspace
from tests.support.jobs.served_job import RUN_ID, write_job, write_run
from tests.support.simulated_project import SimulatedProject

pytestmark = pytest.mark.slow
METRICS = "[metrics]\nloss = loss=([0-9.]+)\n"


@pytest.fixture
def project(tmp_path: Path) -> Iterator[SimulatedProject]:
    """A project with a job, a fetched run and an execution role, whose jobs take an hour."""
    cloud = InMemoryCloud(7, Scenario(7, ()), VirtualClock())
    cloud.jobs.behavior = lambda _: (3600.0, 0)
    project = SimulatedProject(cloud, tmp_path)
    write_job(tmp_path / "line", METRICS)
    write_run(tmp_path / "runs", "line")
    with project.session() as session:
        session.roles.create(session.roles.plan())
    yield project
    cloud.close()


@pytest.fixture
def verbs(project: SimulatedProject) -> dict[str, Any]:
    """The verbs at a prompt."""

    def open_session(*_: object, **__: object) -> Any:
        return project.session()

    workspace = Workspace(project.folder / "config.ini", Console(), project.clock, session_factory=open_session)
    return prompt_verbs.namespace(workspace, default_registry())


def deny(project: SimulatedProject, action: str = "") -> None:
    """Deny an action from now on; without one allow all."""
    text = f"User: arn:aws:iam::123456789012:user/researcher is not authorized to perform: sagemaker:{action}"
    refusal = make_fault("error", action=action, code="AccessDeniedException", message=text, times=10**6)
    project.cloud.play(Scenario(7, (refusal,) if action else ()))


@pytest.mark.parametrize(
    ("verb", "options", "action", "stop"),
    [
        ("TrainOnSageMaker", {}, "DescribeTrainingJob", "StopTrainingJob"),
        (
            "Tune",
            {"ranges": "lr=0.1,0.2", "objective": "minimize loss", "jobs": 2, "parallel": 2, "strategy": "Random"},
            "DescribeHyperParameterTuningJob",
            "StopHyperParameterTuningJob",
        ),
    ],
)
def test_a_job_that_may_not_be_described_is_billed_and_can_be_canceled(
    project: SimulatedProject, verbs: dict[str, Any], verb: str, options: dict[str, Any], action: str, stop: str
) -> None:
    deny(project, action)
    with pytest.raises(LeftRunning, match="is billed until it ends, and cannot be watched") as caught:
        verbs[verb](str(project.folder / "line"), yes=True, **options)
    text = str(caught.value)
    assert project.cloud.live_managed()
    short = text.partition('Attach("')[2].partition('"')[0]
    assert f'CancelJob("{short}")' in text
    assert f"not allowed to perform sagemaker:{action}" in text
    assert text.count("\n") <= 3, text

    # Also while it may not be described: it is stopped.
    with pytest.raises(LeftRunning, match="is billed until it ends"):
        verbs["CancelJob"](short)
    assert project.count_calls(stop) == 1
    deny(project)
    verbs["CancelJob"](short)
    assert project.cloud.live_managed() == []


def test_an_endpoint_that_may_not_be_described_is_billed_and_can_be_deleted(
    project: SimulatedProject, verbs: dict[str, Any]
) -> None:
    # The plan describes as well: only what follows the creation is denied.
    def deny_after(phase: str, action: str, _: int) -> None:
        if (phase, action) == ("after", "CreateEndpoint"):
            deny(project, "DescribeEndpoint")

    project.cloud.on_call_boundary = deny_after
    with pytest.raises(LeftRunning, match="is billed until it ends, and cannot be watched") as caught:
        verbs["Deploy"](RUN_ID[-3:], job=str(project.folder / "line"), yes=True)
    name = str(caught.value).partition('DeleteEndpoint("')[2].partition('"')[0]
    assert [item.name for item in project.cloud.live_managed()] == [name]

    project.clock.sleep(3600)
    with pytest.raises(CloudRefused):
        verbs["DeleteEndpoint"](name)
    assert project.cloud.live_managed() == []
    deny(project)
    project.clock.sleep(3600)
    with project.session() as session:
        assert session.cluster.status().managed.resources == ()
