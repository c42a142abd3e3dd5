"""Amazon Machine Images: the image for a setting (alias, AMI id, SSM parameter or name pattern), and its login name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from orchestrator.aws import client, errors
from orchestrator.aws.ec2.instances import Disk
from orchestrator.config import ini
from orchestrator.core.errors import UsageError

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import EbsBlockDeviceTypeDef, ImageTypeDef

CANONICAL = "099720109477"
AMAZON = "amazon"
DEBIAN = "136693071363"
TRUSTED_OWNERS = ("self", AMAZON, CANONICAL, DEBIAN)
"""Owners of images that are looked up by name: any AWS account can publish an image under any name."""

_NO_IMAGE = ("InvalidAMIID.NotFound", "InvalidAMIID.Malformed", "InvalidAMIID.Unavailable")
_NO_PARAMETER = ("ParameterNotFound", "ParameterVersionNotFound", "AccessDenied", "AccessDeniedException")


@dataclass(frozen=True)
class Image:
    """A machine image.

    :param id: ``ami-...``; every region has its own.
    :param user: login name; empty if unknown.
    :param architecture: ``x86_64`` or ``arm64``.
    :param root_device: device name of the root disk, such as ``/dev/sda1``.
    :param size_gib: size of its snapshot, the minimum size of the root disk.
    :param base_id: image that it was baked from; empty unless it is a baked one.
    :param further_disks: device name -> disk, of the EBS volumes that instances get besides the root disk.
    """

    id: str
    name: str
    user: str
    architecture: str
    root_device: str
    size_gib: int
    further_disks: Mapping[str, Disk] = field(default_factory=dict)
    base_id: str = ""


@dataclass(frozen=True)
class Alias:
    """A short name for the newest image of a series.

    ``{deb}`` is replaced by amd64 or arm64, ``{arch}`` by x86_64 or arm64.

    :param ssm_parameter: public SSM parameter with the id of the newest image.
    :param name_pattern: of the image names, for accounts that may not read that parameter.
    :param owner: account that publishes it.
    """

    ssm_parameter: str
    name_pattern: str
    owner: str
    user: str


_UBUNTU = "/aws/service/canonical/ubuntu/server/{}/stable/current/{{deb}}/hvm/{}/ami-id"
_DLAMI = "/aws/service/deeplearning/ami/{{arch}}/{}/latest/ami-id"

ALIASES = {
    "ubuntu-24.04": Alias(
        _UBUNTU.format("24.04", "ebs-gp3"),
        "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-{deb}-server-*",
        CANONICAL,
        "ubuntu",
    ),
    "ubuntu-22.04": Alias(
        _UBUNTU.format("22.04", "ebs-gp2"),
        "ubuntu/images/hvm-ssd/ubuntu-jammy-22.04-{deb}-server-*",
        CANONICAL,
        "ubuntu",
    ),
    "amazon-linux-2023": Alias(
        "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-{arch}",
        "al2023-ami-2023.*-kernel-*-{arch}",
        AMAZON,
        "ec2-user",
    ),
    "deep-learning-ubuntu-24.04": Alias(
        _DLAMI.format("base-oss-nvidia-driver-gpu-ubuntu-24.04"),
        "Deep Learning Base OSS Nvidia Driver GPU AMI (Ubuntu 24.04) *",
        AMAZON,
        "ubuntu",
    ),
    "deep-learning-ubuntu-22.04": Alias(
        _DLAMI.format("base-oss-nvidia-driver-gpu-ubuntu-22.04"),
        "Deep Learning Base OSS Nvidia Driver GPU AMI (Ubuntu 22.04) *",
        AMAZON,
        "ubuntu",
    ),
    "deep-learning-amazon-linux-2023": Alias(
        _DLAMI.format("base-oss-nvidia-driver-gpu-amazon-linux-2023"),
        "Deep Learning Base OSS Nvidia Driver GPU AMI (Amazon Linux 2023) *",
        AMAZON,
        "ec2-user",
    ),
    "pytorch-2.8": Alias(
        _DLAMI.format("oss-nvidia-driver-gpu-pytorch-2.8-ubuntu-24.04"),
        "Deep Learning OSS Nvidia Driver AMI GPU PyTorch 2.8* (Ubuntu 24.04) *",
        AMAZON,
        "ubuntu",
    ),
}


def find(clients: client.Clients, name: str, *, architecture: str = "x86_64") -> Image:
    """Return the image for the setting ``[cluster] image``.

    :param name: an alias, ``ami-...``, the path of an SSM parameter, or a pattern of image names, which selects the
        newest image.
    :param architecture: for aliases and patterns.
    :raises UsageError: there is no such image, or it cannot be used.
    """
    if name.startswith("ami-"):
        return _by_id(clients, name, name)
    if name.startswith(("/", "resolve:ssm:")):
        return _by_id(clients, _parameter(clients, name.removeprefix("resolve:ssm:")), name)
    if name.lower() in ALIASES:
        return _by_alias(clients, ALIASES[name.lower()], name, architecture)
    image = _by_name(clients, name, TRUSTED_OWNERS, architecture)
    if image is None:
        raise _unknown(clients, name)
    return image


def _by_alias(clients: client.Clients, alias: Alias, name: str, architecture: str) -> Image:
    values = {"deb": "arm64" if architecture == "arm64" else "amd64", "arch": architecture}
    image: Image | None
    try:
        image = _by_id(clients, _parameter(clients, alias.ssm_parameter.format_map(values)), name)
    except UsageError:
        # Some organizations deny access to public parameters: the newest image of that name is the same one.
        image = _by_name(clients, alias.name_pattern.format_map(values), (alias.owner,), architecture)
        if image is None:
            raise
    return replace(image, user=alias.user)


def _parameter(clients: client.Clients, path: str) -> str:
    with clients.translate_errors(f"looking up the image at {path}"):
        try:
            return str(clients.service("ssm").get_parameter(Name=path)["Parameter"]["Value"])
        except errors.error_types() as error:
            if errors.code_of(error) not in _NO_PARAMETER:
                raise
            raise UsageError(
                f"SSM parameter {path} cannot be read in {clients.region}: {errors.message_of(error)}",
                code=errors.code_of(error),
                fix="correct [cluster] image in the config",
            ) from error


def _by_id(clients: client.Clients, image_id: str, name: str) -> Image:
    with clients.translate_errors(f"looking up image {name}"):
        try:
            images = clients.ec2.describe_images(ImageIds=[image_id])["Images"]
        except errors.error_types() as error:
            if errors.code_of(error) not in _NO_IMAGE:
                raise
            raise _missing(clients, image_id, errors.code_of(error)) from error
    if not images:
        raise _missing(clients, image_id)
    return from_response(images[0])


def _missing(clients: client.Clients, image_id: str, code: str = "InvalidAMIID.NotFound") -> UsageError:
    return UsageError(
        f"there is no image {image_id} in {clients.region} that this account can use",
        code=code,
        fix="correct [cluster] image: every region has its own ids; ubuntu-24.04 works in all of them",
    )


def _by_name(clients: client.Clients, pattern: str, owners: tuple[str, ...], architecture: str) -> Image | None:
    """Return the newest image of some owners whose name matches; None if there is none."""
    filters = {"name": pattern, "state": "available", "architecture": architecture}
    with clients.translate_errors(f"looking up images named {pattern}"):
        images = clients.ec2.describe_images(
            Owners=list(owners), Filters=[{"Name": key, "Values": [value]} for key, value in filters.items()]
        )["Images"]
    # ISO 8601 dates sort as text; EC2 returns images in no particular order.
    newest = max(images, key=lambda image: image.get("CreationDate", ""), default=None)
    return from_response(newest) if newest else None


def _unknown(clients: client.Clients, name: str) -> UsageError:
    return UsageError(
        f"there is no image {name!r} in {clients.region}, of this account or of Amazon, Canonical or Debian."
        + ini.suggest(name, ALIASES),
        fix=f"[cluster] image takes an ami- id, an SSM path, a name pattern, or one of: {', '.join(ALIASES)}",
    )


def from_response(response: ImageTypeDef) -> Image:
    """Return an image as EC2 describes it.

    :raises UsageError: it cannot be used.
    """
    image_id, name = response["ImageId"], response.get("Name", "")
    if response.get("Platform") == "windows":
        raise UsageError(f"image {image_id} ({name}) is Windows; only Linux can be used")
    if response.get("State", "available") != "available":
        raise UsageError(f"image {image_id} ({name}) is {response['State']}, not available")
    root = response.get("RootDeviceName", "")
    # Without instance store volumes, which cost nothing; they are mapped as well.
    disks = {disk["DeviceName"]: disk["Ebs"] for disk in response.get("BlockDeviceMappings", []) if "Ebs" in disk}
    # An instance-store image has no disk that could be encrypted, resized or kept while the instance is stopped.
    if root not in disks:
        raise UsageError(f"image {image_id} ({name}) has no EBS root disk, which Stratus needs")
    return Image(
        id=image_id,
        name=name,
        user=login_name(f"{name} {response.get('Description', '')}"),
        architecture=response["Architecture"],
        root_device=root,
        size_gib=disks[root].get("VolumeSize", 1),
        further_disks={device: _disk(ebs) for device, ebs in disks.items() if device != root},
    )


def _disk(ebs: EbsBlockDeviceTypeDef) -> Disk:
    return Disk(ebs.get("VolumeType", "gp2"), ebs.get("VolumeSize", 1), ebs.get("Iops", 0), ebs.get("Throughput", 0))


def login_name(text: str) -> str:
    """Return the default login name of an image from its name and description; empty if unknown.

    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/connection-prereqs-general.html
    """
    patterns = (
        (r"amazon[ -]linux|\bamzn|\bal20\d\d|\brhel|red hat|\bsuse|\bsles|\balmalinux|\boracle linux", "ec2-user"),
        (r"\brocky", "rocky"),
        (r"debian", "admin"),
        (r"ubuntu", "ubuntu"),
    )
    # Amazon Linux first: Deep Learning images name the distribution they are built on last.
    return next((user for pattern, user in patterns if re.search(pattern, text.lower())), "")
