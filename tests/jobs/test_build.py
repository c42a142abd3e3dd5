"""Plans of runs: a job and hosts become commands, as plain values."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from orchestrator.core.errors import UsageError
from orchestrator.jobs.build import new_run_id
from orchestrator.jobs.spec import load
from tests.support.jobs.job_folder import DASK, NOW, plan, write_job


def test_a_run_on_one_vm_is_one_task_whatever_the_framework(job_folder: Path) -> None:
    job = plan(load(job_folder, {}), 2, multi=False)

    assert [(task.host, task.role, task.command) for task in job.tasks] == [("ml-0", "main", "python go.py")]
    assert job.files == {"hostfile": b"10.0.0.0\n"}


def test_the_manifest_is_one_line_of_json_without_secrets(job_folder: Path) -> None:
    job = plan(load(job_folder, {}), 2)
    facts = json.loads(job.manifest)

    assert "\n" not in job.manifest
    assert "PRIVATE" not in job.manifest
    assert facts["roles"] == {"ml-0": ["scheduler", "worker", "main"], "ml-1": ["worker"]}
    assert facts.keys() == {
        *("run", "job", "framework", "multi", "roles", "outputs", "dashboard", "min_hosts", "start")
    }


def test_a_job_without_a_command_for_many_vms_is_a_usage_error(job_folder: Path) -> None:
    (job_folder / "job.ini").write_text(DASK.replace("multi = python go.py --scheduler $SCHEDULER\n", ""))

    with pytest.raises(UsageError, match="has no command for multi"):
        plan(load(job_folder, {}), 1)


def test_no_host_is_a_usage_error(job_folder: Path) -> None:
    with pytest.raises(UsageError, match="no VM is up"):
        plan(load(job_folder, {}), 0)


def test_an_elastic_job_needs_its_least_number_of_hosts(job_folder: Path) -> None:
    """For a run on many VMs; on one it does not apply."""
    spec = write_job(job_folder, "horovod", "min_hosts = 3\n")

    with pytest.raises(UsageError, match="min_hosts = 3, but 2 VMs are up"):
        plan(spec, 2)
    assert plan(spec, 1, multi=False).main_hosts == ("ml-0",)


def test_the_image_of_a_container_is_in_the_environment_of_every_task(job_folder: Path) -> None:
    (job_folder / "Dockerfile").write_text("FROM scratch\n")
    write_job(job_folder, "command")
    spec = load(job_folder, {}, runtime="docker")

    assert {task.env["STRATUS_IMAGE"] for task in plan(spec, 2).tasks} == {spec.built_image}


def test_a_run_id_sorts_by_time_and_has_a_short_end() -> None:
    ids = {new_run_id(NOW) for _ in range(20)}

    assert len(ids) > 1
    assert all(re.fullmatch(rf"{NOW:%Y%m%d-%H%M%S}-[a-z2-9]{{3}}", run_id) for run_id in ids)


def test_a_plan_holds_no_host_twice(job_folder: Path) -> None:
    job = plan(load(job_folder, {}), 3)

    assert job.hosts == ("ml-0", "ml-1", "ml-2")
    assert job.roles == {"ml-0": ("scheduler", "worker", "main"), "ml-1": ("worker",), "ml-2": ("worker",)}
