"""Placement groups, which moto lacks, and the checks of EFA interfaces, which moto leaves out.

Messages as EC2 words them:
https://github.com/dstackai/dstack/issues/2872, https://github.com/bcbio/bcbio-nextgen-vm/issues/45
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models.instance_types import INSTANCE_TYPES
from moto.moto_api._internal import mock_random

if TYPE_CHECKING:
    from moto.ec2.models.subnets import Subnet

    from localcloud.ec2.backend import Ec2Region

_STRATEGIES = ("cluster", "spread", "partition")
_EFA = ("efa", "efa-only")
# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/limitations-placement-groups.html
_GROUPS_PER_REGION = 500
_SPREAD_PER_ZONE = 7


@dataclass
class PlacementGroup:
    """One placement group.

    :param instance_ids: of all instances that were launched into it.
    """

    id: str
    name: str
    strategy: str
    tags: list[dict[str, str]]
    instance_ids: set[str] = field(default_factory=set)

    def zones(self, ec2: Ec2Region) -> list[str]:
        """Return the zones of the instances in it that are not terminated, one for each."""
        tracked = (ec2.lifecycle.instances.get(instance_id) for instance_id in sorted(self.instance_ids))
        alive = (item.instance for item in tracked if item and item.instance.state != "terminated")
        return [str(instance.placement.zone) for instance in alive]


def create(ec2: Ec2Region, params: dict[str, Any]) -> dict[str, Any]:
    """Make a placement group, and return it as EC2 shows it.

    :raises EC2ClientError: as EC2 refuses it.
    """
    name, strategy = params.get("GroupName", ""), params.get("Strategy", "cluster")
    if not name:
        raise EC2ClientError("MissingParameter", "The request must contain the parameter groupName")
    if strategy not in _STRATEGIES:
        raise EC2ClientError("InvalidParameterValue", f"Value ({strategy}) for parameter strategy is invalid.")
    if name in ec2.placement_groups:
        raise EC2ClientError("InvalidPlacementGroup.Duplicate", f"The placement group '{name}' already exists.")
    if len(ec2.placement_groups) >= _GROUPS_PER_REGION:
        message = f"You have reached the limit of {_GROUPS_PER_REGION} placement groups."
        raise EC2ClientError("PlacementGroupLimitExceeded", message)
    specifications = params.get("TagSpecifications", [])
    tags = [tag for part in specifications if part.get("ResourceType") == "placement-group" for tag in part["Tags"]]
    group = PlacementGroup(f"pg-{mock_random.get_random_hex(17)}", name, strategy, tags)
    ec2.placement_groups[name] = group
    return _shown(group)


def describe(ec2: Ec2Region, names: Sequence[str], filters: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    """Return placement groups as EC2 shows them; all without names."""
    groups = [_known(ec2, name) for name in names] if names else list(ec2.placement_groups.values())
    return [_shown(group) for group in groups if all(_matches(group, *item) for item in filters.items())]


def delete(ec2: Ec2Region, name: str) -> None:
    """Delete a placement group.

    :raises EC2ClientError: there is none, or instances use it.
    """
    if _known(ec2, name).zones(ec2):
        message = f"The placement group '{name}' is in use and may not be deleted."
        raise EC2ClientError("InvalidPlacementGroup.InUse", message)
    del ec2.placement_groups[name]


def check(ec2: Ec2Region, params: dict[str, Any], subnet: Subnet) -> None:
    """Check a launch against the placement group that it names, if it names one.

    :raises EC2ClientError: as EC2 refuses it.
    """
    name = params.get("Placement", {}).get("GroupName")
    if not name:
        return
    group, instance_type = _known(ec2, name), params.get("InstanceType", "")
    supported = INSTANCE_TYPES.get(instance_type, {}).get("PlacementGroupInfo", {}).get("SupportedStrategies", [])
    if group.strategy not in supported:
        message = f"{group.strategy.capitalize()} placement groups are not supported by the '{instance_type}' instance"
        advice = "Specify a supported instance type or change the placement group strategy, and try again."
        raise EC2ClientError("InvalidParameterCombination", f"{message} type. {advice}")
    zones = group.zones(ec2)
    other = next((zone for zone in zones if zone != subnet.availability_zone), "")
    if group.strategy == "cluster" and other:
        message = f"The placement group '{name}' is in use in another availability zone: {other}"
        raise EC2ClientError("InvalidPlacementGroup.InUse", message)
    wanted = zones.count(subnet.availability_zone) + int(params.get("MinCount", 1))
    if group.strategy == "spread" and wanted > _SPREAD_PER_ZONE:
        raise EC2ClientError("InstanceLimitExceeded", f"At most {_SPREAD_PER_ZONE} instances per zone are allowed.")


def register(ec2: Ec2Region, params: dict[str, Any], instance_ids: Sequence[str]) -> None:
    """Add launched instances to the placement group of their launch, if it has one."""
    if name := params.get("Placement", {}).get("GroupName"):
        ec2.placement_groups[name].instance_ids.update(instance_ids)


def check_interfaces(params: dict[str, Any]) -> None:
    """Check the EFA interfaces of a launch against its type, and number all interfaces by their network card.

    :raises EC2ClientError: as EC2 refuses it.
    """
    interfaces, instance_type = params.get("NetworkInterfaces", []), params.get("InstanceType", "")
    network = INSTANCE_TYPES.get(instance_type, {}).get("NetworkInfo", {})
    adapters = [nic for nic in interfaces if nic.get("InterfaceType") in _EFA]
    if adapters and not network.get("EfaSupported"):
        raise EC2ClientError("UnsupportedOperation", f"EFA interfaces are not supported on {instance_type}")
    if len(adapters) > (most := network.get("EfaInfo", {}).get("MaximumEfaInterfaces", 0)):
        message = f"EFA interface count {len(adapters)} exceeds allowed limit {most} for {instance_type}"
        raise EC2ClientError("AttachmentLimitExceeded", message)
    if len(interfaces) > 1 and any("AssociatePublicIpAddress" in nic for nic in interfaces):
        message = "The associatePublicIPAddress parameter cannot be specified when launching with multiple network"
        raise EC2ClientError("InvalidParameterCombination", f"{message} interfaces.")
    cards = [int(nic.get("NetworkCardIndex", 0)) for nic in interfaces]
    if any(card >= network.get("MaximumNetworkCards", 1) for card in cards):
        message = f"The network card index exceeds the number of network cards of {instance_type}"
        raise EC2ClientError("InvalidParameterValue", message)
    # moto knows one card: interfaces of the same index on several cards would replace one another.
    for nic, card in zip(interfaces, cards, strict=True):
        if card:
            nic["DeviceIndex"] = card + 100


def _known(ec2: Ec2Region, name: str) -> PlacementGroup:
    if name not in ec2.placement_groups:
        raise EC2ClientError("InvalidPlacementGroup.Unknown", f"The Placement Group '{name}' is unknown.")
    group: PlacementGroup = ec2.placement_groups[name]
    return group


def _matches(group: PlacementGroup, name: str, patterns: Sequence[str]) -> bool:
    if name.startswith("tag:"):
        values = [tag["Value"] for tag in group.tags if tag["Key"] == name.removeprefix("tag:")]
    else:
        values = [{"group-name": group.name, "strategy": group.strategy, "state": "available"}.get(name, "")]
    return any(fnmatchcase(value, pattern) for value in values for pattern in patterns)


def _shown(group: PlacementGroup) -> dict[str, Any]:
    return {
        "GroupName": group.name,
        "GroupId": group.id,
        "State": "available",
        "Strategy": group.strategy,
        "Tags": group.tags,
    }
