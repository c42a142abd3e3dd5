"""Launching: one RunInstances call for all machines, with a token that was on the disk before AWS was asked.

The token makes asking again safe: as long as nobody knows whether a call was carried out, it is repeated with the same
token, and EC2 answers with the same machines.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from orchestrator.aws import client, dry_run, error_codes, errors
from orchestrator.aws.capacity.pools import SPOT
from orchestrator.aws.ec2 import host_names, instance_profiles, instance_tags, instances, state_changes
from orchestrator.aws.launch import launch_log
from orchestrator.aws.launch.time_limits import TimeLimits
from orchestrator.core.clock import Backoff
from orchestrator.core.errors import CloudRefused, LeftRunning, StratusError, UsageError
from orchestrator.core.journal import Journal, JournalEntry
from orchestrator.core.next_step import NextStep
from orchestrator.crypto import ssh_keys

if TYPE_CHECKING:
    from orchestrator.aws.launch.plan import LaunchPlan

RETRY_TIMEOUT_S = 180.0  # for how long to ask again while AWS reports an internal error
PARTIAL = "Stratus.PartialLaunch"  # our own code: fewer machines came than were asked for
USER_DATA_BYTES = (
    16384  # before base64: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-add-user-data.html
)
PROPAGATION_S = 15.0  # how long a group, key or profile made a moment ago may be unknown to RunInstances
_BACKOFF = Backoff(first_s=1.0, longest_s=15.0, growth=2.0)
_PROPAGATING = ("InvalidGroup.NotFound", "InvalidKeyPair.NotFound")


@dataclass(frozen=True)
class LaunchResources:
    """What a launch takes besides its plan.

    :param key_name: EC2 key pair that opens the machines.
    :param group_id: their security group.
    :param host_key: the SSH host key that they boot with.
    """

    key_name: str
    group_id: str
    host_key: ssh_keys.HostKey


def launch(
    clients: client.Clients,
    plan: LaunchPlan,
    *,
    resources: LaunchResources,
    journal: Journal,
) -> list[instances.Instance]:
    """Launch all machines of a plan, or none, with one request.

    :returns: the machines in the order of the plan's names, most of them pending; fewer when the plan allows that.
    :raises CloudRefused: AWS said no, so nothing was launched; capacity and quota are not asked for twice.
    :raises LeftRunning: nobody can say whether they were launched; the journal keeps the entry open.
    """
    request = build_request(plan, resources, expires=clients.clock.now() + timedelta(hours=plan.hours))
    token = clients.clock.new_id()
    books = launch_log.LaunchLog(journal, plan.cluster_id, clients.clock)
    entry = journal.record_intent(
        launch_log.LAUNCH,
        run=plan.launch_id,
        token=token,
        subnet=plan.subnet.id,
        zone=plan.subnet.zone,
        count=plan.count,
        type=plan.instance_type,
        hosts=host_names.compress(plan.names),
        **plan.cluster_id.journal_fields,
    )
    try:
        shown = _decided(clients, {**request, "ClientToken": token}, plan, entry)
    except LeftRunning:
        raise
    except StratusError as refusal:
        books.record_outcome([entry], refused=refusal.code, ids=[])
        raise
    books.record_outcome([entry], ids=[each.id for each in shown])
    found = [instances.with_known_tags(each, _made(plan, resources, each)) for each in shown]
    if len(found) < plan.min_count:
        _take_back(clients, plan, found)
        books.record_terminated({each.id for each in found}, plan.launch_id)
        raise CloudRefused(
            f"launching {plan.count} x {plan.instance_type} in {plan.subnet.zone}: only {len(found)} came, and were "
            "ended again",
            code=PARTIAL,
            fix="try again later, or set [cluster] allow_partial = yes",
        )
    return found


def _made(plan: LaunchPlan, launch_key: LaunchResources, shown: instances.Instance) -> instances.Instance:
    """Return a machine with what our own request says of it; its tags may take a while to show."""
    key = launch_key.host_key.public
    named = plan.names[shown.index] if shown.index < plan.count else shown.id
    return replace(
        shown,
        name=named,
        cluster=plan.cluster,
        launch_id=plan.launch_id,
        owner=plan.owner,
        host_key=key,
        boot_key=key,
        max_hours=plan.hours,
        disk=plan.disk,
        user=plan.user,
        launch_size=plan.count,
    )


def _take_back(clients: client.Clients, plan: LaunchPlan, found: Sequence[instances.Instance]) -> None:
    """End the machines of a launch that came to less than was asked for, before anything else is tried.

    :raises LeftRunning: they are not known to be ending.
    """
    ended = state_changes.terminate(clients, found, cluster_id=plan.cluster_id)
    left = [f"{each.name} ({each.id}): {ended[each.id].error}" for each in found if not ended[each.id].is_ok]
    if left:
        raise LeftRunning(
            "only some of the machines came, and they could not be ended",
            left=left,
            fix=NextStep("TerminateAll") + "  tries again",
        )


def check(clients: client.Clients, plan: LaunchPlan, *, key_name: str = "", group_id: str = "") -> None:
    """Ask AWS whether it would let us launch this, without launching: one dry run of the same request.

    :param key_name: a key pair that is there already; one that is made later is left out.
    :param group_id: the same of the security group.
    :raises CloudRefused: it would not; a missing permission is named with the policy statement that gives it.
    """
    soon = LaunchResources(key_name, group_id, ssh_keys.generate_host_key())  # as long as the one that it will be
    request = build_request(plan, soon, expires=clients.clock.now())
    if not key_name:
        del request["KeyName"]
    for card in [request, *request.get("NetworkInterfaces", [])] if not group_id else []:
        card.pop("SecurityGroupIds", None)
        card.pop("Groups", None)
    with clients.translate_errors(f"asking whether {plan.count} x {plan.instance_type} may be launched"):
        dry_run.check(clients.ec2.run_instances, **request)


def user_data(host_key: ssh_keys.HostKey, limits: TimeLimits) -> str:
    """Return the cloud-config that a machine boots with.

    It brings the host key, so that the first connection can be verified, and at every boot sets the time after which
    the machine shuts down, which ends it whatever became of this computer. JSON is YAML, and needs no quoting rules.

    :raises UsageError: it is larger than EC2 takes.
    """
    config = {
        "ssh_deletekeys": True,
        "ssh_keys": {"ed25519_private": host_key.private, "ed25519_public": host_key.public},
        "write_files": limits.cloud_init_files,
    }
    text = "#cloud-config\n" + json.dumps(config, indent=1) + "\n"
    size = len(text.encode())
    if size > USER_DATA_BYTES:
        raise UsageError(
            f"the machines' user data has {size:,} bytes, EC2 takes {USER_DATA_BYTES:,}",
            code="InvalidUserData.Malformed",
            fix="shorten orchestrator/remote/expire.sh or idle.sh, which every machine boots with",
        )
    return text


def build_request(plan: LaunchPlan, resources: LaunchResources, *, expires: datetime) -> dict[str, Any]:
    """Return the arguments of RunInstances, without the token.

    :param expires: when the machines end themselves, for their tag.
    """
    request: dict[str, Any] = {
        "ImageId": plan.image.id,
        "InstanceType": plan.instance_type,
        "MinCount": plan.min_count,
        "MaxCount": plan.count,
        "KeyName": resources.key_name,
        "UserData": user_data(resources.host_key, plan.time_limits),
        "BlockDeviceMappings": [{"DeviceName": plan.image.root_device, "Ebs": _root_disk(plan)}],
        # One hop: containers and other machines cannot reach the role's credentials through this one.
        "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 1, "HttpEndpoint": "enabled"},
        "InstanceInitiatedShutdownBehavior": "terminate",
        "TagSpecifications": _tags(plan, resources, expires),
        **_network(plan, resources),
    }
    if plan.market == SPOT:
        once = {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"}
        request["InstanceMarketOptions"] = {"MarketType": "spot", "SpotOptions": once}
    if plan.instance_profile:
        kind = "Arn" if plan.instance_profile.startswith("arn:") else "Name"
        request["IamInstanceProfile"] = {kind: plan.instance_profile}
    return request


def _root_disk(plan: LaunchPlan) -> dict[str, Any]:
    disk = plan.disk
    facts = {"VolumeSize": disk.size, "VolumeType": disk.type, "DeleteOnTermination": True, "Encrypted": disk.encrypted}
    extra = {"Iops": disk.iops, "Throughput": disk.throughput}
    return facts | {key: value for key, value in extra.items() if value}


def _network(plan: LaunchPlan, launch_key: LaunchResources) -> dict[str, Any]:
    if plan.address_type == "auto":
        return {"SubnetId": plan.subnet.id, "SecurityGroupIds": [launch_key.group_id]}
    card = {
        "DeviceIndex": 0,
        "SubnetId": plan.subnet.id,
        "Groups": [launch_key.group_id],
        "AssociatePublicIpAddress": plan.address_type == "public",
    }
    return {"NetworkInterfaces": [card]}


def _tags(plan: LaunchPlan, launch_key: LaunchResources, expires: datetime) -> list[dict[str, Any]]:
    """Return the tags of machines, disks and network cards, which get them as they are made."""
    hosts = host_names.compress(plan.names)
    own = {
        "Name": hosts,
        instance_tags.HOSTS: hosts,
        instance_tags.LAUNCH: plan.launch_id,
        instance_tags.EXPIRES: expires.isoformat(timespec="seconds"),
        instance_tags.HOURS: f"{plan.hours:g}",
        instance_tags.HOST_KEY: launch_key.host_key.public.split()[1],
        instance_tags.BOOT_KEY: launch_key.host_key.public.split()[1],
        instance_tags.DISK: plan.disk.tag_value,
        instance_tags.USER: plan.user,
    }
    tags = [*plan.cluster_id.tags, *({"Key": key, "Value": value} for key, value in own.items())]
    return [{"ResourceType": kind, "Tags": tags} for kind in ("instance", "volume", "network-interface")]


def _decided(
    clients: client.Clients, request: Mapping[str, Any], plan: LaunchPlan, entry: JournalEntry
) -> list[instances.Instance]:
    """Ask until AWS has said yes or no, with the same token each time.

    :raises CloudRefused: AWS said no.
    :raises LeftRunning: it never said, or an earlier request may have been carried out.
    """
    doing = f"launching {plan.count} x {plan.instance_type} in {plan.subnet.zone}"
    unsure: Exception | None = None
    for waited in clients.clock.attempts(
        RETRY_TIMEOUT_S, Backoff(first_s=1.0, longest_s=15.0, growth=2.0), jitter=True
    ):
        try:
            answer = clients.ec2_once.run_instances(**request)
            return [
                instances.from_response(each)
                for each in sorted(answer["Instances"], key=lambda one: one["AmiLaunchIndex"])
            ]
        except errors.error_types() as error:
            last, reaction = error, errors.reaction(error)
            unsure = error if reaction == "ambiguous" else unsure
            if not (reaction in ("retry", "ambiguous") or (_is_new(error) and waited < PROPAGATION_S)):
                break
    refusal = clients.translate(last, action=doing)
    if unsure is None:
        raise refusal from last
    return _looked_up(clients, plan, entry, refusal)


def _looked_up(
    clients: client.Clients, plan: LaunchPlan, entry: JournalEntry, refusal: StratusError
) -> list[instances.Instance]:
    """Find out by looking what became of a request whose answer was lost, and which was then refused or not answered.

    A refusal of the repeated request says nothing for sure of the first one.

    :raises StratusError: the refusal: no machine is there, and none can come any more.
    :raises LeftRunning: nobody can say.
    """
    try:
        found = launch_log.find_by_token(clients, entry)
    except StratusError as error:
        raise _unknown(plan, refusal) from error
    if found:
        return found
    if isinstance(refusal, CloudRefused) and error_codes.look_up(refusal.code, refusal.message).reaction != "ambiguous":
        raise refusal
    raise _unknown(plan, refusal)


def _is_new(error: Exception) -> bool:
    code = errors.code_of(error)
    # A profile was known to the machine of EC2's that answered the dry run; others may hear of it later.
    return code in _PROPAGATING or instance_profiles.is_unknown_profile(code, errors.message_of(error))


def _unknown(plan: LaunchPlan, refusal: StratusError) -> LeftRunning:
    said = f"{refusal.message} ({refusal.code})" if isinstance(refusal, CloudRefused) else refusal.message
    return LeftRunning(
        f"nobody can say whether the machines were launched. {said}",
        left=[f"{name} ({plan.instance_type}, {plan.subnet.zone}, launch {plan.launch_id})" for name in plan.names],
        fix=NextStep("Status") + "  shows them if they were; " + NextStep("TerminateAll") + "  terminates them",
    )
