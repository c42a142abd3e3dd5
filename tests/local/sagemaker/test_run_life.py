"""Training jobs that end badly, are stopped, limited or interrupted: status, statuses in order, reason, lines, bill."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from localcloud.scenarios.scenario import Fault, Scenario, make_fault
from localcloud.server import control_client
from orchestrator.config.settings import Settings
from orchestrator.core.errors import JobFailed
from orchestrator.services.sagemaker import TrainingChoices
from tests.support.localcloud.training_project import prepare
from tests.support.project import Project

pytestmark = pytest.mark.slow

COMMANDS = "single = python work.py\nmulti = python work.py\n"
WORK = """
import os, pathlib, sys, time
pathlib.Path("outputs").mkdir(exist_ok=True)
pathlib.Path("outputs/half").write_text("x")
print("begins", flush=True)
if sys.argv[1:] == ["--rank", os.environ["STRATUS_RANK"]]:
    sys.exit("no data here")
time.sleep(600)
"""
STEPS = """
import pathlib, time
file = pathlib.Path("steps/last")
has_begun = file.exists()
file.write_text("1")
print("goes on" if has_begun else "begins", flush=True)
if not has_begun:
    time.sleep(600)
"""
PIPED = """
import os
for epoch in range(2):
    print("epoch", epoch, open(f"data_{epoch}").read().split(), flush=True)
"""
RUNNING = ["Starting", "Downloading", "Training"]


@pytest.fixture(scope="module")
def project(cloud: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Return a project with a role for training."""
    project = prepare(Project(tmp_path_factory.mktemp("life"), "life", cloud))
    yield project
    with project.session("cleaner") as session:
        assert session.cluster.terminate().remaining == ()


@contextmanager
def scenario(project: Project, *faults: Fault) -> Iterator[None]:
    """Inject faults into the project's cloud while the block runs."""
    url = project.env["AWS_ENDPOINT_URL"]
    control_client.play(url, Scenario(7, faults))
    try:
        yield
    finally:
        control_client.play(url, Scenario(7, ()))


def facts_of(folder: Path) -> dict[str, Any]:
    """Return what the record of a run tells of its training job."""
    facts: dict[str, Any] = json.loads((folder / "record.json").read_text())["training_job"]
    return facts


@pytest.mark.parametrize(
    ("count", "text", "expected"),
    [
        (2, "[hyperparameters]\nrank = 1\n", ("failed", 1, "job on algo-2", "no data here", "Failed")),
        (1, "max_hours = 0.0007\n", ("timeout", None, "job on SageMaker", "Terminated", "MaxRuntimeExceeded")),
    ],
    ids=["one of two hosts fails", "limit of time"],
)
def test_a_run_that_ends_badly_tells_why_and_nothing_of_it_is_billed(
    project: Project, count: int, text: str, expected: tuple[Any, ...]
) -> None:
    state, status, where, last_line, secondary = expected
    job = project.job(COMMANDS + text, work__py=WORK)
    with project.session() as session:
        handle = session.sagemaker.start(session.sagemaker.plan(TrainingChoices(job, count)))
        with pytest.raises(JobFailed) as caught:
            session.runs.follow(handle.run_id, on_line=lambda host, line: None, on_hosts=lambda _: None)
        assert session.cluster.status().managed.resources == ()

    failure, facts = caught.value, facts_of(handle.folder)
    assert (failure.state, failure.exit_status, failure.where) == (state, status, where)
    assert failure.tail[0] == "begins"
    assert failure.tail[-1] == last_line
    stopping = ["Stopping"] if state == "timeout" else []
    assert facts["secondary_statuses"] == [*RUNNING, *stopping, "Uploading", secondary]
    assert list((handle.folder / "outputs").rglob("half"))
    assert json.loads((handle.folder / "record.json").read_text())["cost_usd"]


def test_an_interrupted_spot_job_continues_from_its_checkpoint_and_tells_what_it_saved(project: Project) -> None:
    job = project.job(f"{COMMANDS}[training]\ncheckpoints = steps\n", work__py=STEPS)
    lines: list[str] = []
    interrupt = make_fault("spot-interruption", when="0.1 s after running", where="ml.c5.xlarge", times=1)

    def heard(_: str, line: str) -> None:
        lines.append(line)
        if line == "begins":
            control_client.play(project.env["AWS_ENDPOINT_URL"], Scenario(7, (interrupt,)))

    with scenario(project), project.session() as session:
        plan = session.sagemaker.plan(TrainingChoices(job, 1, "ml.c5.xlarge", is_spot=True))
        run_id = session.sagemaker.start(plan).run_id
        session.runs.follow(run_id, on_line=heard, on_hosts=lambda _: None)
        facts = facts_of(session.runs.fetch(run_id).folder)

    assert lines[0] == "begins"
    assert lines[-1] == "goes on"
    assert facts["secondary_statuses"] == [*RUNNING, "Interrupted", *RUNNING, "Uploading", "Completed"]
    assert facts["billable_seconds"] < facts["training_seconds"]
    assert any(event.text.endswith(f"{facts['saved_percent']:g}% saved") for event in project.events)


def test_the_lines_of_a_log_that_may_not_be_read_come_with_the_results(project: Project) -> None:
    job = project.job(f"{COMMANDS}[hyperparameters]\nrank = 0\n", work__py=WORK)
    project.events.clear()
    denied = make_fault("denied", action="logs:*")
    with scenario(project, denied), project.session() as session:
        handle = session.sagemaker.start(session.sagemaker.plan(TrainingChoices(job)))
        with pytest.raises(JobFailed) as caught:
            session.runs.follow(handle.run_id, on_line=lambda host, line: None, on_hosts=lambda _: None)

    assert caught.value.tail == ("begins", "no data here")
    (warning,) = [event.text for event in project.events if event.state == "warning"]
    assert "logs:DescribeLogStreams" in warning


def test_a_warm_pool_is_shown_until_it_ends_and_terminated_before(project: Project) -> None:
    job = project.job("single = echo done\n")

    def keep(settings: Settings) -> Settings:
        return replace(settings, sagemaker=replace(settings.sagemaker, keep_alive_minutes=5))

    with project.session(adapt=keep) as session:
        handle = session.sagemaker.start(session.sagemaker.plan(TrainingChoices(job)))
        session.runs.follow(handle.run_id, on_line=lambda host, line: None, on_hosts=lambda _: None)
        (pool,) = session.cluster.status().managed.resources
        assert (pool.state, pool.name[-19:]) == ("warm pool Available", handle.run_id)
        assert pool.ends_at
        assert pool.usd_per_hour
        assert session.cluster.terminate().remaining == ()
        assert session.cluster.status().managed.resources == ()


def test_pipes_have_the_name_of_the_data_and_the_number_of_the_epoch(project: Project) -> None:
    job = project.job(f"{COMMANDS}data = data -> data\n[training]\ninput_mode = Pipe\n", work__py=PIPED)
    (job / "data").mkdir()
    for name in ("a", "b"):
        (job / f"data/{name}.txt").write_text(f"{name}\n")
    lines: list[str] = []
    with project.session() as session:
        run_id = session.sagemaker.start(session.sagemaker.plan(TrainingChoices(job))).run_id
        session.runs.follow(run_id, on_line=lambda _, line: lines.append(line), on_hosts=lambda _: None)

    assert lines == ["epoch 0 ['a', 'b']", "epoch 1 ['a', 'b']"]
