"""Tuning jobs as runs, in virtual time: their state and their cost are the same wherever they are shown."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from localcloud.sagemaker.training.record import TrainingJob
from orchestrator.core.errors import UsageError
from orchestrator.interface.render.sagemaker import training, tuning
from orchestrator.interface.render.units import usd
from orchestrator.services.managed.tuning import TuningChoices, planned_values
from orchestrator.services.sagemaker import TrainingChoices
from orchestrator.session import Session
from tests.support.interface.rendered import rendered
from tests.support.simulated_project import SimulatedProject, simulate

__all__ = ["simulate"]

Simulate = Callable[..., SimulatedProject]
JOB = """[job]
single = python work.py
[hyperparameters]
slope = 2.0
epochs = 3
[metrics]
loss = loss=([0-9.]+)
"""
CHOICES = TuningChoices("slope=1.0:5.0", "minimize loss", jobs=4, parallel=2)


@pytest.fixture
def project(simulate: Simulate) -> SimulatedProject:
    """A project with a job whose runs take ten seconds."""
    project = simulate()
    (project.folder / "job").mkdir()
    (project.folder / "job/job.ini").write_text(JOB)
    project.cloud.jobs.behavior = lambda _: (10.0, 0)
    project.cloud.jobs.lines = lambda job: [f"loss={job.request['HyperParameters']['slope'].strip(chr(34))}"]
    return project


def start(project: SimulatedProject, session: Session, choices: TuningChoices = CHOICES) -> str:
    """Start a tuning job, and return the id of its run."""
    session.roles.create(session.roles.plan())
    values = planned_values(choices.ranges)
    definition = session.sagemaker.plan(TrainingChoices(project.folder / "job", hyperparameters=values))
    return session.tuning.start(session.tuning.plan(definition, choices))


def facts(project: SimulatedProject, run_id: str) -> dict[str, Any]:
    """Return the record of a run."""
    content: dict[str, Any] = json.loads((project.folder / "runs" / run_id / "record.json").read_text())
    return content


def test_the_cost_of_a_tuning_run_is_that_of_all_its_jobs_everywhere(project: SimulatedProject) -> None:
    with project.session() as session:
        run_id = start(project, session)
        outcome = session.tuning_runs.watch(run_id, lambda _: None)
        record = session.runs.fetch(run_id)
        (past,) = session.jobs.history()

    assert outcome.usd == sum((trial.usd or Decimal(0) for trial in outcome.trials), Decimal(0))
    assert outcome.usd
    assert record.cost_usd == outcome.usd
    kept = facts(project, run_id)
    assert kept["cost_usd"] == kept["tuning_job"]["usd"] == str(past.cost_usd)
    assert f"cost {usd(outcome.usd)}  (4 jobs, 4 min in all)" in "\n".join(rendered(record))


def test_a_canceled_tuning_run_is_canceled_everywhere(project: SimulatedProject) -> None:
    with project.session() as session:
        run_id = start(project, session)
        # Two of four have ended.
        project.clock.sleep(200)
        report = session.runs.cancel(run_id)
        record = session.runs.fetch(run_id)
        (listed,) = [run for run in session.runs.runs() if run.run_id == run_id]
        (past,) = session.jobs.history()

    assert not report.failed
    assert {record.state, listed.state, past.state, facts(project, run_id)["state"]} == {"cancelled"}
    assert "  The run was cancelled: these are its outputs so far." in rendered(record)


def test_a_tuning_job_is_stopped_when_its_first_jobs_all_fail(project: SimulatedProject) -> None:
    started: list[str] = []

    def fail(job: TrainingJob) -> tuple[float, int]:
        started.append(job.name)
        return 10.0, 1

    project.cloud.jobs.behavior = fail
    with project.session() as session:
        run_id = start(project, session, TuningChoices("slope=1.0:5.0", "minimize loss", jobs=20, parallel=2))
        outcome = session.tuning_runs.watch(run_id, lambda _: None)
        (listed,) = [run for run in session.runs.runs() if run.run_id == run_id]
        (past,) = session.jobs.history()

    assert len(started) < 8
    assert outcome.state == "Failed"
    assert outcome.reason.startswith("its first ")
    assert f"is stopped: {outcome.reason}" in " ".join(project.warnings)
    assert (listed.state, past.state) == ("failed", "failed")
    assert past.cost_usd == Decimal(facts(project, run_id)["cost_usd"])


def test_one_failure_among_the_first_jobs_stops_nothing(project: SimulatedProject) -> None:
    exits = iter([1, 0])
    project.cloud.jobs.behavior = lambda _: (10.0, next(exits, 0))
    with project.session() as session:
        outcome = session.tuning_runs.watch(start(project, session), lambda _: None)

    assert (outcome.state, len(outcome.trials)) == ("Completed", 4)


@pytest.mark.parametrize("count", [1, 2])
def test_a_training_run_is_billed_by_instances_and_names_no_disks(project: SimulatedProject, count: int) -> None:
    (project.folder / "job/job.ini").write_text(f"{JOB}".replace("single", "multi = true\nsingle"))
    with project.session() as session:
        session.roles.create(session.roles.plan())
        handle = session.sagemaker.start(session.sagemaker.plan(TrainingChoices(Path(project.folder / "job"), count)))
        session.runs.follow(handle.run_id, on_line=lambda *_: None, on_hosts=lambda _: None)
        record = session.runs.fetch(handle.run_id)

    cost = next(line for line in rendered(record) if "cost" in line)
    assert cost.endswith(f"({count} instance{'s' * (count > 1)} x 60.0 s)")


def plan_text(project: SimulatedProject, choices: TuningChoices) -> str:
    """Return the plan of a tuning job as it is shown."""
    with project.session() as session:
        session.roles.create(session.roles.plan())
        values = planned_values(choices.ranges)
        definition = session.sagemaker.plan(TrainingChoices(project.folder / "job", hyperparameters=values))
        return "\n".join(map(str, tuning.plan_lines(session.tuning.plan(definition, choices))))


def test_a_range_is_of_decimals_where_the_jobs_own_value_is_one(project: SimulatedProject) -> None:
    text = plan_text(project, TuningChoices("slope=1:5 epochs=1:9", "minimize loss", jobs=2))

    assert "slope 1 to 5 (decimals)   epochs 1 to 9 (integers)" in text
    assert "2 jobs, 2 at a time" in text


def test_a_misspelled_hyperparameter_is_refused_with_the_call_that_is_meant(project: SimulatedProject) -> None:
    with pytest.raises(UsageError, match="Did you mean slope") as caught:
        plan_text(project, TuningChoices("slpe=1:5:log epochs=3,4", "minimize loss"))

    assert 'ranges="slope=1:5:log epochs=3,4"' in str(caught.value.fix)


def test_the_plan_of_a_training_job_shows_its_command_with_the_hyperparameters(project: SimulatedProject) -> None:
    with project.session() as session:
        session.roles.create(session.roles.plan())
        choices = TrainingChoices(project.folder / "job", hyperparameters={"epochs": "7"})
        text = "\n".join(map(str, training.plan_lines(session.sagemaker.plan(choices))))

    assert "Runs   python work.py --slope 2.0 --epochs 7" in text


def test_the_lines_of_one_training_job_are_found_by_its_number(project: SimulatedProject) -> None:
    with project.session() as session:
        run_id = start(project, session)
        session.tuning_runs.watch(run_id, lambda _: None)
        lines = {host: list(session.runs.logs(run_id, host=host)) for host in ("1", "001")}
        with pytest.raises(UsageError, match="has no training job 009") as caught:
            list(session.runs.logs(run_id, host="9"))
        with pytest.raises(UsageError, match="is a run on SageMaker: this is for runs on VMs"):
            session.jobs.dashboard(run_id[-3:])
        with pytest.raises(UsageError, match="is a run on SageMaker: a waterfall is of runs on VMs"):
            session.waterfalls.waterfall(run_id)
        with pytest.raises(UsageError, match=r"^no run nope") as unknown:
            session.runs.fetch("nope")

    assert lines["1"] == lines["001"]
    assert [name for name, _ in lines["1"]] == ["001"]
    assert str(caught.value.fix) == "its training jobs: 001, 002, 003, 004"
    assert str(unknown.value.fix) == "Runs() lists them"
