"""Plans of training jobs: their limit of time by hours and by dollars."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from orchestrator.core.errors import StratusError, UsageError
from orchestrator.services.sagemaker import TrainingChoices
from tests.support.simulated_project import SimulatedProject, simulate

__all__ = ["simulate"]
Simulate = Callable[..., SimulatedProject]
PRICE = 0.23
"""USD per hour of ml.m5.xlarge."""


def limit_s(
    simulate: Simulate, cluster: str, sagemaker: str = "", *, count: int = 1, kind: str = "ml.m5.xlarge"
) -> int:
    """Return the limit of time of a training job, seconds."""
    project = simulate(cluster=cluster)
    project.config += f"[sagemaker]\n{sagemaker}\n"
    job = project.folder / "job"
    job.mkdir()
    (job / "job.ini").write_text("[job]\nsingle = true\nmulti = true\n")
    with project.session() as session:
        session.roles.create(session.roles.plan())
        plan = session.sagemaker.plan(TrainingChoices(job, count, kind))
    assert plan.request.as_dict()["StoppingCondition"] == {"MaxRuntimeInSeconds": plan.request.max_runtime_s}
    return plan.request.max_runtime_s


@pytest.mark.parametrize(
    ("cluster", "sagemaker", "count", "expected"),
    [
        ("max_hours = 3", "", 1, 3 * 3600),
        ("max_hours = 3\nmax_dollars = 100", "", 1, 3 * 3600),
        ("max_hours = 30\nmax_dollars = 0.23", "", 1, 3600),
        ("max_hours = 30\nmax_dollars = 1", "", 2, int(1 / PRICE * 3600 / 2)),
        ("max_hours = 30\nmax_dollars = 0.23", "keep_alive_minutes = 20", 1, 2400),
        ("max_hours = 700", "", 1, 28 * 86400),
    ],
    ids=["hours", "enough-dollars", "dollars", "dollars-of-two", "dollars-for-a-warm-pool", "longest"],
)
def test_a_job_ends_when_its_hours_or_its_dollars_are_used_up(
    simulate: Simulate, cluster: str, sagemaker: str, count: int, expected: int
) -> None:
    assert limit_s(simulate, cluster, sagemaker, count=count) == pytest.approx(expected, abs=1)


@pytest.mark.parametrize(
    ("sagemaker", "instance_type", "message"),
    [
        ("", "ml.c7i.xlarge", "the price is unknown, so max_dollars cannot be kept"),
        ("keep_alive_minutes = 60", "ml.g5.xlarge", "max_dollars = 0.5 does not pay keep_alive_minutes = 60"),
    ],
    ids=["no-price", "warm-pool"],
)
def test_a_cap_that_cannot_be_kept_is_refused(
    simulate: Simulate, sagemaker: str, instance_type: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        limit_s(simulate, "max_dollars = 0.5", sagemaker, kind=instance_type)


def test_a_folder_on_lustre_needs_subnets_and_is_named_with_its_mount_name(simulate: Simulate) -> None:
    project = simulate()
    fsx = project.cloud.session().client("fsx", region_name="us-west-2")
    (subnet, *_) = project.cloud.session().client("ec2", region_name="us-west-2").describe_subnets()["Subnets"]
    made = fsx.create_file_system(FileSystemType="LUSTRE", StorageCapacity=1200, SubnetIds=[subnet["SubnetId"]])
    identifier = made["FileSystem"]["FileSystemId"]
    job = project.folder / "job"
    job.mkdir()
    (job / "job.ini").write_text(f"[job]\ndata = {identifier}:/scenes -> scenes\nsingle = true\n")
    with project.session() as session:
        session.roles.create(session.roles.plan())
        with pytest.raises(StratusError, match=f"{identifier} is CREATING, not available"):
            session.sagemaker.plan(TrainingChoices(job))
        project.clock.sleep(600)
        with pytest.raises(UsageError, match="is reached from subnets only, and") as caught:
            session.sagemaker.plan(TrainingChoices(job))
    project.config += "[sagemaker]\ntraining_subnets = subnet-01234567\ntraining_security_groups = sg-01234567\n"
    with project.session() as session:
        request = session.sagemaker.plan(TrainingChoices(job)).request.as_dict()

    assert f"training_subnets = {subnet['SubnetId']}" in str(caught.value)
    source = request["InputDataConfig"][1]["DataSource"]["FileSystemDataSource"]
    assert (source["FileSystemType"], source["DirectoryPath"]) == ("FSxLustre", f"/{identifier[3:]}/scenes")
    assert request["VpcConfig"] == {"Subnets": ["subnet-01234567"], "SecurityGroupIds": ["sg-01234567"]}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("data = fs-0123456789abcdef0:/x -> x", "the file system fs-0123456789abcdef0 does not exist in us-west-2"),
    ],
)
def test_data_on_a_file_system_that_cannot_be_used_is_refused(simulate: Simulate, lines: str, message: str) -> None:
    project = simulate()
    job = project.folder / "job"
    job.mkdir()
    (job / "job.ini").write_text(f"[job]\n{lines}\nsingle = true\n")
    with project.session() as session:
        session.roles.create(session.roles.plan())
        with pytest.raises(UsageError, match=message) as caught:
            session.sagemaker.plan(TrainingChoices(job))
    assert "correct data in job.ini; existing: none" in str(caught.value)
