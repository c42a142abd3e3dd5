"""Where in the account machines go: VPC and subnets, checked against each other before anything is launched."""

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

    :param free: addresses left in it.
    """

    id: str
    zone: str
    free_addresses: int


@dataclass(frozen=True)
class Placement:
    """A VPC and its subnets that may be used, the best first."""

    vpc_id: str
    subnets: tuple[Subnet, ...]

    @property
    def zones(self) -> tuple[str, ...]:
        """The zones of the subnets, in their order."""
        return tuple(dict.fromkeys(subnet.zone for subnet in self.subnets))

    def within(self, zones: Collection[str], *, count: int = 1, preferred_zones: Collection[str] = ()) -> Placement:
        """Return the place without subnets outside some zones or too full for ``count`` machines.

        :param first: zones to be tried before the others: where the cluster already has machines.
        """
        fit = [subnet for subnet in self.subnets if subnet.zone in zones and subnet.free_addresses >= count]
        fit.sort(key=lambda subnet: (subnet.zone not in preferred_zones, -subnet.free_addresses, subnet.zone))
        return replace(self, subnets=tuple(fit))


def find(clients: client.Clients, settings: settings.AwsSettings) -> Placement:
    """Return the named subnets, else those of the named VPC, else those of the default VPC: one or two calls.

    :raises UsageError: something named is missing, or VPC, subnets and security group do not belong together; the
        message lists what there is.
    """
    asks: list[Callable[[], Any]] = [lambda: _subnets(clients, settings)]
    if settings.security_group_id:
        asks.append(lambda: _group_vpc(clients, settings.security_group_id))
    subnets, *group_vpc = clients.in_parallel(*asks)
    place = _place(clients, settings, subnets)
    if group_vpc and group_vpc[0] != place.vpc_id:
        raise UsageError(
            f"security group {settings.security_group_id} belongs to {group_vpc[0]}, the subnets to {place.vpc_id}",
            fix="name [aws] security_group_id and subnet_id of one VPC, or leave one of them empty",
        )
    return place


def _named(settings: settings.AwsSettings) -> list[str]:
    return [word.strip() for word in settings.subnet_id.split(",") if word.strip()]


def _subnets(clients: client.Clients, settings: settings.AwsSettings) -> list[SubnetTypeDef]:
    named = _named(settings)
    with clients.translate_errors("looking up subnets"):
        if not named:
            wanted: FilterTypeDef = {"Name": "default-for-az", "Values": ["true"]}
            if settings.vpc_id:
                wanted = {"Name": "vpc-id", "Values": [settings.vpc_id]}
            return clients.ec2.describe_subnets(Filters=[wanted])["Subnets"]
        try:
            return clients.ec2.describe_subnets(SubnetIds=named)["Subnets"]
        except errors.error_types() as error:
            if not errors.code_of(error).startswith("InvalidSubnet"):
                raise
            raise UsageError(
                f"{errors.message_of(error)} in {clients.region}",
                code=errors.code_of(error),
                fix=f"correct [aws] subnet_id; there are: {_candidates(clients)}",
            ) from error


def _place(clients: client.Clients, settings: settings.AwsSettings, subnets: list[SubnetTypeDef]) -> Placement:
    vpcs = sorted({subnet["VpcId"] for subnet in subnets})
    if not vpcs:
        lacking = f"VPC {settings.vpc_id} has no subnets, or is not" if settings.vpc_id else "there is no default VPC"
        raise UsageError(
            f"{lacking} in {clients.region}", fix=f"name an [aws] subnet_id; there are: {_candidates(clients)}"
        )
    if len(vpcs) > 1:
        raise UsageError(f"the subnets lie in different VPCs: {', '.join(vpcs)}", fix="name [aws] subnet_id of one VPC")
    if settings.vpc_id and settings.vpc_id != vpcs[0]:
        raise UsageError(
            f"subnet {settings.subnet_id} lies in {vpcs[0]}, not in {settings.vpc_id}",
            fix="correct [aws] vpc_id, or leave it empty: the subnet tells it",
        )
    found = [
        Subnet(subnet["SubnetId"], subnet["AvailabilityZone"], subnet["AvailableIpAddressCount"]) for subnet in subnets
    ]
    return Placement(vpc_id=vpcs[0], subnets=tuple(sorted(found, key=lambda subnet: subnet.zone)))


def _group_vpc(clients: client.Clients, group_id: str) -> str:
    """Return the VPC of a security group that the user named."""
    with clients.translate_errors(f"looking up security group {group_id}"):
        try:
            return clients.ec2.describe_security_groups(GroupIds=[group_id])["SecurityGroups"][0]["VpcId"]
        except errors.error_types() as error:
            if not errors.code_of(error).startswith(("InvalidGroup", "InvalidSecurityGroup")):
                raise
            groups = clients.ec2.describe_security_groups(MaxResults=MAX_LISTED)["SecurityGroups"]
            listed = ", ".join(f"{group['GroupId']} ({group['GroupName']}, {group.get('VpcId')})" for group in groups)
            raise UsageError(
                f"there is no security group {group_id} in {clients.region}",
                code=errors.code_of(error),
                fix=f"correct [aws] security_group_id, or leave it empty: one is made; there are: {listed or 'none'}",
            ) from error


def _candidates(clients: client.Clients) -> str:
    subnets = clients.ec2.describe_subnets(MaxResults=MAX_LISTED)["Subnets"]
    return ", ".join(f"{each['SubnetId']} ({each['AvailabilityZone']}, {each['VpcId']})" for each in subnets) or "none"


def list_regions(clients: client.Clients) -> list[str]:
    """Return the names of the regions that are open to this account, sorted."""
    with clients.translate_errors("asking which regions there are"):
        return sorted(each["RegionName"] for each in clients.ec2.describe_regions()["Regions"])
