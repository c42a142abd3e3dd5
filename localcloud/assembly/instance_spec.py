"""Host specification of an instance, from EC2's records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from localcloud.aws.images import BakedImage, has_engine, login_user
from localcloud.core.addresses import AddressBlock
from localcloud.core.home import Home
from localcloud.core.urls import METADATA
from localcloud.ec2.environment import CloudEnvironment
from localcloud.ec2.ingress import open_addresses
from localcloud.ec2.metadata import user_data
from localcloud.hosts.spec import HostSpec

if TYPE_CHECKING:
    from moto.ec2.models.instances import Instance

    from localcloud.ec2.lifecycle import TrackedInstance


@dataclass(frozen=True)
class HostSpecs:
    """Returns the host specification of an instance; callable.

    :param block: addresses and SSH port of the hosts.
    """

    home: Home
    block: AddressBlock
    cloud: CloudEnvironment

    def __call__(self, tracked: TrackedInstance) -> HostSpec:
        """Return the host of one instance."""
        instance = tracked.instance
        # None if the image was deregistered after the launch.
        image = instance.ec2_backend.amis.get(instance.image_id)
        return HostSpec(
            instance_id=instance.id,
            address=str(instance.private_ip),
            public_address=instance.public_ip or "",
            open_addresses=open_addresses(instance, self.block.ssh_port, self.cloud.client.address),
            port=self.block.ssh_port,
            folder=self.home.host_folder(instance.id),
            user=login_user(image),
            authorized_keys=tracked.authorized_keys,
            user_data=user_data(instance),
            environment=self._environment(instance),
            boot_seconds=self.cloud.durations.boot_s,
            has_engine=has_engine(image),
            image_id=image.id if isinstance(image, BakedImage) else "",
            local_disks_gib=_local_disks_gib(instance.instance_type),
            gpus=_nvidia_gpus(instance.instance_type),
            # Deep Learning images have both.
            has_efa_software=has_engine(image) and _has_efa(instance.instance_type),
        )

    def _environment(self, instance: Instance) -> dict[str, str]:
        """Return the variables that direct AWS libraries on the host to this cloud; as on EC2, no key is among them."""
        return {
            "AWS_ENDPOINT_URL": self.block.url,
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": f"{self.block.url}{METADATA}{instance.id}/",
            "AWS_REGION": instance.region_name,
            "AWS_DEFAULT_REGION": instance.region_name,
            # The endpoint is on this computer, which no proxy can reach.
            "NO_PROXY": self.block.endpoint,
            "no_proxy": self.block.endpoint,
        }


def _local_disks_gib(instance_type: str) -> tuple[int, ...]:
    from moto.ec2.models.instance_types import INSTANCE_TYPES

    storage = INSTANCE_TYPES.get(instance_type, {}).get("InstanceStorageInfo", {})
    return tuple(disk["SizeInGB"] for disk in storage.get("Disks", []) for _ in range(disk["Count"]))


def _nvidia_gpus(instance_type: str) -> tuple[str, ...]:
    from moto.ec2.models.instance_types import INSTANCE_TYPES

    groups = INSTANCE_TYPES.get(instance_type, {}).get("GpuInfo", {}).get("Gpus", [])
    return tuple(
        f"{group['Manufacturer']} {group['Name']}|{group['MemoryInfo']['SizeInMiB']}"
        for group in groups
        if group["Manufacturer"] == "NVIDIA"
        for _ in range(group["Count"])
    )


def _has_efa(instance_type: str) -> bool:
    from moto.ec2.models.instance_types import INSTANCE_TYPES

    return bool(INSTANCE_TYPES.get(instance_type, {}).get("NetworkInfo", {}).get("EfaSupported"))
