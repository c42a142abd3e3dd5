"""Login names of images, and the volumes that they bring."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.aws.ec2 import images
from orchestrator.aws.ec2.instances import Disk
from orchestrator.core.errors import UsageError

ROOT_DISK = {"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 8, "VolumeType": "gp3"}}
IMAGE: dict[str, Any] = {
    "ImageId": "ami-1",
    "Name": "ubuntu",
    "Architecture": "x86_64",
    "RootDeviceName": "/dev/sda1",
    "BlockDeviceMappings": [ROOT_DISK],
}


@pytest.mark.parametrize(
    ("words", "user"),
    [
        ("ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-20260901", "ubuntu"),
        ("Deep Learning Base OSS Nvidia Driver GPU AMI (Ubuntu 24.04) 20260901", "ubuntu"),
        ("Deep Learning Base OSS Nvidia Driver GPU AMI (Amazon Linux 2023) 20260901", "ec2-user"),
        ("al2023-ami-2023.9.20260901.0-kernel-6.1-x86_64 Amazon Linux 2023 AMI", "ec2-user"),
        ("RHEL-9.4.0_HVM-20260901-x86_64", "ec2-user"),
        ("debian-12-amd64-20260901", "admin"),
        ("my lab's image", ""),
    ],
)
def test_the_login_name_follows_from_the_image(words: str, user: str) -> None:
    assert images.login_name(words) == user


def test_an_image_may_bring_further_volumes_but_instance_store_is_none() -> None:
    data = {"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 100, "VolumeType": "gp2", "DeleteOnTermination": False}}
    scratch = {"DeviceName": "/dev/sdb", "VirtualName": "ephemeral0"}
    image = images.from_response({**IMAGE, "BlockDeviceMappings": [scratch, ROOT_DISK, data]})  # type: ignore[typeddict-item]

    assert image.size_gib == 8
    assert image.further_disks == {"/dev/sdf": Disk("gp2", 100)}


def test_an_image_without_an_ebs_root_disk_is_refused() -> None:
    with pytest.raises(UsageError, match="has no EBS root disk"):
        images.from_response({**IMAGE, "BlockDeviceMappings": []})  # type: ignore[typeddict-item]
