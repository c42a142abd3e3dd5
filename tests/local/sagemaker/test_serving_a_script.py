"""Serving a run whose job is not the one of the config: the job comes from the run, and hints work as printed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from localcloud.core.clock import VirtualClock
from localcloud.scenarios.scenario import Scenario
from localcloud.simulation.cloud import InMemoryCloud
from orchestrator.core.errors import StratusError
from orchestrator.interface.console import Console
from orchestrator.interface.shell import prompt_verbs
from orchestrator.interface.verbs.registry import default_registry
from orchestrator.interface.workspace import Workspace
from tests.support.jobs.served_job import PREDICT
from tests.support.simulated_project import SimulatedProject

pytestmark = pytest.mark.slow


class Desk:
    """A user's folder: a script with its predict.py, a config whose job is another one, and the verbs."""

    def __init__(self, project: SimulatedProject, capsys: pytest.CaptureFixture[str]) -> None:
        self.project, self.folder, self.capsys = project, project.folder, capsys

        def open_session(*_: object, **__: object) -> Any:
            return project.session()

        workspace = Workspace(project.folder / "config.ini", Console(), project.clock, session_factory=open_session)
        self.verbs = prompt_verbs.namespace(workspace, default_registry())

    def script(self, name: str, dockerfile: str = "FROM python:3.12-slim\n") -> str:
        """Write a script with a predict.py, and return its path."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        (folder / "train.py").write_text("print('trained')\n")
        (folder / "predict.py").write_text(PREDICT)
        if dockerfile:
            (folder / "Dockerfile").write_text(dockerfile)
        return f"{name}/train.py"

    def train(self, script: str) -> str:
        """Train, fetch as after the end of the job, and return the end of the run's id."""
        self.verbs["TrainOnSageMaker"](script, detach=True, yes=True)
        run = max((self.folder / "runs").iterdir())
        (run / "outputs").mkdir()
        (run / "outputs/model.json").write_text("{}")
        file = run / "record.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "state": "done", "fetched": "2026-11-22T12:00:00"}))
        self.project.clock.sleep(7200)
        return run.name

    def refused(self, verb: str, *arguments: str, **options: Any) -> str:
        """Call a verb that is refused, and return the error."""
        with pytest.raises(StratusError) as caught:
            self.verbs[verb](*arguments, **options)
        return str(caught.value)

    def printed(self) -> str:
        """Return what was printed since the last call."""
        return self.capsys.readouterr().out


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Desk]:
    monkeypatch.chdir(tmp_path)
    cloud = InMemoryCloud(7, Scenario(7, ()), VirtualClock())
    cloud.jobs.behavior = lambda _: (60.0, 0)
    other = tmp_path / "retrieval"
    other.mkdir()
    # Data that does not exist, as of an example whose sample data was not created.
    (other / "job.ini").write_text("[job]\nsingle = python train.py\ndata = data -> data\nsample = python sample.py\n")
    project = SimulatedProject(cloud, tmp_path, cluster=f"[job]\nrun = {other}\n")
    with project.session() as session:
        session.roles.create(session.roles.plan())
    yield Desk(project, capsys)
    cloud.close()


def test_the_job_comes_from_the_run(desk: Desk) -> None:
    run = desk.train(desk.script("mine"))
    desk.verbs["Deploy"](yes=True)
    assert f"run {run[-3:]} of mine" in desk.printed()
    desk.verbs["UpdateEndpoint"](run[-3:], run[-3:], count=2, yes=True)
    assert f"run {run[-3:]} of mine" in desk.printed()
    assert f'UpdateEndpoint("stratus-ml-mine-{run[-3:]}", "{run}")' in desk.refused("Deploy", run[-3:])


def test_an_update_without_a_run_takes_the_newest_of_the_same_job(desk: Desk) -> None:
    first, second = desk.train(desk.script("mine")), desk.train("mine/train.py")
    desk.train(desk.script("mine2"))
    desk.verbs["Deploy"](first, yes=True)
    desk.printed()
    desk.verbs["UpdateEndpoint"](f"stratus-ml-mine-{first[-3:]}", yes=True)

    assert f"run {second[-3:]} of mine as" in desk.printed()


def test_hints_repeat_what_was_typed(desk: Desk) -> None:
    run = desk.train(desk.script("mine"))
    desk.script("mine2")
    assert desk.refused("Deploy", run, job="mine2", max_hours=4) == (
        f'run {run} is of the job mine, not of mine2\n  Deploy("{run}", max_hours=4)  takes mine'
    )
    assert f'Deploy("{run}", job="mine/predict.py", max_hours=8)' in desk.refused(
        "Deploy", run, job="mine/predict.py", max_hours=-1
    )
    assert f'Deploy("{run}", job="mine/predict.py", max_hours=8)' in desk.refused(
        "Deploy", run, job="mine/predict.py", max_hours=10_000
    )


def test_a_run_without_the_place_of_its_job_is_one_line_that_works(desk: Desk) -> None:
    run = desk.train(desk.script("mine"))
    file = desk.folder / "runs" / run / "record.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "job_folder": 7}))

    refusal = desk.refused("Deploy", run)
    assert f'Deploy("{run}", job="mine/predict.py")' in refusal
    desk.verbs["Deploy"](run, job="mine/predict.py", yes=True)
    (desk.folder / "mine").rename(desk.folder / "gone")
    assert f'Deploy("{run}", job="PATH/mine/predict.py")' in desk.refused("Deploy", run)


def test_a_job_without_an_image_is_refused_before_anything_is_created(desk: Desk) -> None:
    run = desk.train(desk.script("mine", dockerfile=""))
    refusal = desk.refused("Deploy", run)

    assert "mine: the job has no image to be served from" in refusal
    assert 'PushImage("mine/predict.py")' in refusal
    assert desk.project.count_calls("CreateModel") == 0
    desk.script("mine")
    desk.verbs["Deploy"](run, yes=True)


def test_the_cloud_serves_no_image_that_nothing_can_have_pushed(desk: Desk) -> None:
    with desk.project.session() as session:
        role = session.roles.plan().arn
        client = session.context.clients.service("sagemaker")
        image = "123456789012.dkr.ecr.us-west-2.amazonaws.com/stratus/mine:e3b0c44298fc"
        with pytest.raises(ClientError, match=r"Requested image .* not found"):
            client.create_model(ModelName="m", PrimaryContainer={"Image": image}, ExecutionRoleArn=role)
