"""Registry of frameworks: everything about one follows from its record."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.core.errors import ConfigError, UsageError
from orchestrator.jobs import runner, spec
from orchestrator.jobs.frameworks import registry
from orchestrator.jobs.frameworks.registry import Framework, TaskPlan
from orchestrator.jobs.tasks import JobLayout
from tests.support.jobs.job_folder import plan, write_job
from tests.support.paths import REMOTE

EVERY_RUN = {
    "bin/task.sh",
    "bin/container.sh",
    "bin/cancel.sh",
    "bin/spot.sh",
    "bin/follow.sh",
    "bin/python.sh",
    "bin/limit.sh",
    "bin/notify.sh",
    "bin/results.sh",
    "bin/checkpoints.sh",
    "bin/checkpoints.py",
    "bin/stage.py",
    "bin/runs.sh",
    "bin/run_notebook.py",
}


def plan_pairs(layout: JobLayout) -> TaskPlan:
    """Return a leader on the first host and a follower on each other one."""
    leader, *followers = layout.hosts
    tasks = [layout.task(leader, "main", layout.command, {"PAIRS_PORT": str(layout.port)})]
    return tasks + [layout.task(host, "worker", "sh pairs.sh") for host in followers], {"pairs": b"yes"}


@pytest.fixture
def pairs() -> Iterator[Framework]:
    """A framework that is registered for one test."""
    framework = Framework(
        "pairs", multi=plan_pairs, scripts=("rank.sh",), fewest_hosts=2, is_elastic=True, has_dashboard=True
    )
    registry.frameworks()[framework.name] = framework
    yield framework
    del registry.frameworks()[framework.name]


def test_a_framework_is_added_by_one_record(pairs: Framework, job_folder: Path) -> None:
    """Choices of job.ini, tasks, scripts, least number of hosts, elasticity and dashboard follow from it."""
    job = write_job(job_folder, pairs.name, "min_hosts = 2\n")
    run = plan(job, 2)

    assert [(task.host, task.role) for task in run.tasks] == [("ml-0", "main"), ("ml-1", "worker")]
    assert run.files == {"pairs": b"yes", "hostfile": b"10.0.0.0\n10.0.0.1\n"}
    assert run.dashboard_port == int(run.tasks[0].env["PAIRS_PORT"]) + 1
    assert json.loads(run.manifest)["framework"] == "pairs"
    scripts = {name for name in runner.shared_files(run) if name.startswith("bin/")}
    assert scripts == {*EVERY_RUN, "bin/rank.sh"}
    with pytest.raises(UsageError, match="pairs needs 2 VMs, but 1 are up"):
        plan(job, 1)
    assert plan(job, 1, multi=False).main_hosts == ("ml-0",)
    assert registry.names_with(lambda framework: framework.has_dashboard) == "dask or pairs"


def test_a_framework_that_is_not_registered_is_refused_with_the_known_ones(job_folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"must be one of command, dask, .*torchrun"):
        write_job(job_folder, "pairs")
    with pytest.raises(UsageError, match="no framework 'pairs' in this version"):
        registry.find("pairs")


def test_sagemakers_own_libraries_are_answered_with_what_replaces_them(job_folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"'smdistributed' has been replaced by torchrun, with PyTorch's Distributed"):
        write_job(job_folder, "smdistributed")


def test_the_frameworks_are_these() -> None:
    """Values of job.ini, a contract with its users."""
    names = {"command", "dask", "horovod", "hostfile", "mpi", "mxnet", "torchrun"}

    assert set(registry.frameworks()) == names
    assert spec.framework_name().description == "command, dask, horovod, hostfile, mpi, mxnet or torchrun"


@pytest.mark.parametrize("framework", registry.frameworks())
def test_all_private_addresses_are_in_a_file(framework: str, job_folder: Path) -> None:
    assert plan(write_job(job_folder, framework), 2).files["hostfile"] == b"10.0.0.0\n10.0.0.1\n"


@pytest.mark.parametrize("framework", registry.frameworks())
def test_every_script_that_a_task_or_another_script_calls_is_sent(framework: str, job_folder: Path) -> None:
    job = write_job(job_folder, framework)
    plans = [plan(job, count, multi=multi) for count, multi in ((1, False), (1, True), (3, True))]
    sent = {**runner.shared_files(plans[0]), **runner.own_files(plans[0], plans[0].tasks)} | {
        name: b"" for plan in plans for name in plan.files
    }
    scripts = {name for name in sent if name.startswith("bin/")}
    texts = [content.decode() for name, content in sent.items() if name in scripts]
    texts += [task.command for plan in plans for task in plan.tasks]
    called = {name for text in texts for name in re.findall(r"bin/[a-z_]+\.(?:sh|py)", text)}
    imported = {
        f"bin/{name}.py" for text in texts for name in re.findall(r"^(?:import|from) (\w+)", text, re.MULTILINE)
    }

    assert called | {name for name in imported if (REMOTE / Path(name).name).exists()} <= scripts | {"bin/command.sh"}


def test_a_command_on_many_vms_has_its_rank_and_all_addresses(job_folder: Path) -> None:
    job = plan(write_job(job_folder, "command"), 3)

    assert [task.env["STRATUS_RANK"] for task in job.tasks] == ["0", "1", "2"]
    assert {task.env["STRATUS_SIZE"] for task in job.tasks} == {"3"}
    assert {task.env["STRATUS_HOSTS"] for task in job.tasks} == {"10.0.0.0,10.0.0.1,10.0.0.2"}
    assert job.main_hosts == ("ml-0", "ml-1", "ml-2")
