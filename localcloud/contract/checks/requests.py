"""Checks of requests that are refused, or that create key pairs and groups only. They cost nothing."""

from __future__ import annotations

from typing import Any

from localcloud.contract.check_context import TAG, CheckContext
from localcloud.contract.checks.expectations import Check, error_of, expect, expect_equal

_UNUSED_ID = "0123456789abcdef0"
_PRICED_TYPE = "c7i.2xlarge"


def unknown_instances_are_not_found(context: CheckContext) -> None:
    """Describe an unknown instance by id and by filter."""
    code, _ = error_of(context.ec2.describe_instances, InstanceIds=[f"i-{_UNUSED_ID}"])
    expect_equal(code, "InvalidInstanceID.NotFound")
    expect_equal(context.describe([f"i-{_UNUSED_ID}"]), [])


def unknown_names_have_codes(context: CheckContext) -> None:
    """Launch with an unknown value of each parameter that names a resource."""
    wrong: dict[str, Any] = {
        "ImageId": f"ami-{_UNUSED_ID}",
        "KeyName": context.tag,
        "SubnetId": f"subnet-{_UNUSED_ID}",
        "SecurityGroupIds": [f"sg-{_UNUSED_ID}"],
    }
    codes = {name: error_of(context.launch, count=1, **{name: value})[0] for name, value in wrong.items()}
    expect_equal(
        list(codes.values()),
        ["InvalidAMIID.NotFound", "InvalidKeyPair.NotFound", "InvalidSubnetID.NotFound", "InvalidGroup.NotFound"],
    )


def user_data_has_a_limit(context: CheckContext) -> None:
    """Launch with user data that is one byte too long."""
    code, _ = error_of(context.launch, count=1, UserData="x" * 16385)
    expect(code in ("InvalidUserData.Malformed", "InvalidParameterValue"), code)


def a_dry_run_checks_what_is_named(context: CheckContext) -> None:
    """Dry-run launches with unknown names."""
    wrong: dict[str, Any] = {
        "ImageId": f"ami-{_UNUSED_ID}",
        "SubnetId": f"subnet-{_UNUSED_ID}",
        "IamInstanceProfile": {"Name": context.tag},
    }
    codes = {name: error_of(context.launch, count=1, DryRun=True, **{name: value})[0] for name, value in wrong.items()}
    expect_equal(list(codes.values()), ["InvalidAMIID.NotFound", "InvalidSubnetID.NotFound", "InvalidParameterValue"])


def a_dry_run_launches_nothing(context: CheckContext) -> None:
    """Dry-run a valid launch."""
    expect_equal(error_of(context.launch, count=1, DryRun=True), ("DryRunOperation", 412))
    expect_equal(list(context.tagged_instances()), [])


def low_bids_are_refused(context: CheckContext) -> None:
    """Bid a hundredth of a cent for a spot instance."""
    bid = {"MarketType": "spot", "SpotOptions": {"MaxPrice": "0.0001"}}
    code, _ = error_of(context.launch, count=1, InstanceType=_PRICED_TYPE, InstanceMarketOptions=bid)
    expect_equal(code, "SpotMaxPriceTooLow")


def key_pairs_take_ed25519(context: CheckContext) -> None:
    """Import an ed25519 key and read it back."""
    public = context.host_key[1]
    context.ec2.import_key_pair(KeyName=context.tag, PublicKeyMaterial=public.encode())
    (pair,) = context.ec2.describe_key_pairs(KeyNames=[context.tag], IncludePublicKey=True)["KeyPairs"]
    expect_equal((pair["KeyType"], pair["PublicKey"].split()[:2]), ("ed25519", public.split()))


def duplicate_keys_are_refused(context: CheckContext) -> None:
    """Import a key pair under the same name again."""
    public = context.host_key[1].encode()
    code, _ = error_of(
        lambda: [context.ec2.import_key_pair(KeyName=context.tag, PublicKeyMaterial=public) for _ in range(2)]
    )
    expect_equal(code, "InvalidKeyPair.Duplicate")


def duplicate_groups_are_refused(context: CheckContext) -> None:
    """Create a group of the same name, and authorize the same rule, again."""
    group, vpc = context.group, context.subnets()[0]["VpcId"]
    code, _ = error_of(context.ec2.create_security_group, GroupName=context.tag, Description=TAG, VpcId=vpc)
    expect_equal(code, "InvalidGroup.Duplicate")
    rule = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "192.0.2.1/32"}]}
    context.ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[rule])
    code, _ = error_of(context.ec2.authorize_security_group_ingress, GroupId=group, IpPermissions=[rule])
    expect_equal(code, "InvalidPermission.Duplicate")


CHECKS: tuple[Check, ...] = (
    unknown_instances_are_not_found,
    unknown_names_have_codes,
    user_data_has_a_limit,
    a_dry_run_checks_what_is_named,
    a_dry_run_launches_nothing,
    low_bids_are_refused,
    key_pairs_take_ed25519,
    duplicate_keys_are_refused,
    duplicate_groups_are_refused,
)
