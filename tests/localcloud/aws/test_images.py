"""Machine images and their SSM parameters."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.localcloud.clients import image, wait_for_state
from tests.support.localcloud.host_commands import output_on_host
from tests.support.localcloud.instances import Launch, ids

PARAMETERS = {
    "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id": ("099720109477", "x86_64"),
    "/aws/service/canonical/ubuntu/server/24.04/stable/current/arm64/hvm/ebs-gp3/ami-id": ("099720109477", "arm64"),
    "/aws/service/canonical/ubuntu/server/22.04/stable/current/amd64/hvm/ebs-gp2/ami-id": ("099720109477", "x86_64"),
    "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64": ("137112412989", "x86_64"),
    "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-24.04/latest/ami-id": (
        "898082745236",
        "x86_64",
    ),
}


@pytest.mark.parametrize(("parameter", "facts"), PARAMETERS.items(), ids=[name[13:60] for name in PARAMETERS])
def test_an_image_parameter_names_an_image_with_awss_owner_and_architecture(
    cloud: dict[str, str], ec2: Any, parameter: str, facts: tuple[str, str]
) -> None:
    (image_record,) = ec2.describe_images(ImageIds=[image(cloud, parameter)])["Images"]

    assert (image_record["OwnerId"], image_record["Architecture"]) == facts
    assert image_record["RootDeviceName"] == ("/dev/xvda" if "amazon-linux" in parameter else "/dev/sda1")
    assert image_record["BlockDeviceMappings"][0]["DeviceName"] == image_record["RootDeviceName"]


def test_images_are_found_by_owner_and_name_pattern(ec2: Any) -> None:
    pattern = {"Name": "name", "Values": ["ubuntu/images/hvm-ssd*/ubuntu-noble-24.04-amd64-server-*"]}
    images = ec2.describe_images(Owners=["099720109477"], Filters=[pattern])["Images"]

    assert [image_record["Architecture"] for image_record in images] == ["x86_64"]
    assert len(ec2.describe_images(Owners=["amazon"])["Images"]) > 5


def test_the_imported_key_logs_in_as_the_images_user(cloud: dict[str, str], ec2: Any, launch: Launch, key: Any) -> None:
    amazon = image(cloud, "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64")
    launched = [*launch(KeyName="login"), *launch(KeyName="login", ImageId=amazon)]
    first, second = wait_for_state(ec2, ids(launched), "running")

    assert output_on_host(first, key, "whoami") == "ubuntu"
    assert output_on_host(second, key, "whoami", user="ec2-user") == "ec2-user"
