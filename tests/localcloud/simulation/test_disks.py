"""Disks of hosts that cannot have them: one line at the launch, and nothing is made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from localcloud.core.disk_folders import RefusedDisks
from localcloud.simulation.cloud import InMemoryCloud
from tests.support.localcloud.in_memory import launch_in

LINE = r"docker hosts of the embedded cloud have no {}: start it with process hosts \(python -m localcloud up\)"
DISK = {"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 2}}


@pytest.fixture(scope="module")
def cloud() -> Iterator[InMemoryCloud]:
    cloud = InMemoryCloud(7, folders=RefusedDisks())
    yield cloud
    cloud.close()


def test_a_launch_with_volumes_is_refused(cloud: InMemoryCloud) -> None:
    with pytest.raises(ClientError, match=rf"\(UnsupportedOperation\).*{LINE.format('volumes')}"):
        launch_in(cloud, BlockDeviceMappings=[DISK])

    assert cloud.live_instances() == []


def test_a_volume_is_not_attached(cloud: InMemoryCloud) -> None:
    (instance_id,) = launch_in(cloud)
    ec2: Any = cloud.session().client("ec2")
    cloud.clock.sleep(60)
    zone = ec2.describe_instances()["Reservations"][0]["Instances"][0]["Placement"]["AvailabilityZone"]
    volume_id = ec2.create_volume(AvailabilityZone=zone, Size=2)["VolumeId"]

    with pytest.raises(ClientError, match=LINE.format("volumes")):
        ec2.attach_volume(VolumeId=volume_id, InstanceId=instance_id, Device="/dev/sdf")


def test_no_shared_file_system_is_made(cloud: InMemoryCloud) -> None:
    session = cloud.session()
    fsx: Any = session.client("fsx")
    with pytest.raises(ClientError, match=rf"\(BadRequest\).*{LINE.format('EFS')}"):
        session.client("efs").create_file_system(CreationToken="token")
    with pytest.raises(ClientError, match=rf"\(BadRequest\).*{LINE.format('Lustre')}"):
        fsx.create_file_system(FileSystemType="LUSTRE", SubnetIds=["subnet-0123456789abcdef0"], StorageCapacity=1200)

    kinds = {disk.kind for disk in cloud.live_disks("us-west-2")}
    assert not kinds & {"EFS", "Lustre"}
