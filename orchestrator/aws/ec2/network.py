"""VPC and subnets of a launch, checked against each other before anything is launched."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from orchestrator.aws import client, errors
from orchestrator.core.errors import UsageError

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import FilterTypeDef, SubnetTypeDef

    from orchestrator.config import settings

MAX_LISTED = 5


@dataclass(frozen=True)
class Subnet:
    """One subnet.

    :param free_addresses: number of IP addresses left in it.
    :param assigns_public_addresses: True if its instances get a public IPv4 address by default.
    """

    id: str
    zone: str
    free_addresses: int
    assigns_public_addresses: bool = False


@dataclass(frozen=True)
class Placement:
    """A VPC and the subnets in which instances can be launched, in the order of preference."""

    vpc_id: str
    subnets: tuple[Subnet, ...]

    @property
    def zones(self) -> tuple[str, ...]:
        """Availability Zones of the subnets, in their order."""
        return tuple(dict.fromkeys(subnet.zone for subnet in self.subnets))

    def within(self, zones: Collection[str], *, count: int = 1, preferred_zones: Collection[str] = ()) -> Placement:
        """Return the placement without subnets outside some zones, and without those too full for ``count`` instances.

        :param preferred_zones: zones that come first. Traffic between zones is slower, and billed: a cluster stays in
            one if it can.
        """
        subnets = [subnet for subnet in self.subnets if subnet.zone in zones and subnet.free_addresses >= count]
        subnets.sort(key=lambda subnet: (subnet.zone not in preferred_zones, -subnet.free_addresses, subnet.zone))
        return replace(self, subnets=tuple(subnets))


def find(clients: client.Clients, settings: settings.AwsSettings) -> Placement:
    """Return the subnets of the settings, else those of the VPC of the settings, else those of the default VPC.

    :raises UsageError: one of them does not exist, or VPC, subnets and security group do not belong together; the
        message lists existing ones.
    """
    calls: list[Callable[[], Any]] = [lambda: _subnets(clients, settings)]
    if settings.security_group_id:
        calls.append(lambda: _group_vpc(clients, settings.security_group_id))
    subnets, *group_vpc = clients.in_parallel(*calls)
    placement = _placement(clients, settings, subnets)
    if group_vpc and group_vpc[0] != placement.vpc_id:
        raise UsageError(
            f"security group {settings.security_group_id} belongs to {group_vpc[0]}, the subnets to {placement.vpc_id}",
            fix="set [aws] security_group_id and subnet_id of one VPC, or leave one of them empty",
        )
    return placement


def _subnet_ids(settings: settings.AwsSettings) -> list[str]:
    return [part.strip() for part in settings.subnet_id.split(",") if part.strip()]


def _subnets(clients: client.Clients, settings: settings.AwsSettings) -> list[SubnetTypeDef]:
    subnet_ids = _subnet_ids(settings)
    with clients.translate_errors("looking up subnets"):
        if not subnet_ids:
            # Default subnets exist in the default VPC only.
            subnet_filter: FilterTypeDef = {"Name": "default-for-az", "Values": ["true"]}
            if settings.vpc_id:
                subnet_filter = {"Name": "vpc-id", "Values": [settings.vpc_id]}
            return clients.ec2.describe_subnets(Filters=[subnet_filter])["Subnets"]
        try:
            return clients.ec2.describe_subnets(SubnetIds=subnet_ids)["Subnets"]
        except errors.error_types() as error:
            if not errors.code_of(error).startswith("InvalidSubnet"):
                raise
            raise UsageError(
                f"{errors.message_of(error)} in {clients.region}",
                code=errors.code_of(error),
                fix=f"correct [aws] subnet_id; existing subnets: {_existing(clients)}",
            ) from error


def _placement(clients: client.Clients, settings: settings.AwsSettings, subnets: list[SubnetTypeDef]) -> Placement:
    vpcs = sorted({subnet["VpcId"] for subnet in subnets})
    if not vpcs:
        problem = f"VPC {settings.vpc_id} has no subnets, or is not" if settings.vpc_id else "there is no default VPC"
        raise UsageError(
            f"{problem} in {clients.region}", fix=f"set [aws] subnet_id; existing subnets: {_existing(clients)}"
        )
    if len(vpcs) > 1:
        raise UsageError(f"the subnets are in different VPCs: {', '.join(vpcs)}", fix="set [aws] subnet_id of one VPC")
    if settings.vpc_id and settings.vpc_id != vpcs[0]:
        raise UsageError(
            f"subnet {settings.subnet_id} is in {vpcs[0]}, not in {settings.vpc_id}",
            fix="correct [aws] vpc_id, or leave it empty: the subnet determines it",
        )
    records = [
        Subnet(
            subnet["SubnetId"],
            subnet["AvailabilityZone"],
            subnet["AvailableIpAddressCount"],
            subnet.get("MapPublicIpOnLaunch", False),
        )
        for subnet in subnets
    ]
    return Placement(vpc_id=vpcs[0], subnets=tuple(sorted(records, key=lambda subnet: subnet.zone)))


def _group_vpc(clients: client.Clients, group_id: str) -> str:
    """Return the VPC of the security group in the settings."""
    with clients.translate_errors(f"looking up security group {group_id}"):
        try:
            return clients.ec2.describe_security_groups(GroupIds=[group_id])["SecurityGroups"][0]["VpcId"]
        except errors.error_types() as error:
            if not errors.code_of(error).startswith(("InvalidGroup", "InvalidSecurityGroup")):
                raise
            groups = clients.ec2.describe_security_groups(MaxResults=MAX_LISTED)["SecurityGroups"]
            existing = ", ".join(f"{group['GroupId']} ({group['GroupName']}, {group.get('VpcId')})" for group in groups)
            raise UsageError(
                f"there is no security group {group_id} in {clients.region}",
                code=errors.code_of(error),
                fix="correct [aws] security_group_id, or leave it empty to have one created; "
                f"existing groups: {existing or 'none'}",
            ) from error


def _existing(clients: client.Clients) -> str:
    subnets = clients.ec2.describe_subnets(MaxResults=MAX_LISTED)["Subnets"]
    lines = [f"{subnet['SubnetId']} ({subnet['AvailabilityZone']}, {subnet['VpcId']})" for subnet in subnets]
    return ", ".join(lines) or "none"


def list_regions(clients: client.Clients) -> list[str]:
    """Return the names of the regions that are enabled for this account, sorted."""
    with clients.translate_errors("listing the regions"):
        return sorted(region["RegionName"] for region in clients.ec2.describe_regions()["Regions"])
