"""Machine images of the cloud, and the SSM parameters that name them.

Names, owners and parameter paths are those of AWS; ids and dates are invented. An id depends on region and name only,
so it is the same after a restart of the cloud.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from moto.ec2.models.amis import Ami
from moto.ssm.models import Parameter

if TYPE_CHECKING:
    from collections.abc import Collection

    from moto.ec2.models.instances import Instance
    from moto.ssm.models import SimpleSystemManagerBackend

CANONICAL = "099720109477"
AMAZON_LINUX = "137112412989"
DEEP_LEARNING = "898082745236"
DEBIAN = "136693071363"
_CREATED_AT = datetime(2026, 7, 10, 12, 0, tzinfo=UTC)


@dataclass(frozen=True)
class ImageSpec:
    """One image.

    :param size_gib: size of its root disk.
    :param user: login account.
    """

    name: str
    parameter: str
    owner: str
    user: str
    size_gib: int
    architecture: str = "x86_64"
    root_device: str = "/dev/sda1"

    def id(self, region: str) -> str:
        """Return the AMI id in ``region``."""
        return "ami-" + hashlib.sha256(f"{region}/{self.name}".encode()).hexdigest()[:17]


def _ubuntu(release: str, name: str, architecture: str, disk: str) -> ImageSpec:
    return ImageSpec(
        name=f"ubuntu/images/hvm-ssd{'-gp3' if disk == 'gp3' else ''}/{name}-{architecture}-server-20260710",
        parameter=f"/aws/service/canonical/ubuntu/server/{release}/stable/current/{architecture}/hvm/ebs-{disk}/ami-id",
        owner=CANONICAL,
        user="ubuntu",
        size_gib=8,
        architecture="arm64" if architecture == "arm64" else "x86_64",
    )


def _amazon_linux(architecture: str) -> ImageSpec:
    return ImageSpec(
        name=f"al2023-ami-2023.9.20260710.0-kernel-6.1-{architecture}",
        parameter=f"/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-{architecture}",
        owner=AMAZON_LINUX,
        user="ec2-user",
        size_gib=8,
        architecture=architecture,
        root_device="/dev/xvda",
    )


def _deep_learning(title: str, alias: str, *, user: str = "ubuntu", root_device: str = "/dev/sda1") -> ImageSpec:
    # The published sizes change with every release; 65 GiB represents "larger than an ordinary image".
    return ImageSpec(
        name=f"{title} 20260710",
        parameter=f"/aws/service/deeplearning/ami/x86_64/{alias}/latest/ami-id",
        owner=DEEP_LEARNING,
        user=user,
        size_gib=65,
        root_device=root_device,
    )


_BASE = "Deep Learning Base OSS Nvidia Driver GPU AMI"
IMAGES = (
    _ubuntu("24.04", "ubuntu-noble-24.04", "amd64", "gp3"),
    _ubuntu("24.04", "ubuntu-noble-24.04", "arm64", "gp3"),
    _ubuntu("22.04", "ubuntu-jammy-22.04", "amd64", "gp2"),
    _amazon_linux("x86_64"),
    _amazon_linux("arm64"),
    _deep_learning(f"{_BASE} (Ubuntu 24.04)", "base-oss-nvidia-driver-gpu-ubuntu-24.04"),
    _deep_learning(f"{_BASE} (Ubuntu 22.04)", "base-oss-nvidia-driver-gpu-ubuntu-22.04"),
    _deep_learning(
        f"{_BASE} (Amazon Linux 2023)",
        "base-oss-nvidia-driver-gpu-amazon-linux-2023",
        user="ec2-user",
        root_device="/dev/xvda",
    ),
    _deep_learning(
        "Deep Learning OSS Nvidia Driver AMI GPU PyTorch 2.8 (Ubuntu 24.04)",
        "oss-nvidia-driver-gpu-pytorch-2.8-ubuntu-24.04",
    ),
    ImageSpec(
        name="debian-12-amd64-20260710-2170",
        parameter="/aws/service/debian/release/12/latest/amd64",
        owner=DEBIAN,
        user="admin",
        size_gib=8,
        root_device="/dev/xvda",
    ),
)


class SeededImage(Ami):
    """An image of the table, in the form that moto lists."""

    def __init__(self, ec2: Any, spec: ImageSpec) -> None:
        # Before moto's constructor, which reads ``block_device_mappings``.
        self.spec = spec
        super().__init__(
            ec2,
            spec.id(ec2.region_name),
            name=spec.name,
            description=spec.name,
            owner_id=spec.owner,
            owner_alias="amazon" if spec.owner != DEBIAN else None,
            public=True,
            virtualization_type="hvm",
            architecture=spec.architecture,
            creation_date=_CREATED_AT,
            image_location=f"{spec.owner}/{spec.name}",
            hypervisor="xen",
            root_device_type="ebs",
            root_device_name=spec.root_device,
            region_name=f"{ec2.region_name}a",
            boot_mode="uefi-preferred",
        )

    @property
    def block_device_mappings(self) -> list[dict[str, Any]]:
        """Root disk that an instance gets by default."""
        ebs = {"SnapshotId": self.ebs_snapshot.id, "VolumeSize": self.spec.size_gib, "VolumeType": "gp3"}
        return [{"DeviceName": self.root_device_name, "Ebs": {**ebs, "DeleteOnTermination": True, "Encrypted": False}}]


class BakedImage(Ami):
    """An image made from an instance, with a snapshot of each of its volumes.

    :param base: image of the instance; None if it was deregistered.
    :param without: devices whose volumes are left out.
    """

    def __init__(
        self,
        ec2: Any,
        image_id: str,
        instance: Instance,
        *,
        name: str,
        description: str,
        without: Collection[str],
        **facts: Any,
    ) -> None:
        base = ec2.amis.get(instance.image_id)
        # Before moto's constructor, which reads ``block_device_mappings``.
        self.base, self._disks = base, list[dict[str, Any]]()
        super().__init__(
            ec2,
            image_id,
            instance=instance,
            name=name,
            description=description,
            state="pending",
            root_device_type="ebs",
            root_device_name=base.root_device_name if base else "/dev/sda1",
            region_name=f"{ec2.region_name}a",
            **facts,
        )
        # moto's own is of a disk of 15 GiB, whatever the instance has.
        del ec2.snapshots[self.ebs_snapshot.id]
        for device, mapping in instance.get_block_device_mapping:
            if device in without:
                continue
            volume = ec2.get_volume(mapping.volume_id)
            snapshot = ec2.create_snapshot(
                volume.id, f"Created by CreateImage({instance.id}) for {self.id}", from_ami=self.id
            )
            self.ebs_snapshot = snapshot if device == self.root_device_name else self.ebs_snapshot
            ebs = {"SnapshotId": snapshot.id, "VolumeSize": volume.size, "VolumeType": volume.volume_type}
            ebs |= {"DeleteOnTermination": mapping.delete_on_termination, "Encrypted": volume.encrypted}
            self._disks.append({"DeviceName": device, "Ebs": ebs})

    @property
    def block_device_mappings(self) -> list[dict[str, Any]]:
        """Disks that an instance gets by default."""
        return self._disks

    @property
    def snapshot_ids(self) -> list[str]:
        """Ids of its snapshots."""
        return [disk["Ebs"]["SnapshotId"] for disk in self._disks]


def _seeded(image: Ami | None) -> ImageSpec | None:
    """Return the image of the table that an image is, or was made from."""
    while isinstance(image, BakedImage):
        image = image.base
    return image.spec if isinstance(image, SeededImage) else None


def login_user(image: Ami | None) -> str:
    """Return the login account of an image; images of unknown origin are assumed to be Ubuntu."""
    spec = _seeded(image)
    return spec.user if spec else "ubuntu"


def has_engine(image: Ami | None) -> bool:
    """Return whether instances of an image have a running Docker engine."""
    spec = _seeded(image)
    return spec is not None and spec.owner == DEEP_LEARNING


def seed_parameters(ssm: SimpleSystemManagerBackend) -> None:
    """Create the public parameters that name the images of ``ssm``'s region."""
    parameters = ssm._parameters
    # moto would otherwise add Amazon Linux images that DescribeImages does not list.
    parameters.latest_amis_loaded = True
    for image in IMAGES:
        parameters[image.parameter].append(
            Parameter(  # type: ignore[abstract]
                account_id=ssm.account_id,
                name=image.parameter,
                value=image.id(ssm.region_name),
                parameter_type="String",
                description=None,
                allowed_pattern=None,
                keyid=None,
                last_modified_date=_CREATED_AT,
                version=1,
                data_type="aws:ec2:image",
            )
        )
