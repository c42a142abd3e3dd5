"""Volumes and shared file systems of a cluster on the embedded cloud: real hosts, whose mounts are links."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.core.errors import CloudRefused, HostError, NotReady, UsageError
from orchestrator.session import Session
from tests.support.localcloud.clients import boto, wait_until
from tests.support.project import Project

ROOT = "${HOME%/home/*}"
"""On a process host, mount points are below the host's own folder."""

DISKS = """
[volumes]
data = 50 GiB at /data, keep
scratch = 20 GiB at ~/scratch, io2, 1000 IOPS
[file_systems]
shared = efs at /shared
fast = lustre 1200 GiB at /fast
"""


@pytest.fixture
def project(cloud: dict[str, str], tmp_path: Path) -> Iterator[Project]:
    """A project whose cluster is terminated afterwards, with all that it keeps."""
    project = Project(tmp_path, "disks", cloud)
    project.job("single = true\n")
    project.config.write_text(project.config.read_text() + DISKS)
    yield project
    with project.session("cleaner") as session:
        assert session.cluster.terminate(kept=True).remaining == ()
    assert left(project) == []


def left(project: Project) -> list[str]:
    """Return the ids of all volumes and shared file systems that this project's cluster has."""
    tagged = [{"Name": "tag:stratus:cluster", "Values": [project.name]}]
    volumes = boto(project.env, "ec2").describe_volumes(Filters=tagged)["Volumes"]
    groups = boto(project.env, "ec2").describe_security_groups(Filters=tagged)["SecurityGroups"]
    shared = [
        item["FileSystemId"]
        for service in ("efs", "fsx")
        for item in boto(project.env, service).describe_file_systems()["FileSystems"]
        if {"Key": "stratus:cluster", "Value": project.name} in item["Tags"]
    ]
    return [*(item["VolumeId"] for item in volumes), *(item["GroupId"] for item in groups), *shared]


def run(session: Session, name: str, command: str) -> str:
    """Return the output of a command on a host."""
    (host,) = session.inventory.hosts([name])
    return session.context.ssh.run(host, command).raise_if_failed(command).stdout.strip()


@pytest.mark.slow
def test_disks_are_mounted_shared_there_after_a_reboot_priced_kept_and_deleted(project: Project) -> None:
    with project.session() as session:
        plan = session.cluster.plan(2)
        report = session.cluster.launch(plan)
        assert report.failed == {}
        run(session, "disks-0", f"echo shared > {ROOT}/shared/file; echo fast > {ROOT}/fast/file")
        run(session, "disks-0", f"echo of-0 > {ROOT}/data/file; echo gone > ~/scratch/file")
        read_on_other = run(session, "disks-1", f"cat {ROOT}/shared/file {ROOT}/fast/file; ls {ROOT}/data")
        mounts = run(session, "disks-1", "cat ~/stratus/state/mounts")
        run(session, "disks-1", f"touch {ROOT}/run/before")
        _reboot(session, project)
        wait_until(lambda: _has_rebooted(session))
        after_reboot = run(session, "disks-1", f"cat {ROOT}/shared/file; ls -d {ROOT}/data/ ~/scratch/")
        status = session.cluster.status()
        recorded = {entry.kind for entry in session.context.journal.entries()}
        terminated = session.cluster.terminate()
        kept_status = session.cluster.status()

    assert read_on_other.split() == ["shared", "fast"]
    assert [path.rpartition("/")[2] for path in mounts.split()] == ["data", "fast", "scratch", "shared"]
    assert after_reboot.split()[0] == "shared"
    assert {"volume", "file-system", "lustre"} <= recorded
    kinds = [(item.kind, item.is_kept) for item in status.managed.resources]
    assert sorted(kinds) == [
        ("EFS file system", False),
        ("Lustre file system", False),
        ("volume", True),
        ("volume", True),
    ]
    assert all(item.usd_per_hour is not None for item in status.managed.resources)
    assert terminated.remaining == ()
    assert {item.kind for item in terminated.managed.kept_resources} == {"volume"}
    assert [item.kind for item in kept_status.managed.resources] == ["volume", "volume"]

    with project.session() as session:
        again = session.cluster.plan(1)
        session.cluster.launch(again)
        content = run(session, "disks-0", f"cat {ROOT}/data/file 2>/dev/null || echo of-1")
        scratch = run(session, "disks-0", "ls ~/scratch")
        volumes = session.cluster.status().managed.resources

    assert len(again.volumes[0].ids) == 1
    assert content == "of-0"
    assert scratch == ""
    assert len([item for item in volumes if item.kind == "volume"]) == 2


def _reboot(session: Session, project: Project) -> None:
    # By the cloud: a reboot typed on the host may end the connection before it answers.
    (host,) = session.inventory.hosts(["disks-1"])
    boto(project.env, "ec2").reboot_instances(InstanceIds=[host.identity])


def _has_rebooted(session: Session) -> bool:
    # The folder of the state of a boot is emptied by the next one.
    command = f"cloud-init status --wait; ls {ROOT}/run/before 2>/dev/null || echo new"
    with contextlib.suppress(HostError):
        return run(session, "disks-1", command).endswith("new")
    return False


def test_a_volume_a_snapshot_and_a_file_system_that_do_not_exist_are_named_before_the_launch(project: Project) -> None:
    settings = project.config.read_text().partition("[volumes]")[0]
    missing = {
        "[volumes]\nx = vol-0123456789abcdef0 at /x\n": "there is no volume vol-0123456789abcdef0 in us-west-2",
        "[volumes]\nx = snap-0123456789abcdef0 at /x\n": "there is no snapshot snap-0123456789abcdef0 in us-west-2",
        "[file_systems]\nx = efs fs-0123456789abcdef0 at /x\n": "file system fs-0123456789abcdef0 (efs) does not exist",
        "[file_systems]\nx = lustre fs-01234567 at /x\n": "file system fs-01234567 (lustre) does not exist",
    }
    for lines, complaint in missing.items():
        project.config.write_text(settings.replace("count = 2", "count = 1") + lines)
        with project.session() as session, pytest.raises((UsageError, NotReady, CloudRefused)) as caught:
            session.cluster.plan(1)
        assert complaint in str(caught.value)


@pytest.mark.slow
def test_an_existing_volume_and_an_existing_file_system_are_used_and_left_alone(project: Project) -> None:
    ec2, efs = boto(project.env, "ec2"), boto(project.env, "efs")
    volume = ec2.create_volume(AvailabilityZone="us-west-2b", Size=10, VolumeType="gp3")["VolumeId"]
    shared = efs.create_file_system(CreationToken="lab")["FileSystemId"]
    subnet = next(item for item in ec2.describe_subnets()["Subnets"] if item["AvailabilityZone"] == "us-west-2a")
    efs.create_mount_target(FileSystemId=shared, SubnetId=subnet["SubnetId"])
    settings = project.config.read_text().partition("[volumes]")[0].replace("count = 2", "count = 1")
    lines = f"[volumes]\nold = {volume} at /old\n[file_systems]\nlab = efs {shared} at /lab, read-only\n"
    project.config.write_text(settings + lines)

    with project.session() as session:
        plan = session.cluster.plan(1)
        session.cluster.launch(plan)
        table = run(session, "disks-0", f"cat {ROOT}/etc/fstab")
        managed = session.cluster.status().managed.resources
        report = session.cluster.terminate(kept=True)
    (state,) = [item["State"] for item in ec2.describe_volumes(VolumeIds=[volume])["Volumes"]]
    targets = efs.describe_mount_targets(FileSystemId=shared)["MountTargets"]
    ec2.delete_volume(VolumeId=volume)

    assert plan.subnet.zone == "us-west-2b"
    # The zone has no mount target, so that the name of the file system would lead nowhere.
    assert f"{targets[0]['IpAddress']}:/ " in table
    assert " nfs4 ro,nfsvers=4.1," in table
    assert (managed, report.remaining, state, len(targets)) == ((), (), "available", 1)


@pytest.mark.slow
def test_a_launch_that_is_rolled_back_leaves_no_volume(project: Project) -> None:
    with project.session() as session:
        plan = session.cluster.plan(2)
        launcher = session.cluster.launcher
        launched, _ = launcher.request(plan)
        assert len(launched) == 2
        launcher._roll_back(plan, KeyboardInterrupt())

    volumes = boto(project.env, "ec2").describe_volumes(
        Filters=[{"Name": "tag:stratus:cluster", "Values": [project.name]}]
    )["Volumes"]
    assert volumes == []
