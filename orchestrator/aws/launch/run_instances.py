"""Launch: one RunInstances request for all instances, with an idempotency token that is in the journal beforehand.

The token makes repeating a request safe: EC2 answers a repeated request with the same instances. So as long as the
outcome is unknown, the request is repeated with the same token, from this process or after a crash.
https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-idempotency.html
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from orchestrator.aws import client, dry_run, error_codes, errors
from orchestrator.aws.capacity.pools import SPOT
from orchestrator.aws.disks import mounts
from orchestrator.aws.disks.mounts import Mount
from orchestrator.aws.ec2 import host_names, instance_profiles, instance_tags, instances, state_changes
from orchestrator.aws.ec2.ownership import Ownership
from orchestrator.aws.launch import launch_log
from orchestrator.aws.machines import coupling, placement_groups
from orchestrator.core.clock import Backoff
from orchestrator.core.errors import CloudRefused, LeftRunning, StratusError, UsageError
from orchestrator.core.journal import Journal, JournalEntry
from orchestrator.core.next_step import NextStep
from orchestrator.crypto import ssh_keys

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import ReservationResponseTypeDef

    from orchestrator.aws.launch.plan import LaunchPlan
    from orchestrator.aws.launch.time_limits import TimeLimits

PARTIAL = "Stratus.PartialLaunch"
"""Error code of Stratus, not of AWS: fewer instances were launched than requested."""

RETRY_TIMEOUT_S = 180.0  # for errors of AWS itself
PROPAGATION_S = 15.0  # until a group, key pair or instance profile that was just created is known everywhere
MAX_USER_DATA_BYTES = 16_384
"""Before base64: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-add-user-data.html"""

_BACKOFF = Backoff(first_s=1.0, longest_s=15.0, growth=2.0)
_PROPAGATING = ("InvalidGroup.NotFound", "InvalidKeyPair.NotFound", placement_groups.UNKNOWN)


@dataclass(frozen=True)
class LaunchResources:
    """Resources that a launch needs besides its plan.

    :param key_name: EC2 key pair for SSH access.
    :param group_id: security group of the instances.
    :param host_key: SSH host key that the instances boot with.
    :param guard_id: guard group beside it; empty for none.
    :param files_group_id: group that the cluster's shared file systems admit; empty for none.
    :param mounts: of shared file systems.
    :param placement_group: name of the group that the instances are placed in; empty for none.
    :param is_guarded: True if one of the groups is the cluster's own, which EC2 keeps while an instance uses it.
    """

    key_name: str
    group_id: str
    host_key: ssh_keys.HostKey
    guard_id: str = ""
    is_guarded: bool = True
    files_group_id: str = ""
    mounts: tuple[Mount, ...] = ()
    placement_group: str = ""

    @property
    def group_ids(self) -> list[str]:
        """All security groups of the instances."""
        return [self.group_id, *filter(None, (self.guard_id, self.files_group_id))]


def launch(
    clients: client.Clients, plan: LaunchPlan, *, resources: LaunchResources, journal: Journal
) -> list[instances.Instance]:
    """Launch all instances of a plan, or none, with one request.

    :returns: the instances in the order of the plan's names, usually pending; fewer if the plan allows that.
    :raises CloudRefused: AWS refused, nothing was launched. Capacity and quota errors are not retried.
    :raises LeftRunning: the outcome is unknown; the entry in the journal stays open.
    """
    expires = clients.clock.now() + timedelta(hours=plan.hours)
    token = clients.clock.new_id()
    request = {**build_request(plan, resources, expires=expires), "ClientToken": token}
    log = launch_log.LaunchLog(journal, plan.cluster_id, clients.clock)
    entry = _record_intent(journal, plan, token, is_guarded=resources.is_guarded)
    try:
        shown = _request(clients, request, plan, entry)
    except LeftRunning:  # the entry stays open: the instances may exist
        raise
    except StratusError as refusal:
        log.record_outcome([entry], refused=refusal.code, ids=[])
        raise
    log.record_outcome([entry], ids=[instance.id for instance in shown])
    launched = [instances.with_known_tags(instance, _planned(plan, resources, instance)) for instance in shown]
    if len(launched) < plan.min_count:
        _roll_back(clients, plan, launched)
        log.record_terminated({instance.id for instance in launched}, plan.launch_id)
        raise CloudRefused(
            f"launching {plan.count} x {plan.instance_type} in {plan.subnet.zone}: only {len(launched)} of "
            f"{plan.count} VMs were launched, and terminated again",
            code=PARTIAL,
            fix="try again later, or set [cluster] allow_partial = yes",
        )
    return launched


def _record_intent(journal: Journal, plan: LaunchPlan, token: str, *, is_guarded: bool) -> JournalEntry:
    return journal.record_intent(
        launch_log.LAUNCH,
        run=plan.launch_id,  # the key of older versions, whose journals must stay readable
        token=token,
        subnet=plan.subnet.id,
        zone=plan.subnet.zone,
        count=plan.count,
        type=plan.instance_type,
        hosts=host_names.compress(plan.names),
        guarded=is_guarded,
        **plan.cluster_id.journal_fields,
    )


def _planned(plan: LaunchPlan, resources: LaunchResources, shown: instances.Instance) -> instances.Instance:
    """Return an instance with the values that the request tagged it with; the tags may take a while to show."""
    key = resources.host_key.public
    return replace(
        shown,
        name=plan.names[shown.index] if shown.index < plan.count else shown.id,
        cluster=plan.cluster,
        launch_id=plan.launch_id,
        owner=plan.owner,
        owner_id=plan.cluster_id.owner_id,
        host_key=key,
        boot_key=key,
        max_hours=plan.hours,
        disk=plan.disk,
        further_disks=plan.further_disks,
        disks=mounts.InstanceDisks((*plan.disk_mounts, *resources.mounts), None, plan.subnet.id),
        user=plan.user,
        launch_size=plan.count,
        has_public_address=plan.has_public_addresses,
        replaced=plan.replaced,
        idle_minutes=plan.idle_minutes,
    )


def _roll_back(clients: client.Clients, plan: LaunchPlan, launched: Sequence[instances.Instance]) -> None:
    """Terminate the instances of an incomplete launch.

    :raises LeftRunning: one could not be terminated.
    """
    changes = state_changes.terminate(clients, launched, ownership=Ownership(plan.cluster_id))
    left = [f"{change.name} ({change.id}): {change.error}" for change in changes.values() if not change.is_ok]
    if left:
        raise LeftRunning(
            "only some of the VMs were launched, and they could not be terminated",
            left=left,
            fix=NextStep("TerminateAll") + "  tries again",
        )


def check(
    clients: client.Clients, plan: LaunchPlan, *, key_name: str = "", group_id: str = "", guard_id: str = ""
) -> None:
    """Check that AWS would permit a launch: one dry run of the same request.

    :param key_name: key pair, if it exists already; otherwise the dry run is made without it.
    :param group_id: security group, likewise.
    :param guard_id: guard group; empty for none.
    :raises CloudRefused: AWS would refuse; a missing permission is named with the policy statement that grants it.
    """
    # A host key like the one of the launch: the size of the user data is checked as well.
    resources = LaunchResources(key_name, group_id, ssh_keys.generate_host_key(), guard_id)
    request = build_request(plan, resources, expires=clients.clock.now())
    if not key_name:
        del request["KeyName"]
    for part in [request, *request.get("NetworkInterfaces", [])] if not group_id else []:
        part.pop("SecurityGroupIds", None)
        part.pop("Groups", None)
    with clients.translate_errors(f"checking that {plan.count} x {plan.instance_type} can be launched"):
        dry_run.check(clients.ec2.run_instances, **request)


def user_data(host_key: ssh_keys.HostKey, limits: TimeLimits) -> str:
    """Return the cloud-config of an instance: its SSH host key, and the timer that shuts it down.

    The host key makes the first connection verifiable. The document is JSON, which is valid YAML and needs no quoting
    rules of its own.

    :raises UsageError: it exceeds the limit of EC2.
    """
    config = {
        "ssh_deletekeys": True,
        "ssh_keys": {"ed25519_private": host_key.private, "ed25519_public": host_key.public},
        "bootcmd": limits.boot_commands,
        "write_files": limits.cloud_init_files,
    }
    text = "#cloud-config\n" + json.dumps(config, indent=1) + "\n"
    size = len(text.encode())
    if size > MAX_USER_DATA_BYTES:
        raise UsageError(
            f"the user data has {size:,} bytes; the limit of EC2 is {MAX_USER_DATA_BYTES:,}",
            code="InvalidUserData.Malformed",
            fix="shorten orchestrator/remote/expire.sh or idle.sh, which every VM boots with",
        )
    return text


def build_request(plan: LaunchPlan, resources: LaunchResources, *, expires: datetime) -> dict[str, Any]:
    """Return the arguments of RunInstances, without the idempotency token.

    :param expires: time of the automatic shutdown, for the tag.
    """
    request: dict[str, Any] = {
        "ImageId": plan.image.id,
        "InstanceType": plan.instance_type,
        "MinCount": plan.min_count,  # with MinCount = MaxCount, EC2 launches all or none
        "MaxCount": plan.count,
        "KeyName": resources.key_name,
        "UserData": user_data(resources.host_key, plan.time_limits),
        "BlockDeviceMappings": [
            {"DeviceName": plan.image.root_device, "Ebs": _root_disk(plan)},
            # An image may ask to keep its further volumes, which would then be billed without end.
            *({"DeviceName": device, "Ebs": _further_disk(plan)} for device in plan.image.further_disks),
            *(item.mapping for item in plan.volumes if not item.ids),
        ],
        # One hop: containers cannot reach the metadata service, and with it the credentials of the VM's role.
        "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 1, "HttpEndpoint": "enabled"},
        "InstanceInitiatedShutdownBehavior": "terminate",  # the timer's shutdown ends the billing of the disk, too
        "TagSpecifications": _tags(plan, resources, expires),
        **_network(plan, resources),
    }
    if plan.market == SPOT:
        # One-time and terminate: a persistent request would launch a new instance after a reclaim.
        options = {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"}
        options |= {"MaxPrice": plan.max_spot_price} if plan.max_spot_price else {}
        request["InstanceMarketOptions"] = {"MarketType": "spot", "SpotOptions": options}
    if plan.reservation:
        target = {"CapacityReservationTarget": {"CapacityReservationId": plan.reservation.id}}
        request["CapacityReservationSpecification"] = target
        if plan.reservation.is_block:
            request["InstanceMarketOptions"] = {"MarketType": "capacity-block"}
    if resources.placement_group:
        request["Placement"] = {"GroupName": resources.placement_group}
    if plan.instance_profile:
        key = "Arn" if plan.instance_profile.startswith("arn:") else "Name"
        request["IamInstanceProfile"] = {key: plan.instance_profile}
    return request


def _root_disk(plan: LaunchPlan) -> dict[str, Any]:
    disk = plan.disk
    ebs: dict[str, Any] = {"VolumeSize": disk.size, "VolumeType": disk.type, "DeleteOnTermination": True}
    # The snapshot of a baked image may be encrypted, and then its disks can be nothing else.
    if disk.encrypted or not plan.image.base_id:
        ebs["Encrypted"] = disk.encrypted
    performance = {"Iops": disk.iops, "Throughput": disk.throughput}
    return ebs | {key: value for key, value in performance.items() if value}


def _further_disk(plan: LaunchPlan) -> dict[str, Any]:
    # Encryption can be switched on, but not off: a snapshot of the image may be encrypted.
    return {"DeleteOnTermination": True, **({"Encrypted": True} if plan.disk.encrypted else {})}


def _network(plan: LaunchPlan, resources: LaunchResources) -> dict[str, Any]:
    if plan.address_type == "auto" and not plan.has_efa:
        return {"SubnetId": plan.subnet.id, "SecurityGroupIds": resources.group_ids}
    # A public address can only be requested for a network interface, which then carries subnet and groups.
    interface = {
        "DeviceIndex": 0,
        "SubnetId": plan.subnet.id,
        "Groups": resources.group_ids,
        "AssociatePublicIpAddress": plan.has_public_addresses,
    }
    efas = plan.efa_interfaces
    return {"NetworkInterfaces": coupling.interfaces(interface, efas) if efas else [interface]}


def _tags(plan: LaunchPlan, resources: LaunchResources, expires: datetime) -> list[dict[str, Any]]:
    """Return the tags of instances, disks and network interfaces; tagged at creation, none is ever without owner."""
    names = host_names.compress(plan.names)
    key = resources.host_key.public.split()[1]
    values = {
        "Name": names,
        instance_tags.HOSTS: names,
        instance_tags.LAUNCH: plan.launch_id,
        instance_tags.EXPIRES: expires.isoformat(timespec="seconds"),
        instance_tags.HOURS: f"{plan.hours:g}",
        instance_tags.HOST_KEY: key,
        instance_tags.BOOT_KEY: key,
        instance_tags.DISK: plan.disk.tag_value,
        instance_tags.USER: plan.user,
        instance_tags.ADDRESS: "public" if plan.has_public_addresses else "private",
    }
    if plan.further_disks:
        values[instance_tags.VOLUMES] = " ".join(disk.tag_value for disk in plan.further_disks)
    values |= mounts.tags((*plan.disk_mounts, *resources.mounts))
    if plan.idle_minutes:
        values[instance_tags.IDLE] = str(plan.idle_minutes)
    if plan.replaced.at_most:
        values[instance_tags.REPLACED] = f"{plan.replaced.at_least:.6f} {plan.replaced.at_most:.6f}"
    tags = [*plan.cluster_id.tags, *({"Key": name, "Value": value} for name, value in values.items())]
    return [{"ResourceType": type_, "Tags": tags} for type_ in ("instance", "volume", "network-interface")]


def _request(
    clients: client.Clients, request: Mapping[str, Any], plan: LaunchPlan, entry: JournalEntry
) -> list[instances.Instance]:
    """Request instances until AWS has answered, with the same token each time.

    :raises CloudRefused: AWS refused.
    :raises LeftRunning: AWS did not answer, or an earlier request may have been carried out.
    """
    is_ambiguous = False
    for waited_s in clients.clock.attempts(RETRY_TIMEOUT_S, _BACKOFF, jitter=True):
        try:
            return _launched(clients.ec2_once.run_instances(**request))
        except errors.error_types() as error:
            last, reaction = error, errors.reaction(error)
            is_ambiguous = is_ambiguous or reaction == "ambiguous"
            if not (reaction in ("retry", "ambiguous") or (_is_propagating(error) and waited_s < PROPAGATION_S)):
                break
    refusal = clients.translate(last, action=f"launching {plan.count} x {plan.instance_type} in {plan.subnet.zone}")
    if not is_ambiguous:
        raise refusal from last
    return _look_up(clients, plan, entry, refusal)


def _launched(response: ReservationResponseTypeDef) -> list[instances.Instance]:
    by_index = sorted(response["Instances"], key=lambda instance: instance["AmiLaunchIndex"])
    return [instances.from_response(instance) for instance in by_index]


def _look_up(
    clients: client.Clients, plan: LaunchPlan, entry: JournalEntry, refusal: StratusError
) -> list[instances.Instance]:
    """Look up the instances of a request that lost an answer, and was then refused or not answered.

    The refusal of a repeated request does not tell whether the first one was carried out.

    :raises StratusError: the refusal: there are no instances, and none can appear any more.
    :raises LeftRunning: the outcome is unknown.
    """
    try:
        instances_of_token = launch_log.find_by_token(clients, entry)
    except StratusError as error:
        raise _unknown_outcome(plan, refusal) from error
    if instances_of_token:
        return instances_of_token
    if isinstance(refusal, CloudRefused) and error_codes.look_up(refusal.code, refusal.message).reaction != "ambiguous":
        raise refusal
    raise _unknown_outcome(plan, refusal)


def _is_propagating(error: Exception) -> bool:
    code = errors.code_of(error)
    # The dry run passed, but the request may reach a part of EC2 that does not know the profile yet.
    return code in _PROPAGATING or instance_profiles.is_unknown_profile(code, errors.message_of(error))


def _unknown_outcome(plan: LaunchPlan, refusal: StratusError) -> LeftRunning:
    reason = f"{refusal.message} ({refusal.code})" if isinstance(refusal, CloudRefused) else refusal.message
    return LeftRunning(
        f"it is unknown whether the VMs were launched. {reason}",
        left=[f"{name} ({plan.instance_type}, {plan.subnet.zone}, launch {plan.launch_id})" for name in plan.names],
        fix=NextStep("Status") + "  shows them if they were; " + NextStep("TerminateAll") + "  terminates them",
    )
