"""MXNet's parameter server."""

from __future__ import annotations

from pathlib import Path

from tests.support.jobs.job_folder import plan, write_job


def test_a_run_has_one_scheduler_and_a_server_and_a_worker_on_each_host(job_folder: Path) -> None:
    job = plan(write_job(job_folder, "mxnet"), 2)
    tasks = [task for task in job.tasks if "DMLC_ROLE" in task.env]

    assert [(task.host, task.env["DMLC_ROLE"], task.role) for task in tasks] == [
        ("ml-0", "scheduler", "scheduler"),
        ("ml-0", "server", "server"),
        ("ml-0", "worker", "main"),
        ("ml-1", "server", "server"),
        ("ml-1", "worker", "main"),
    ]
    assert {task.env["DMLC_PS_ROOT_URI"] for task in tasks} == {"10.0.0.0"}
    assert [task.env["DMLC_NODE_HOST"] for task in tasks] == ["10.0.0.0"] * 3 + ["10.0.0.1"] * 2
    assert {(task.env["DMLC_NUM_SERVER"], task.env["DMLC_NUM_WORKER"]) for task in tasks} == {("2", "2")}
    assert job.dashboard_port == 0
