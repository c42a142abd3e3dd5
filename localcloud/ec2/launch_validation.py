"""Validation of RunInstances with EC2's error codes, and the defaults that EC2 fills in."""

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
    UnvailableAMIIdError,
)
from moto.ec2.models.instance_types import INSTANCE_TYPE_OFFERINGS, INSTANCE_TYPES

from localcloud.aws.error_responses import ApiError
from localcloud.ec2 import capacity, placement_groups
from localcloud.ec2.backend import Ec2Region
from localcloud.ec2.capacity import LaunchRequest

if TYPE_CHECKING:
    from moto.ec2.models.amis import Ami
    from moto.ec2.models.subnets import Subnet

_USER_DATA_BYTES = 16384


def resolve(ec2: Ec2Region, params: dict[str, Any]) -> None:
    """Validate a launch and complete ``params`` with everything that is to be launched.

    :raises EC2ClientError: with EC2's code for what is wrong; nothing has been created then.
    :raises ApiError: likewise, for errors that scenarios or missing capacity cause.
    """
    request = LaunchRequest.from_params(params)
    subnet = validate(ec2, params, request)
    params["MinCount"] = capacity.launch_count(ec2, request, subnet)


def validate(ec2: Ec2Region, params: dict[str, Any], request: LaunchRequest) -> Subnet:
    """Validate all resources that a launch names, which is as far as a dry run goes, and return its subnet.

    Contract: a-dry-run-checks-what-is-named.

    :raises EC2ClientError: as for ``resolve``, except for missing capacity.
    """
    _check_user_data(params.get("UserData"))
    _check_key(ec2, params.get("KeyName"))
    subnet = _subnet(ec2, params, request)
    # After the subnet, whose VPC and zone decide about groups and types.
    _check_groups(ec2, params, subnet)
    if "LaunchTemplate" not in params:
        # With a template, image, type and disks may come from it: moto merges them later.
        image = _image(ec2, params.get("ImageId", ""))
        _check_type(params, image, subnet)
        params["BlockDeviceMappings"] = _disks(params.get("BlockDeviceMappings", []), image)
        if len(params["BlockDeviceMappings"]) > 1 and (refusal := ec2.disks.refusal("volumes")):
            raise EC2ClientError("UnsupportedOperation", refusal)
    placement_groups.check(ec2, params, subnet)
    placement_groups.check_interfaces(params)
    _check_availability(ec2, params, request, subnet)
    return subnet


def validate_profile(params: dict[str, Any], *, account: str, partition: str) -> None:
    """Check that the instance profile exists, if one is named.

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
    """Return the (instance type, zone) pairs that a region offers."""
    offerings = INSTANCE_TYPE_OFFERINGS["availability-zone"].get(region, [])
    return frozenset((offering["InstanceType"], offering["Location"]) for offering in offerings)


def _image(ec2: Ec2Region, image_id: str) -> Ami:
    if not image_id.startswith("ami-"):
        raise MalformedAMIIdError([image_id])
    if image_id not in ec2.amis:
        raise InvalidAMIIdError(image_id)
    if ec2.amis[image_id].state != "available":
        raise UnvailableAMIIdError(image_id)
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


def _subnet(ec2: Ec2Region, params: dict[str, Any], request: LaunchRequest) -> Subnet:
    """Return the named subnet or else the default one of a zone, and name it in ``params``."""
    interfaces = params.get("NetworkInterfaces", [])
    subnet_id = params.get("SubnetId") or next((nic["SubnetId"] for nic in interfaces if "SubnetId" in nic), None)
    subnet = ec2.get_subnet(subnet_id) if subnet_id else _default_subnet(ec2, params, request)
    if not interfaces:
        params["SubnetId"] = subnet.id
    elif not any("NetworkInterfaceId" in nic for nic in interfaces):
        interfaces[0]["SubnetId"] = subnet.id
    if not ec2.context.block.contains(str(subnet.cidr.network_address)):
        message = f"{subnet.id} ({subnet.cidr_block}) lies outside {ec2.context.block.network}, where hosts can listen"
        raise EC2ClientError("Unsupported", message)
    return subnet


def _default_subnet(ec2: Ec2Region, params: dict[str, Any], request: LaunchRequest) -> Subnet:
    zone = params.get("Placement", {}).get("AvailabilityZone")
    subnets = ec2.get_default_subnets()
    candidates = [subnet for name, subnet in sorted(subnets.items()) if zone in (None, name)]
    if not candidates:
        if zone and zone not in {known.name for known in ec2.describe_availability_zones()}:
            raise EC2ClientError("InvalidParameterValue", f"Invalid availability zone: [{zone}]")
        raise EC2ClientError("MissingInput", f"No default subnet for availability zone: '{zone}'.")
    offers = offered_types(ec2.region_name)
    offering = [subnet for subnet in candidates if (params.get("InstanceType"), subnet.availability_zone) in offers]
    # EC2 chooses a zone with capacity when the launch names none.
    available = [subnet for subnet in offering if capacity.has_capacity(ec2, request, subnet)]
    return (available or offering or candidates)[0]


def _check_type(params: dict[str, Any], image: Ami, subnet: Subnet) -> None:
    instance_type = params.setdefault("InstanceType", "m1.small")
    if instance_type not in INSTANCE_TYPES:
        raise InvalidInstanceTypeError(instance_type)
    offers = offered_types(subnet.ec2_backend.region_name)
    if offers and (instance_type, subnet.availability_zone) not in offers:
        zones = ", ".join(sorted(zone for name, zone in offers if name == instance_type))
        advice = f" Please retry your request by choosing {zones}." if zones else ""
        message = f"Your requested instance type ({instance_type}) is not supported in your requested Availability Zone"
        raise EC2ClientError("Unsupported", f"{message} ({subnet.availability_zone}).{advice}")
    architectures = INSTANCE_TYPES[instance_type].get("ProcessorInfo", {}).get("SupportedArchitectures", [])
    if architectures and image.architecture not in architectures:
        message = f"The architecture '{','.join(architectures)}' of the specified instance type does not match"
        rest = f"the architecture '{image.architecture}' of the specified AMI."
        raise EC2ClientError("InvalidParameterValue", f"{message} {rest}")


def _check_groups(ec2: Ec2Region, params: dict[str, Any], subnet: Subnet) -> None:
    names = [*params.get("SecurityGroupIds", []), *params.get("SecurityGroups", [])]
    for nic in params.get("NetworkInterfaces", []):
        names += nic.get("Groups", [])
    for name in names:
        group = ec2.get_security_group_by_name_or_id(name)
        if group is None:
            raise InvalidSecurityGroupNotFoundError(name)
        if group.vpc_id != subnet.vpc_id:
            message = f"Security group {group.id} and subnet {subnet.id} belong to different networks."
            raise EC2ClientError("InvalidParameter", message)


def _check_availability(ec2: Ec2Region, params: dict[str, Any], request: LaunchRequest, subnet: Subnet) -> None:
    """Raise the launch errors of the scenario that do not depend on the number of instances."""
    image = params.get("ImageId", "")
    for active in ec2.environment.fault_engine.active("image-unavailable", request.pool_in(subnet)):
        if any(fnmatchcase(image, pattern) for pattern in active.fault["image"]) and active.trigger():
            code = active.fault["code"]
            raise ApiError(code, f"Not authorized for images: [{image}]" if code == "AuthFailure" else "", image=image)
    for active in ec2.environment.fault_engine.active("profile-late", request.pool_in(subnet)):
        if params.get("IamInstanceProfile") and active.trigger():
            raise ApiError("InvalidParameterValue", _unknown_profile(params, roles=active.fault["words"] == "roles"))


def _unknown_profile(params: dict[str, Any], *, roles: bool) -> str:
    key, value = next(iter(params["IamInstanceProfile"].items()))
    if roles:
        return f'IAM Instance Profile "{value}" has no associated IAM Roles'
    label = f"iamInstanceProfile.{key.lower()}"
    return f"Value ({value}) for parameter {label} is invalid. Invalid IAM Instance Profile {key.lower()}"


def _disks(requested: list[dict[str, Any]], image: Ami) -> list[dict[str, Any]]:
    """Return the requested disks, completed with the image's values, and always the root disk."""
    disks = {disk["DeviceName"]: disk for disk in image.block_device_mappings}
    for disk in requested:
        default = disks.get(disk["DeviceName"], {}).get("Ebs", {})
        ebs = {**default, **disk.get("Ebs", {})}
        _check_size(ebs, default)
        disks[disk["DeviceName"]] = {**disk, "Ebs": ebs} if "Ebs" in disk or default else disk
    return list(disks.values())


def _check_size(ebs: dict[str, Any], default: dict[str, Any]) -> None:
    size, minimum = int(ebs.get("VolumeSize") or 0), int(default.get("VolumeSize") or 0)
    if size < minimum:
        message = (
            f"Volume of size {size}GB is smaller than snapshot '{default['SnapshotId']}', expect size >= {minimum}GB"
        )
        raise EC2ClientError("InvalidBlockDeviceMapping", message)
