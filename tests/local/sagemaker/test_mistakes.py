"""Mistakes in the verbs of training and tuning at the prompt: one line each, and nothing is created."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.errors import StratusError
from orchestrator.interface.console import Console
from orchestrator.interface.shell import prompt_verbs
from orchestrator.interface.verbs.registry import default_registry
from orchestrator.interface.workspace import Workspace
from tests.support.simulated_project import SimulatedProject

COMMANDS = "[job]\nsingle = python work.py\nmulti = python work.py\n"
JOB = f"{COMMANDS}[hyperparameters]\nepochs = 3\nlr = 0.1\n[metrics]\nloss = loss=(.*)\n"
MANY = {f"name{number}": number for number in range(101)}
MINIMIZE = {"objective": "minimize loss"}
GRID = {"ranges": "lr=1,2", **MINIMIZE}

TRAINING: dict[str, tuple[dict[str, Any], str]] = {
    "count-0": ({"count": 0}, "count = 0 is not a number of instances"),
    "count-text": ({"count": "two"}, "'two' is not a number of instances"),
    "count-fraction": ({"count": 2.5}, "2.5 is not a number of instances"),
    "count-huge": ({"count": 100_000}, "count = 100000: at most 1000"),
    "count-quota": ({"count": 30}, "is 20, 30 needed"),
    "type-retired": ({"instance_type": "ml.p3.2xlarge"}, "ml.p3.2xlarge is retired: "),
    "type-of-ec2": ({"instance_type": "m5.xlarge"}, "SageMaker's types begin with ml."),
    "type-unknown": ({"instance_type": "ml.m5.xlarg"}, "ml.m5.xlarg is not an instance type for training"),
    "type-number": ({"instance_type": 5}, "instance_type = 5 is not a text"),
    "values-list": ({"hyperparameters": [1]}, r"hyperparameters = \[1\] is not a dictionary"),
    "values-text": ({"hyperparameters": "epochs"}, "hyperparameters = 'epochs': write epochs=2,lr=0.1"),
    "values-json": ({"hyperparameters": "{epochs: 2}"}, "hyperparameters is not JSON: "),
    "values-none": ({"hyperparameters": {"epochs": None}}, "epochs = None is neither a text, a number nor True or"),
    "values-nested": ({"hyperparameters": '{"epochs": [2]}'}, r"epochs = \[2\] is neither a text, a number nor"),
    "type-local": ({"instance_type": "local"}, "local is a type of SageMaker's SDK"),
    "values-name": ({"hyperparameters": {"a b": 1}}, "a b = '1' needs a name of letters"),
    "values-blank": ({"hyperparameters": {"lr": "x y"}}, "lr = 'x y' is not a value"),
    "values-long": ({"hyperparameters": {"lr": "x" * 300}}, "is not a value of 1 to 256"),
    "values-many": ({"hyperparameters": MANY}, "HyperParameters has 103 entries, and AWS takes at most 100"),
    "spot-text": ({"spot": "yes"}, "spot = 'yes' is neither True nor False"),
    "v1-count": ({"train_instance_count": 2}, "train_instance_count of SageMaker's SDK is here: count=2"),
    "v2-role": ({"role": "x"}, r"role of SageMaker's SDK is here: \[sagemaker\] role"),
    "v2-wait": ({"wait": False}, "wait of SageMaker's SDK is here: detach=True"),
}
TUNING: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({}, "objective = ''"),
    "metric": (
        {"ranges": "lr=1,2", "objective": "minimize losss"},
        "'losss' is not in .metrics. of job.ini, which has",
    ),
    "objective-number": ({"ranges": "lr=1,2", "objective": 5}, "objective = 5 is not a text"),
    "ranges-number": ({"ranges": 5, **MINIMIZE}, "ranges = 5 is neither a text nor a dictionary"),
    "ranges-one-value": ({"ranges": {"lr": 5}, **MINIMIZE}, "lr=5 is not a range"),
    "ranges-one-bound": ({"ranges": {"lr": (0.1,)}, **MINIMIZE}, "lr=0.1 is not a range"),
    "ranges-empty": ({"ranges": {"lr": []}, **MINIMIZE}, "lr= is not a range"),
    "ranges-scaling": ({"ranges": {"lr": (1, 2, "cubic")}, **MINIMIZE}, "scaling cubic is none of log"),
    "ranges-blank": ({"ranges": {"lr": ["a b", "c"]}, **MINIMIZE}, "lr = 'a b' is not a value"),
    "ranges-values": ({"ranges": {"lr": [*range(31)]}, **MINIMIZE}, "31 items, and AWS takes at most 30"),
    "ranges-many": ({"ranges": {f"a{n}": [1, 2] for n in range(31)}, **MINIMIZE}, "AWS takes at most 30"),
    "jobs-text": ({**GRID, "jobs": "x"}, "jobs = 'x' is not a whole number"),
    "jobs-negative": ({**GRID, "jobs": -1}, "jobs = -1"),
    "parallel-0": ({**GRID, "parallel": 0}, "MaxParallelTrainingJobs = 0: takes at least 1"),
    "parallel-more": ({**GRID, "jobs": 2, "parallel": 4}, "parallel = 4 is more than jobs = 2"),
    "ranges-name": ({"ranges": "epoch=1:9", **MINIMIZE}, "epoch is not in .* of job.ini. Did you mean epochs"),
    "ranges-other-name": ({"ranges": "width=1:4", **MINIMIZE}, "width is not .* job.ini. It has epochs, lr"),
    "strategy-number": ({**GRID, "strategy": 3}, "strategy = 3 is not a text"),
    "strategy-unknown": ({**GRID, "strategy": "Anneal"}, "strategy = Anneal is none of Bayesian"),
    "v2-jobs": ({**GRID, "max_jobs": 3}, "max_jobs of SageMaker's SDK is here: jobs=3"),
    "v2-ranges": ({"hyperparameter_ranges": {}}, "hyperparameter_ranges of SageMaker's SDK is here: ranges="),
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedProject]:
    """A project with a job and an execution role."""
    from localcloud.core.clock import VirtualClock
    from localcloud.scenarios.scenario import Scenario
    from localcloud.simulation.cloud import InMemoryCloud

    cloud = InMemoryCloud(7, Scenario(7, ()), VirtualClock())
    project = SimulatedProject(cloud, tmp_path_factory.mktemp("mistakes"))
    (project.folder / "job").mkdir()
    (project.folder / "job/job.ini").write_text(JOB)
    with project.session() as session:
        session.roles.create(session.roles.plan())
    yield project
    cloud.close()


@pytest.fixture(scope="module")
def verbs(project: SimulatedProject) -> dict[str, Any]:
    """The verbs at a prompt."""

    def open_session(*_: object, **__: object) -> Any:
        return project.session()

    workspace = Workspace(project.folder / "config.ini", Console(), project.clock, session_factory=open_session)
    return prompt_verbs.namespace(workspace, default_registry())


@pytest.mark.parametrize(("options", "message"), TRAINING.values(), ids=TRAINING)
def test_a_mistake_in_training_is_answered_in_a_line(
    project: SimulatedProject, verbs: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    refuse(verbs["TrainOnSageMaker"], project.folder / "job", options, message)


@pytest.mark.parametrize(("options", "message"), TUNING.values(), ids=TUNING)
def test_a_mistake_in_tuning_is_answered_in_a_line(
    project: SimulatedProject, verbs: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    refuse(verbs["Tune"], project.folder / "job", options, message)
    assert project.count_calls("CreateHyperParameterTuningJob") == 0


def test_a_hint_names_the_job_that_was_named(project: SimulatedProject, verbs: dict[str, Any]) -> None:
    with pytest.raises(StratusError) as caught:
        verbs["TrainOnSageMaker"](str(project.folder / "job"), hyperparameters={"epochs": None})

    assert f'TrainOnSageMaker("{project.folder / "job"}", hyperparameters="epochs=2,lr=0.1")' in str(caught.value)


def refuse(verb: Callable[..., object], job: Path, options: dict[str, Any], message: str) -> None:
    """Check that a call is refused with a message in a line, and at most one of advice."""
    with pytest.raises(StratusError, match=message) as caught:
        verb(str(job), **options)

    assert len(caught.value.message.splitlines()) == 1
    assert len(str(caught.value).splitlines()) <= 2
