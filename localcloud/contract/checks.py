"""The checks of ``contract.toml`` that any cloud can be put to; in their order, those that cost nothing first."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any

from localcloud.contract.lab import TAG, CheckContext

Check = Callable[[CheckContext], None]
CHECKS: dict[str, Check] = {}

_NOWHERE = "0123456789abcdef0"
_PRICED = "c7i.2xlarge"


def _check(run: Check) -> Check:
    """Register a check under the name of the assumption that it is about."""
    CHECKS[run.__name__.replace("_", "-")] = run
    return run


def refusal(call: Callable[..., Any], **arguments: Any) -> tuple[str, int]:
    """Code and HTTP status of the error that a call gets.

    :raises AssertionError: it gets none.
    """
    from botocore.exceptions import ClientError

    try:
        call(**arguments)
    except ClientError as error:
        answer: Any = error.response
        return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]
    raise AssertionError("the call was not refused")


def same(found: object, expected: object) -> None:
    """Say what was found where something else was expected.

    :raises AssertionError: they differ.
    """
    need(found == expected, f"{found!r} instead of {expected!r}")


def need(fact: object, otherwise: str = "") -> None:
    """Say what is wrong unless ``fact`` holds.

    :raises AssertionError: it does not.
    """
    if not fact:
        raise AssertionError(otherwise)


@_check
def answers_carry_the_date(lab: CheckContext) -> None:
    """AWS's clock can be read off any answer."""
    headers = lab.ec2.describe_vpcs()["ResponseMetadata"]["HTTPHeaders"]
    off = parsedate_to_datetime(headers["date"]).timestamp() - time.time()
    need(abs(off) < 300, f"this computer's clock is {off:.0f} s off")


@_check
def image_parameters_name_images(lab: CheckContext) -> None:
    """The alias of Ubuntu 24.04."""
    (image,) = lab.ec2.describe_images(ImageIds=[lab.image])["Images"]
    same((image["OwnerId"], image["Architecture"], image["RootDeviceType"]), ("099720109477", "x86_64", "ebs"))


@_check
def default_subnets_are_there(lab: CheckContext) -> None:
    """One per zone."""
    subnets = lab.subnets()
    need(subnets, "there is none: this account has no default VPC in the region")
    zones = [one["AvailabilityZone"] for one in subnets]
    same(len(set(zones)), len(zones))
    need(all(one["MapPublicIpOnLaunch"] for one in subnets), "machines there get no public address")


@_check
def types_are_offered_by_zone(lab: CheckContext) -> None:
    """Zones of our own type."""
    only = [{"Name": "instance-type", "Values": [lab.instance_type]}]
    found = lab.ec2.describe_instance_type_offerings(LocationType="availability-zone", Filters=only)
    zones = [one["Location"] for one in found["InstanceTypeOfferings"]]
    need(zones and all(zone.startswith(lab.region) for zone in zones), f"found {zones}")


@_check
def unknown_types_are_named(lab: CheckContext) -> None:
    """A type with a typing error."""
    code, _ = refusal(lab.ec2.describe_instance_types, InstanceTypes=["c7i.2xlrage"])
    need(code.startswith("InvalidInstanceType"), code)


@_check
def quotas_have_codes(lab: CheckContext) -> None:
    """The one that most launches count against."""
    quota = lab.client("service-quotas").get_service_quota(ServiceCode="ec2", QuotaCode="L-1216C47A")["Quota"]
    need("On-Demand Standard" in quota["QuotaName"], quota["QuotaName"])
    need(quota["Adjustable"] and quota["Value"] >= 0)


def _prices(lab: CheckContext, **more: str) -> list[float]:
    wanted = {
        "instanceType": _PRICED,
        "regionCode": "us-west-2",
        "operatingSystem": "Linux",
        "tenancy": "Shared",
        "preInstalledSw": "NA",
        **more,
    }
    filters = [{"Type": "TERM_MATCH", "Field": name, "Value": value} for name, value in wanted.items()]
    answer = lab.client("pricing", region_name="us-east-1").get_products(ServiceCode="AmazonEC2", Filters=filters)
    terms = [term for one in answer["PriceList"] for term in json.loads(one)["terms"].get("OnDemand", {}).values()]
    rates = [rate for term in terms for rate in term["priceDimensions"].values()]
    return [float(rate["pricePerUnit"]["USD"]) for rate in rates]


@_check
def prices_are_listed(lab: CheckContext) -> None:
    """Of a type that has one everywhere."""
    prices = _prices(lab, capacitystatus="Used")
    need(len(prices) == 1 and 0 < prices[0] < 5, f"found {prices}")


@_check
def prices_have_traps(lab: CheckContext) -> None:
    """Free reservations among the prices."""
    prices = _prices(lab)
    need(0.0 in prices and len(prices) > 1, f"found {prices}")


@_check
def spot_prices_are_listed(lab: CheckContext) -> None:
    """In the zones of the region."""
    found = lab.ec2.describe_spot_price_history(
        InstanceTypes=[_PRICED], ProductDescriptions=["Linux/UNIX"], MaxResults=20
    )["SpotPriceHistory"]
    need(found, "there is none")
    (on_demand,) = _prices(lab, capacitystatus="Used")
    need(all(0 < float(one["SpotPrice"]) < 1.5 * on_demand for one in found), "prices out of all reason")
    need(all(one["AvailabilityZone"].startswith(lab.region) for one in found))


@_check
def unknown_keys_have_a_code_per_service(lab: CheckContext) -> None:
    """Keys that AWS never gave out."""
    made_up = {"aws_access_key_id": "AKIA" + "0" * 16, "aws_secret_access_key": "0" * 40}
    calls = {
        "ec2": "describe_vpcs",
        "sts": "get_caller_identity",
        "ssm": "describe_parameters",
    }
    found = {service: refusal(getattr(lab.client(service, **made_up), call)) for service, call in calls.items()}
    same(
        found,
        {
            "ec2": ("AuthFailure", 401),
            "sts": ("InvalidClientTokenId", 403),
            "ssm": ("UnrecognizedClientException", 400),
        },
    )


@_check
def unknown_instances_are_not_found(lab: CheckContext) -> None:
    """By id and by filter."""
    code, _ = refusal(lab.ec2.describe_instances, InstanceIds=[f"i-{_NOWHERE}"])
    same(code, "InvalidInstanceID.NotFound")
    same(lab.describe([f"i-{_NOWHERE}"]), [])


@_check
def unknown_names_have_codes(lab: CheckContext) -> None:
    """Each thing that a launch may name."""
    wrong: dict[str, Any] = {
        "ImageId": f"ami-{_NOWHERE}",
        "KeyName": lab.tag,
        "SubnetId": f"subnet-{_NOWHERE}",
        "SecurityGroupIds": [f"sg-{_NOWHERE}"],
    }
    found = {name: refusal(lab.launch, count=1, **{name: value})[0] for name, value in wrong.items()}
    same(
        list(found.values()),
        ["InvalidAMIID.NotFound", "InvalidKeyPair.NotFound", "InvalidSubnetID.NotFound", "InvalidGroup.NotFound"],
    )


@_check
def user_data_has_a_limit(lab: CheckContext) -> None:
    """One byte beyond it."""
    code, _ = refusal(lab.launch, count=1, UserData="x" * 16385)
    need(code in ("InvalidUserData.Malformed", "InvalidParameterValue"), code)


@_check
def a_dry_run_checks_what_is_named(lab: CheckContext) -> None:
    """The names of which a launch would be refused."""
    wrong: dict[str, Any] = {
        "ImageId": f"ami-{_NOWHERE}",
        "SubnetId": f"subnet-{_NOWHERE}",
        "IamInstanceProfile": {"Name": lab.tag},
    }
    found = {name: refusal(lab.launch, count=1, DryRun=True, **{name: value})[0] for name, value in wrong.items()}
    same(list(found.values()), ["InvalidAMIID.NotFound", "InvalidSubnetID.NotFound", "InvalidParameterValue"])


@_check
def a_dry_run_launches_nothing(lab: CheckContext) -> None:
    """The question whether one may."""
    same(refusal(lab.launch, count=1, DryRun=True), ("DryRunOperation", 412))
    same(list(lab.tagged_instances()), [])


@_check
def low_bids_are_refused(lab: CheckContext) -> None:
    """A bid of a hundredth of a cent."""
    bid = {"MarketType": "spot", "SpotOptions": {"MaxPrice": "0.0001"}}
    code, _ = refusal(lab.launch, count=1, InstanceType=_PRICED, InstanceMarketOptions=bid)
    same(code, "SpotMaxPriceTooLow")


@_check
def key_pairs_take_ed25519(lab: CheckContext) -> None:
    """There and back."""
    public = lab.host_key[1]
    lab.ec2.import_key_pair(KeyName=lab.tag, PublicKeyMaterial=public.encode())
    (found,) = lab.ec2.describe_key_pairs(KeyNames=[lab.tag], IncludePublicKey=True)["KeyPairs"]
    same((found["KeyType"], found["PublicKey"].split()[:2]), ("ed25519", public.split()))


@_check
def duplicate_keys_are_refused(lab: CheckContext) -> None:
    """The same name again."""
    public = lab.host_key[1].encode()
    code, _ = refusal(lambda: [lab.ec2.import_key_pair(KeyName=lab.tag, PublicKeyMaterial=public) for _ in range(2)])
    same(code, "InvalidKeyPair.Duplicate")


@_check
def duplicate_groups_are_refused(lab: CheckContext) -> None:
    """The same name, and the same rule, again."""
    group, vpc = lab.group, lab.subnets()[0]["VpcId"]
    code, _ = refusal(lab.ec2.create_security_group, GroupName=lab.tag, Description=TAG, VpcId=vpc)
    same(code, "InvalidGroup.Duplicate")
    rule = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "192.0.2.1/32"}]}
    lab.ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[rule])
    code, _ = refusal(lab.ec2.authorize_security_group_ingress, GroupId=group, IpPermissions=[rule])
    same(code, "InvalidPermission.Duplicate")


@_check
def new_instances_are_pending(lab: CheckContext) -> None:
    """As the launch answers."""
    same([one["State"]["Name"] for one in lab.shared_launch["Instances"]], ["pending", "pending"])


@_check
def pending_instances_cannot_be_stopped(lab: CheckContext) -> None:
    """Right after the launch."""
    code, _ = refusal(lab.ec2.stop_instances, InstanceIds=lab.ids[:1])
    need(code in ("IncorrectInstanceState", "InvalidInstanceID.NotFound"), code)


@_check
def a_launch_numbers_its_instances(lab: CheckContext) -> None:
    """From 0."""
    same(sorted(one["AmiLaunchIndex"] for one in lab.shared_launch["Instances"]), [0, 1])


@_check
def a_token_launches_once(lab: CheckContext) -> None:
    """The shared machines' launch, sent again."""
    again = lab.launch(2, **lab.launch_args())
    same({one["InstanceId"] for one in again["Instances"]}, set(lab.ids))


@_check
def a_token_binds_its_arguments(lab: CheckContext) -> None:
    """The shared machines' launch, sent again with other user data."""
    same(
        refusal(lab.launch, count=2, **{**lab.launch_args(), "UserData": "#!/bin/sh\n"})[0],
        "IdempotentParameterMismatch",
    )


@_check
def a_token_is_a_filter(lab: CheckContext) -> None:
    """The shared machines by their token."""

    def found() -> set[str]:
        pages = lab.ec2.describe_instances(Filters=[{"Name": "client-token", "Values": [lab.tag]}])["Reservations"]
        return {one["InstanceId"] for page in pages for one in page["Instances"]}

    lab.wait(lambda: found() == set(lab.ids), seconds=60)


@_check
def tags_are_set_at_launch(lab: CheckContext) -> None:
    """On machines and their volumes."""
    lab.wait(lambda: set(lab.tagged_instances()) == set(lab.ids), seconds=60)
    lab.wait_for(lab.ids, "running")
    tagged = [{"Name": f"tag:{TAG}", "Values": [lab.tag]}]
    same(len(lab.ec2.describe_volumes(Filters=tagged)["Volumes"]), 2)


@_check
def status_checks_take_time(lab: CheckContext) -> None:
    """Of machines that have just come to run."""
    lab.wait_for(lab.ids, "running")

    def checks() -> set[str]:
        found = lab.ec2.describe_instance_status(InstanceIds=lab.ids)["InstanceStatuses"]
        return {one["InstanceStatus"]["Status"] for one in found} if len(found) == 2 else set()

    need(lab.wait(checks) <= {"initializing", "ok"})
    lab.wait(lambda: checks() == {"ok"}, seconds=600)


@_check
def console_shows_host_keys(lab: CheckContext) -> None:
    """The key that user data brought."""

    def console() -> str:
        answer = lab.ec2.get_console_output(InstanceId=lab.ids[0])
        text: str = answer.get("Output", "")
        return text if "END SSH HOST KEY KEYS" in text else ""

    need(lab.host_key[1].split()[1] in lab.wait(console, seconds=600))


@_check
def one_bad_id_fails_all(lab: CheckContext) -> None:
    """One of ours with one that is not there."""
    code, _ = refusal(lab.ec2.terminate_instances, InstanceIds=[lab.ids[0], f"i-{_NOWHERE}"])
    same(code, "InvalidInstanceID.NotFound")
    # It may be on its way up; had it been ended, it would never get there.
    lab.wait_for(lab.ids[:1], "running")


@_check
def protection_holds(lab: CheckContext) -> None:
    """Until it is taken off."""
    one = lab.ids[0]
    lab.ec2.modify_instance_attribute(InstanceId=one, DisableApiTermination={"Value": True})
    code, _ = refusal(lab.ec2.terminate_instances, InstanceIds=[one])
    lab.ec2.modify_instance_attribute(InstanceId=one, DisableApiTermination={"Value": False})
    same(code, "OperationNotPermitted")


@_check
def groups_in_use_stay(lab: CheckContext) -> None:
    """The shared machines' group."""
    lab.wait_for(lab.ids, "running")
    same(refusal(lab.ec2.delete_security_group, GroupId=lab.group)[0], "DependencyViolation")


@_check
def stopping_keeps_the_private_address(lab: CheckContext) -> None:
    """Of one of the shared machines."""
    one = lab.ids[:1]
    (before,) = lab.wait_for(one, "running")
    lab.ec2.stop_instances(InstanceIds=one)
    (stopped,) = lab.wait_for(one, "stopped")
    same((stopped["PrivateIpAddress"], "PublicIpAddress" in stopped), (before["PrivateIpAddress"], False))


@_check
def launch_time_is_the_last_start(lab: CheckContext) -> None:
    """Of the machine that was stopped, at least a second later."""
    one = lab.ids[:1]
    (before,) = lab.wait_for(one, "stopped")
    time.sleep(1.1)
    lab.ec2.start_instances(InstanceIds=one)
    (after,) = lab.wait_for(one, "running")
    need(after["LaunchTime"] > before["LaunchTime"], "it stays what it was")


@_check
def a_shutdown_from_within_ends_a_machine(lab: CheckContext) -> None:
    """A machine of its own, that boots to shut down."""
    order = {"UserData": "#!/bin/sh\nshutdown -h now\n", "InstanceInitiatedShutdownBehavior": "terminate"}
    made = lab.launch(1, **order)["Instances"][0]["InstanceId"]
    (gone,) = lab.wait_for([made], "terminated", seconds=600)
    same(gone["StateReason"]["Code"], "Client.InstanceInitiatedShutdown")


@_check
def ending_passes_through_shutting_down(lab: CheckContext) -> None:
    """The shared machines' end."""
    changes = lab.ec2.terminate_instances(InstanceIds=lab.ids)["TerminatingInstances"]
    same({one["CurrentState"]["Name"] for one in changes}, {"shutting-down"})
    gone = lab.wait_for(lab.ids, "terminated", seconds=600)
    need(not any("PrivateIpAddress" in one for one in gone), "they keep their addresses")
    lab.ec2.terminate_instances(InstanceIds=lab.ids)


@_check
def root_disks_go_with_their_machine(lab: CheckContext) -> None:
    """The shared machines' volumes."""
    tagged = [{"Name": f"tag:{TAG}", "Values": [lab.tag]}]
    lab.wait(lambda: not lab.ec2.describe_volumes(Filters=tagged)["Volumes"])
