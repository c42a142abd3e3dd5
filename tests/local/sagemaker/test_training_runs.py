"""Training jobs of the embedded cloud through the services: any job folder on one instance and on two, and its end."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.core.errors import JobFailed
from orchestrator.jobs.record import RunRecord
from orchestrator.services.sagemaker import TrainingChoices
from tests.support.localcloud.training_project import prepare
from tests.support.project import Project

WORK = """
import json, os, pathlib, sys
env = os.environ
print("rank", env["STRATUS_RANK"], "of", env["STRATUS_SIZE"], sys.argv[1:], os.listdir("data"), flush=True)
pathlib.Path("outputs").mkdir(exist_ok=True)
pathlib.Path("outputs/metrics.json").write_text(json.dumps({"loss": 0.5}))
print("loss=0.25 done")
"""
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(cloud: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Return a project with a role for training."""
    project = prepare(Project(tmp_path_factory.mktemp("desk"), "training", cloud))
    yield project
    with project.session("cleaner") as session:
        assert session.cluster.terminate().remaining == ()


def train(project: Project, choices: TrainingChoices) -> tuple[list[str], RunRecord]:
    """Train a job and fetch it; return its lines."""
    lines: list[str] = []
    with project.session() as session:
        handle = session.sagemaker.start(session.sagemaker.plan(choices))
        run_id = handle.run_id
        session.runs.follow(run_id, on_line=lambda host, line: lines.append(f"{host} {line}"), on_hosts=lambda _: None)
        return sorted(lines), session.runs.fetch(run_id)


@pytest.mark.parametrize("count", [1, 2])
def test_a_job_folder_trains_unchanged_and_its_results_are_those_of_a_run_on_vms(project: Project, count: int) -> None:
    text = "single = python work.py\nmulti = python work.py\ndata = data -> data\n"
    text += "[hyperparameters]\nlr = 0.1\n[metrics]\nloss = loss=([0-9.]+)\n"
    job = project.job(text, work__py=WORK)
    (job / "data").mkdir()
    (job / "data/a.csv").write_text("1")
    lines, record = train(project, TrainingChoices(job, count, hyperparameters={"epochs": "3"}))

    options = ["--lr", "0.1", "--epochs", "3"]
    ranks = [f"algo-{rank + 1} rank {rank} of {count} {options} ['a.csv']" for rank in range(count)]
    assert [line for line in lines if "rank" in line] == ranks
    assert (record.state, record.hosts, record.metrics) == ("done", ("algo-1", "algo-2")[:count], {"loss": 0.5})
    assert record.bill
    assert record.cost_usd
    assert record.bill.billed_seconds >= count
    logs = sorted(path.name for path in (record.folder / "logs").iterdir())
    assert logs == [f"algo-{number}.main.log" for number in range(1, count + 1)]
    facts = json.loads((record.folder / "record.json").read_text())["training_job"]
    assert (facts["status"], facts["metrics"]) == ("Completed", {"loss": 0.25})


def test_a_failed_job_shows_its_last_lines_and_brings_its_outputs(project: Project) -> None:
    job = project.job(
        "single = python work.py\n",
        work__py="import os\nos.mkdir('outputs')\nopen('outputs/half', 'w')\nprint('oh')\n1/0",
    )
    with project.session() as session:
        handle = session.sagemaker.start(session.sagemaker.plan(TrainingChoices(job)))
        with pytest.raises(JobFailed) as caught:
            session.runs.follow(handle.run_id, on_line=lambda host, line: None, on_hosts=lambda _: None)
        assert session.cluster.status().managed.resources == ()
        assert [run.state for run in session.runs.runs() if run.run_id == handle.run_id] == ["failed"]

    assert (caught.value.exit_status, caught.value.state) == (1, "failed")
    assert caught.value.tail[-1] == "ZeroDivisionError: division by zero"
    assert (handle.folder / "outputs/half").exists()


def test_a_job_in_progress_is_billed_until_terminate_all_has_ended_it(project: Project) -> None:
    job = project.job("single = python work.py\n", work__py="import time\nprint('begins', flush=True)\ntime.sleep(600)")
    with project.session() as session:
        handle = session.sagemaker.start(session.sagemaker.plan(TrainingChoices(job)))
        (resource,) = session.cluster.status().managed.resources
        assert (resource.kind, resource.count, resource.type) == ("training job", 1, "ml.m5.xlarge")
        assert resource.usd_per_hour
        assert resource.name.endswith(handle.run_id)
    with project.session("other computer") as session:
        assert [run.run_id for run in session.runs.runs() if run.state == "running"] == [handle.run_id]
        report = session.cluster.terminate()
        assert [end.resource.name for end in report.managed.ends] == [resource.name]
        assert report.remaining == ()
        assert session.cluster.status().managed.resources == ()


def test_a_canceled_job_ends_and_its_state_is_told(project: Project) -> None:
    job = project.job("single = python work.py\n", work__py="import time\nprint('begins', flush=True)\ntime.sleep(600)")
    with project.session() as session:
        handle = session.sagemaker.start(session.sagemaker.plan(TrainingChoices(job)))
        report = session.runs.cancel(handle.run_id[-3:])
        assert (report.run_id, report.failed) == (handle.run_id, {})
        assert session.runs.fetch(handle.run_id).state == "cancelled"


def test_the_code_channel_holds_no_credentials(project: Project, tmp_path: Path) -> None:
    from orchestrator.install import training_code

    job = project.job("single = python work.py\n", work__py="print(1)")
    (job / ".env").write_text("AWS_SECRET_ACCESS_KEY=" + "x" * 40)
    with project.session() as session:
        plan = session.sagemaker.plan(TrainingChoices(job))
    code = training_code.pack(plan.job, plan.layout, plan.links, project.session().settings.install)
    (tmp_path / "run.tar.gz").write_bytes(code.files[training_code.ARCHIVE])
    with tarfile.open(tmp_path / "run.tar.gz") as archive:
        assert [name for name in archive.getnames() if name.startswith("workdir/")] == [
            "workdir/job.ini",
            "workdir/work.py",
        ]
    assert ".env" in code.left_out
