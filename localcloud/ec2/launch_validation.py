"""What RunInstances checks before it launches, in EC2's own words, and the defaults that it fills in."""

from __future__ import annotations

import base64
import binascii
from fnmatch import fnmatchcase
from functools import cache
from typing import TYPE_CHECKING, Any

from moto.ec2.exceptions import (
    EC2ClientError,
    InvalidAMIIdError,
    InvalidInstanceTypeError,
    InvalidSecurityGroupNotFoundError,
    MalformedAMIIdError,
)
from moto.ec2.models.instance_types import INSTANCE_TYPE_OFFERINGS, INSTANCE_TYPES

from localcloud.aws.error_responses import ApiError
from localcloud.ec2 import capacity
from localcloud.ec2.capacity import LaunchRequest

if TYPE_CHECKING:
    from moto.ec2.models.amis import Ami
    from moto.ec2.models.subnets import Subnet

    from localcloud.ec2.backend import Ec2Region

_USER_DATA_BYTES = 16384


def resolve(ec2: Ec2Region, params: dict[str, Any]) -> None:
    """Check a launch and make ``params`` say in full what is to be launched.

    :raises EC2ClientError: with EC2's code for what is wrong; nothing has been made then. Or a Refusal, likewise.
    """
    order = LaunchRequest.from_params(params)
    subnet = validate(ec2, params, order)
    params["MinCount"] = capacity.launch_count(ec2, order, subnet)


def validate(ec2: Ec2Region, params: dict[str, Any], order: LaunchRequest) -> Subnet:
    """Check all that a launch names, which is as far as a dry run goes, and return its subnet.

    Contract: a-dry-run-checks-what-is-named.

    :raises EC2ClientError: as `settle`, but for want of room.
    """
    _check_user_data(params.get("UserData"))
    _check_key(ec2, params.get("KeyName"))
    subnet = _subnet(ec2, params, order)
    _check_groups(ec2, params, subnet)
    if "LaunchTemplate" not in params:
        # Else image, type and disks may be the template's: moto merges them later.
        image = _image(ec2, params.get("ImageId", ""))
        _check_type(params, image, subnet)
        params["BlockDeviceMappings"] = _disks(params.get("BlockDeviceMappings", []), image)
    _check_availability(ec2, params, order, subnet)
    return subnet


def validate_profile(params: dict[str, Any], *, account: str, partition: str) -> None:
    """The instance profile, if one is named, exists.

    :raises EC2ClientError: InvalidParameterValue.
    """
    from moto.core.exceptions import ServiceException
    from moto.ec2.utils import filter_iam_instance_profiles

    for key, value in params.get("IamInstanceProfile", {}).items():
        arn, name = (value, None) if key == "Arn" else (None, value)
        try:
            filter_iam_instance_profiles(account, partition, arn, name)
        except ServiceException as error:
            raise EC2ClientError("InvalidParameterValue", _unknown_profile(params, roles=False)) from error


@cache
def offered_types(region: str) -> frozenset[tuple[str, str]]:
    """Which (instance type, zone) pairs a region offers."""
    offerings = INSTANCE_TYPE_OFFERINGS["availability-zone"].get(region, [])
    return frozenset((offering["InstanceType"], offering["Location"]) for offering in offerings)


def _image(ec2: Ec2Region, image_id: str) -> Ami:
    if not image_id.startswith("ami-"):
        raise MalformedAMIIdError([image_id])
    if image_id not in ec2.amis:
        raise InvalidAMIIdError(image_id)
    return ec2.amis[image_id]


def _check_user_data(user_data: str | None) -> None:
    try:
        size = len(base64.b64decode(user_data or "", validate=False))
    except binascii.Error as error:
        raise EC2ClientError("InvalidUserData.Malformed", "Invalid BASE64 encoding of user data.") from error
    if size > _USER_DATA_BYTES:
        raise EC2ClientError("InvalidUserData.Malformed", f"User data is limited to {_USER_DATA_BYTES} bytes")


def _check_key(ec2: Ec2Region, name: str | None) -> None:
    if name and name not in ec2.key_pairs:
        raise EC2ClientError("InvalidKeyPair.NotFound", f"The key pair '{name}' does not exist")


def _subnet(ec2: Ec2Region, params: dict[str, Any], order: LaunchRequest) -> Subnet:
    """The subnet that is named or, if none is, the default one of a zone; ``params`` names it from then on."""
    interfaces = params.get("NetworkInterfaces", [])
    named = params.get("SubnetId") or next((nic["SubnetId"] for nic in interfaces if "SubnetId" in nic), None)
    subnet = ec2.get_subnet(named) if named else _default_subnet(ec2, params, order)
    if not interfaces:
        params["SubnetId"] = subnet.id
    elif not any("NetworkInterfaceId" in nic for nic in interfaces):
        interfaces[0]["SubnetId"] = subnet.id
    if not ec2.context.block.contains(str(subnet.cidr.network_address)):
        words = f"{subnet.id} ({subnet.cidr_block}) lies outside {ec2.context.block.network}, where machines can listen"
        raise EC2ClientError("Unsupported", words)
    return subnet


def _default_subnet(ec2: Ec2Region, params: dict[str, Any], order: LaunchRequest) -> Subnet:
    zone = params.get("Placement", {}).get("AvailabilityZone")
    subnets = ec2.get_default_subnets()
    wanted = [subnet for name, subnet in sorted(subnets.items()) if zone in (None, name)]
    if not wanted:
        if zone and zone not in {known.name for known in ec2.describe_availability_zones()}:
            raise EC2ClientError("InvalidParameterValue", f"Invalid availability zone: [{zone}]")
        raise EC2ClientError("MissingInput", f"No default subnet for availability zone: '{zone}'.")
    offers = offered_types(ec2.region_name)
    fitting = [subnet for subnet in wanted if (params.get("InstanceType"), subnet.availability_zone) in offers]
    # Who leaves the zone to EC2 gets one that has room.
    roomy = [subnet for subnet in fitting if capacity.has_capacity(ec2, order, subnet)]
    return (roomy or fitting or wanted)[0]


def _check_type(params: dict[str, Any], image: Ami, subnet: Subnet) -> None:
    kind = params.setdefault("InstanceType", "m1.small")
    if kind not in INSTANCE_TYPES:
        raise InvalidInstanceTypeError(kind)
    offers = offered_types(subnet.ec2_backend.region_name)
    if offers and (kind, subnet.availability_zone) not in offers:
        zones = ", ".join(sorted(zone for name, zone in offers if name == kind))
        advice = f" Please retry your request by choosing {zones}." if zones else ""
        words = f"Your requested instance type ({kind}) is not supported in your requested Availability Zone"
        raise EC2ClientError("Unsupported", f"{words} ({subnet.availability_zone}).{advice}")
    machines = INSTANCE_TYPES[kind].get("ProcessorInfo", {}).get("SupportedArchitectures", [])
    if machines and image.architecture not in machines:
        words = f"The architecture '{','.join(machines)}' of the specified instance type does not match"
        rest = f"the architecture '{image.architecture}' of the specified AMI."
        raise EC2ClientError("InvalidParameterValue", f"{words} {rest}")


def _check_groups(ec2: Ec2Region, params: dict[str, Any], subnet: Subnet) -> None:
    listed = [*params.get("SecurityGroupIds", []), *params.get("SecurityGroups", [])]
    for nic in params.get("NetworkInterfaces", []):
        listed += nic.get("Groups", [])
    for name in listed:
        group = ec2.get_security_group_by_name_or_id(name)
        if group is None:
            raise InvalidSecurityGroupNotFoundError(name)
        if group.vpc_id != subnet.vpc_id:
            words = f"Security group {group.id} and subnet {subnet.id} belong to different networks."
            raise EC2ClientError("InvalidParameter", words)


def _check_availability(ec2: Ec2Region, params: dict[str, Any], order: LaunchRequest, subnet: Subnet) -> None:
    """What a scenario has against this launch, other than how many it gets."""
    image = params.get("ImageId", "")
    for rule in ec2.environment.fault_engine.active("image-unavailable", order.pool_in(subnet)):
        if any(fnmatchcase(image, pattern) for pattern in rule.fault["image"]) and rule.trigger():
            code = rule.fault["code"]
            raise ApiError(code, f"Not authorized for images: [{image}]" if code == "AuthFailure" else "", image=image)
    for rule in ec2.environment.fault_engine.active("profile-late", order.pool_in(subnet)):
        if params.get("IamInstanceProfile") and rule.trigger():
            raise ApiError("InvalidParameterValue", _unknown_profile(params, roles=rule.fault["words"] == "roles"))


def _unknown_profile(params: dict[str, Any], *, roles: bool) -> str:
    key, value = next(iter(params["IamInstanceProfile"].items()))
    if roles:
        return f'IAM Instance Profile "{value}" has no associated IAM Roles'
    label = f"iamInstanceProfile.{key.lower()}"
    return f"Value ({value}) for parameter {label} is invalid. Invalid IAM Instance Profile {key.lower()}"


def _disks(asked: list[dict[str, Any]], image: Ami) -> list[dict[str, Any]]:
    """The disks asked for, each with the image's values where it says nothing; the root disk always."""
    disks = {disk["DeviceName"]: disk for disk in image.block_device_mappings}
    for disk in asked:
        standard = disks.get(disk["DeviceName"], {}).get("Ebs", {})
        ebs = {**standard, **disk.get("Ebs", {})}
        _check_size(ebs, standard)
        disks[disk["DeviceName"]] = {**disk, "Ebs": ebs} if "Ebs" in disk or standard else disk
    return list(disks.values())


def _check_size(ebs: dict[str, Any], standard: dict[str, Any]) -> None:
    size, least = int(ebs.get("VolumeSize") or 0), int(standard.get("VolumeSize") or 0)
    if size < least:
        words = f"Volume of size {size}GB is smaller than snapshot '{standard['SnapshotId']}', expect size >= {least}GB"
        raise EC2ClientError("InvalidBlockDeviceMapping", words)
