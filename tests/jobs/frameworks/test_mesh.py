"""Frameworks over the mesh: agents on every host, keys of the run's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.jobs.spec import load
from tests.support.jobs.job_folder import plan, write_job


@pytest.mark.parametrize("framework", ["horovod", "mpi"])
def test_a_launcher_has_an_agent_on_each_host_and_a_main_task_on_the_first(job_folder: Path, framework: str) -> None:
    """Members are listed in order; no key is in a command, a variable or the manifest."""
    spec = write_job(job_folder, framework)
    first, second = (plan(spec, 2, run_id=run_id) for run_id in ("r-1", "r-2"))

    assert [(task.host, task.role) for task in first.tasks] == [("ml-0", "mesh"), ("ml-1", "mesh"), ("ml-0", "main")]
    assert first.files["mesh/members"] == b"ml-0 10.0.0.0\nml-1 10.0.0.1\n"
    assert first.files["bin/command.sh"] == b"python go.py\n"
    assert first.files["mesh/key.pem"] != second.files["mesh/key.pem"]
    readable = " ".join(str((task.command, task.env)) for task in first.tasks) + first.manifest
    assert "PRIVATE" not in readable
    assert {task.env["STRATUS_WAIT"] for task in first.tasks} == {"9"}
    assert not {"AWS_SECRET_ACCESS_KEY", "STRATUS_MIN_HOSTS"} & first.tasks[-1].env.keys()


@pytest.mark.parametrize("framework", ["torchrun", "mxnet"])
def test_main_tasks_on_every_host_are_guarded(job_folder: Path, framework: str) -> None:
    """By agents outside the job's containers; one host alone needs none."""
    (job_folder / "Dockerfile").write_text("FROM scratch\n")
    write_job(job_folder, framework)
    spec = load(job_folder, {}, runtime="docker")
    two, one = (plan(spec, count) for count in (2, 1))
    guards = [task for task in two.tasks if task.role in ("mesh", "guard")]

    assert [(task.host, task.role) for task in guards] == [("ml-0", "mesh"), ("ml-1", "mesh"), ("ml-0", "guard")]
    assert all("STRATUS_IMAGE" not in task.env for task in guards)
    assert all("STRATUS_IMAGE" in task.env for task in two.tasks if task not in guards)
    ports = {task.env.get("MASTER_PORT", task.env.get("DMLC_PS_ROOT_PORT")) for task in two.tasks}
    assert two.files["mesh/port"].decode().strip() not in ports
    assert not {task.role for task in one.tasks} & {"mesh", "guard"}
