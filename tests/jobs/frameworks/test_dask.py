"""Dask: a cluster over TLS, and the job's command as its client."""

from __future__ import annotations

from pathlib import Path

from orchestrator.jobs.spec import load
from tests.support.jobs.job_folder import plan


def test_a_run_on_many_vms_has_a_scheduler_workers_and_tls(job_folder: Path) -> None:
    """All listen on private addresses only, and accept only the run's certificate."""
    job = plan(load(job_folder, {}), 2)
    scheduler, first, second, main = job.tasks

    assert [(task.host, task.role) for task in job.tasks] == [
        ("ml-0", "scheduler"),
        ("ml-0", "worker"),
        ("ml-1", "worker"),
        ("ml-0", "main"),
    ]
    assert "--host 10.0.0.0" in scheduler.command
    assert "--protocol tls" in scheduler.command
    assert "--host 10.0.0.1" in second.command
    assert "--nthreads 3" in first.command
    assert main.env["SCHEDULER"].startswith("tls://10.0.0.0:")
    assert main.env["SCHEDULER"] in second.command
    assert main.env["STRATUS_WORKERS"] == "ml-0,ml-1"
    assert set(job.files) == {"tls/ca.pem", "tls/cert.pem", "tls/key.pem", "bin/command.sh", "hostfile"}
    assert job.files["bin/command.sh"] == b"python go.py --scheduler $SCHEDULER\n"
    assert "203.0.113" not in " ".join(task.command for task in job.tasks)


def test_the_dashboard_listens_on_the_port_of_the_plan(job_folder: Path) -> None:
    spec = load(job_folder, {})
    job = plan(spec, 2)

    assert f"--dashboard-address 10.0.0.0:{job.dashboard_port}" in job.tasks[0].command
    assert plan(spec, 2, multi=False).dashboard_port == 0


def test_two_runs_never_share_their_certificates(job_folder: Path) -> None:
    spec = load(job_folder, {})
    first, second = (plan(spec, 1, run_id=run_id) for run_id in ("r-1", "r-2"))

    assert first.files["tls/key.pem"] != second.files["tls/key.pem"]
    assert first.files["tls/ca.pem"] != second.files["tls/ca.pem"]
