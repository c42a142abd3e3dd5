"""torchrun: a main task on every host, and a rendezvous at the first."""

from __future__ import annotations

from pathlib import Path

from tests.support.jobs.job_folder import plan, write_job


def test_all_hosts_meet_at_the_first_ones_private_address(job_folder: Path) -> None:
    """Two runs have different ports."""
    spec = write_job(job_folder, "torchrun", "slots_per_host = 4\n")
    many, other = plan(spec, 2), plan(spec, 2, run_id="r-2")
    (alone,) = plan(spec, 2, multi=False).tasks

    assert many.main_hosts == ("ml-0", "ml-1")
    mains = [task for task in (*many.tasks, *other.tasks) if task.role == "main"]
    assert {task.env["MASTER_ADDR"] for task in mains} == {"10.0.0.0"}
    assert len({task.env["MASTER_PORT"] for task in mains}) == 2
    assert {task.env["STRATUS_SLOTS"] for task in many.tasks} == {"4"}
    assert "MASTER_ADDR" not in alone.env
