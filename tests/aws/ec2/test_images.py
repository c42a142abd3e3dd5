"""Login names of images."""

from __future__ import annotations

import pytest

from orchestrator.aws.ec2 import images


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
