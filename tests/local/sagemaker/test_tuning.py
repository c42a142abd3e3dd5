"""Tuning jobs of the embedded cloud through the services: six training jobs, two at a time, one of which fails."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from orchestrator.core.errors import StratusError
from orchestrator.services.managed.tuning import TuningChoices, planned_values
from orchestrator.services.managed.tuning_runs import TuningTrial
from orchestrator.services.sagemaker import TrainingChoices
from tests.support.localcloud.training_project import prepare
from tests.support.project import Project
from tests.support.simulated_project import SimulatedProject, simulate
from tests.support.waiting import wait_until

__all__ = ["simulate"]

Simulate = Callable[..., SimulatedProject]

WORK = """
import json, pathlib, sys
options = dict(zip(sys.argv[1::2], sys.argv[2::2]))
assert not any(name.startswith("--_") for name in options)
lr, batch = float(options["--lr"]), int(options["--batch"])
pathlib.Path("outputs").mkdir(exist_ok=True)
pathlib.Path("outputs/metrics.json").write_text(json.dumps({"loss": lr * batch}))
if options["--epochs"] != "3" or (lr, batch) == (0.3, 2):
    sys.exit("no convergence")
print(f"loss={lr * batch}")
"""
JOB = """single = python work.py
[hyperparameters]
epochs = 3
lr = 9
batch = 1
[metrics]
loss = loss=([0-9.]+)
"""
GRID = TuningChoices({"lr": [0.1, 0.2, 0.3], "batch": [1, 2]}, "minimize loss", 0, 2, "Grid")


@pytest.mark.slow
def test_six_jobs_with_a_failure_have_a_best_run_and_their_costs_add_up(cloud: dict[str, str], tmp_path: Path) -> None:
    project = prepare(Project(tmp_path, "tuned", cloud))
    job = project.job(JOB, work__py=WORK)
    ended: list[TuningTrial] = []
    with project.session() as session:
        choices = TrainingChoices(job, hyperparameters=planned_values(GRID.ranges))
        plan = session.tuning.plan(session.sagemaker.plan(choices), GRID)
        run_id = session.tuning.start(plan)
        outcome = session.tuning_runs.watch(run_id, ended.append)
        assert outcome.run_id, [(trial.hyperparameters, trial.reason) for trial in outcome.trials]
        with project.session("other computer") as other:
            assert other.tuning_runs.find(run_id) == run_id
            assert [run.state for run in other.runs.runs() if run.run_id == run_id] == ["done"]
            failures = list(other.runs.logs(run_id, host="006"))
            assert other.runs.fetch(run_id).metrics == {"loss": 0.1}
        record = session.runs.fetch(outcome.run_id)
        after = session.cluster.terminate()

    assert (outcome.state, len(outcome.trials), len(ended)) == ("Completed", 6, 6)
    (failed,) = [trial for trial in outcome.trials if trial.state == "Failed"]
    assert failed.hyperparameters == {"lr": "0.3", "batch": "2"}
    assert failed.reason == "no convergence"
    assert failures == [("006", "no convergence")]
    (best,) = [trial for trial in outcome.trials if trial.is_best]
    assert (best.value, best.hyperparameters) == (0.1, {"lr": "0.1", "batch": "1"})
    assert record.metrics == {"loss": 0.1}
    assert outcome.usd == sum((trial.usd or Decimal(0) for trial in outcome.trials), Decimal(0))
    assert outcome.usd
    assert after.remaining == ()


@pytest.mark.slow
def test_terminating_ends_a_tuning_job_and_its_training_jobs(cloud: dict[str, str], tmp_path: Path) -> None:
    project = prepare(Project(tmp_path, "untuned", cloud))
    job = project.job(JOB, work__py="import time; time.sleep(600)")
    with project.session() as session:
        plan = session.tuning.plan(session.sagemaker.plan(TrainingChoices(job)), GRID)
        run_id = session.tuning.start(plan)
        # A status gives up on a service that is slow to answer, and says so.
        wait_until(lambda: "tuning job" in {item.kind for item in session.cluster.status().managed.resources})
    with project.session() as session:
        assert session.cluster.terminate().remaining == ()
        outcome = session.tuning_runs.watch(run_id, lambda _: None)
        assert session.cluster.status().managed.resources == ()

    assert outcome.state == "Stopped"
    assert {trial.state for trial in outcome.trials} <= {"Stopped", "Failed"}


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        (
            TuningChoices({"lr": (0.1, 0.2)}, "minimize loss", 4, 2, "Grid"),
            "lists of values only, and not: lr",
        ),
        (TuningChoices("lr=1,2", "minimize loss", 3, 2, "Grid"), "a grid has 2 combinations"),
        (TuningChoices("lr=0:1:log", "minimize loss", 4, 2), "lr: a range with log begins above 0"),
        (TuningChoices("lr=0:1:reverse-log", "minimize loss", 4, 2), "from 0 to below 1"),
        (TuningChoices("lr=2:1", "minimize loss", 4, 2), "lr: 2 is not below 1"),
        (TuningChoices("lr", "minimize loss", 4, 2), "lr= is not a range"),
        (TuningChoices("lr=0.1:1:exp", "minimize loss", 4, 2), "scaling exp is none of log"),
        (TuningChoices("", "minimize loss", 4, 2), "there are no ranges"),
        (TuningChoices("lr=1,2 lr=3,4", "minimize loss", 4, 2), "each needs one range"),
        (TuningChoices("lr=1,2", "smaller loss", 4, 2), "minimize or maximize"),
        (
            TuningChoices("lr=1,2", "minimize accuracy", 4, 2),
            "'accuracy' is not in .metrics. of job.ini",
        ),
        (TuningChoices("lr=1,2", "minimize loss", 4, 8), "parallel = 8 is more than jobs = 4"),
        (TuningChoices("lr=1,2", "minimize loss", 0, 1), "jobs = 0: at least 1"),
        (TuningChoices("lr=1,2", "minimize loss", 4, 0), "MaxParallelTrainingJobs"),
        (TuningChoices("lr=1,2", "minimize loss", 4, 2, "Anneal"), "strategy = Anneal is none of Bayesian"),
        (TuningChoices("lr=1:2", "minimize loss", 400, 30), "quota too small"),
        (TuningChoices("lr=1:2 epochs=1:9", "minimize loss", 4, 2, "Hyperband"), "epochs = 2 or more"),
    ],
)
def test_a_rule_that_is_broken_is_named_in_one_line(simulate: Simulate, choices: TuningChoices, message: str) -> None:
    project = simulate()
    job = project.folder / "job"
    job.mkdir()
    (job / "job.ini").write_text(f"[job]\n{JOB}")
    with project.session() as session:
        session.roles.create(session.roles.plan())
        definition = session.sagemaker.plan(TrainingChoices(job))
        with pytest.raises(StratusError, match=message) as caught:
            session.tuning.plan(definition, choices)
    assert len(str(caught.value).splitlines()) <= 2
