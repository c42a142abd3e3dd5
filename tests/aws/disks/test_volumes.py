"""Volumes of snapshots, and what the plan of a launch says on shared file systems."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.core.errors import UsageError
from orchestrator.interface.render.billed import disks
from tests.support.simulated_project import CONFIG, REGION, SimulatedProject, simulate

__all__ = ["simulate"]

Simulate = Callable[..., SimulatedProject]


def snapshot(project: SimulatedProject) -> str:
    """Make a snapshot of 30 GiB, and return its id."""
    ec2: Any = project.cloud.session().client("ec2", region_name=REGION)
    volume = ec2.create_volume(AvailabilityZone=f"{REGION}a", Size=30, VolumeType="gp3")["VolumeId"]
    return str(ec2.create_snapshot(VolumeId=volume)["SnapshotId"])


def test_a_volume_of_a_snapshot_has_its_content_and_at_least_its_size(simulate: Simulate) -> None:
    project = simulate()
    name = snapshot(project)
    lines = f"[volumes]\ncopy = {name} at /copy\nlarge = 40 GiB at /large, from {name}, keep\n"
    session = replace(project, config=CONFIG + lines).session()
    plan = session.cluster.plan(1)
    session.cluster.launch(plan)
    ec2: Any = project.cloud.session().client("ec2", region_name=REGION)
    made = [item for item in ec2.describe_volumes()["Volumes"] if item.get("SnapshotId") == name]
    report = session.cluster.terminate()
    project.cloud.clock.sleep(600)
    left = [item for item in ec2.describe_volumes()["Volumes"] if item.get("SnapshotId") == name]

    facts = sorted((item["Size"], item["Attachments"][0]["DeleteOnTermination"]) for item in made)
    assert [item.disk.size for item in plan.volumes] == [30, 40]
    assert facts == [(30, True), (40, False)]
    assert not report.remaining
    assert [item["Size"] for item in left] == [40]


def test_a_volume_smaller_than_its_snapshot_is_refused(simulate: Simulate) -> None:
    project = simulate()
    name = snapshot(project)
    config = CONFIG + f"[volumes]\nsmall = 20 GiB at /small, from {name}\n"

    with pytest.raises(UsageError, match=f"snapshot {name} has 30 GiB, more than the 20 GiB of"):
        replace(project, config=config).session().cluster.plan(1)


def test_the_plan_has_the_price_of_traffic_between_zones(simulate: Simulate) -> None:
    project = simulate()
    efs: Any = project.cloud.session().client("efs", region_name=REGION)
    lab = efs.create_file_system(CreationToken="lab")["FileSystemId"]
    lines = f"[file_systems]\nlab = efs {lab} at /lab\nquick = lustre 1200 GiB at /quick\n"
    plan = replace(project, config=CONFIG + lines).session().cluster.plan(1)
    existing, made = map(str, disks.file_systems(plan))

    assert existing.endswith("never deleted; VMs in a zone without its mount target pay $0.01 per GB in each direction")
    assert made.endswith(f"VMs outside {plan.subnet.zone} pay $0.01 per GB in each direction")
