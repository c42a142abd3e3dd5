"""EC2 instances of Stratus: lookups, and the record that is read from an instance and its tags."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING

from orchestrator.aws import client, identity
from orchestrator.aws.disks import mounts
from orchestrator.aws.disks.mounts import NO_DISKS, InstanceDisks
from orchestrator.aws.ec2 import host_names, instance_tags
from orchestrator.aws.ec2.past_use import PastUse
from orchestrator.core import cost
from orchestrator.core.cost import Amount

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import FilterTypeDef, InstanceTypeDef

    from orchestrator.aws.ec2.ownership import Ownership

ALIVE = ("pending", "running", "stopping", "stopped")
TERMINATING = ("shutting-down", "terminated")
HOST_KEY_TYPE = "ssh-ed25519"
VISIBILITY_LAG_S = 300.0
"""Describe calls may omit a new instance for some time (eventual consistency), other calls may refuse its id:
https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html. AWS states no bound; this one is generous."""

_MAX_FILTER_VALUES = 200  # of one filter: AWS API reference, DescribeInstances


@dataclass(frozen=True)
class Disk:
    """A root disk.

    :param type: EBS volume type, ``gp3``.
    :param size: GiB.
    :param iops: 0 is the default of the type.
    :param throughput: MiB/s; 0 is the default of the type.
    """

    type: str
    size: int
    iops: int = 0
    throughput: int = 0
    encrypted: bool = True

    @property
    def tag_value(self) -> str:
        """Value of the instance's disk tag, from which the cost of the disk is known without a call."""
        return f"{self.type}:{self.size}:{self.iops}:{self.throughput}"

    @classmethod
    def from_tag(cls, value: str) -> Disk | None:
        """Return the disk of a `tag_value`; None for any other text."""
        try:
            volume_type, size, iops, throughput = value.split(":")
            return cls(volume_type, int(size), int(iops), int(throughput))
        except ValueError:
            return None


@dataclass(frozen=True)
class Instance:
    """One EC2 instance.

    :param name: such as ``ml-0``; the id if the tags hold no valid name.
    :param launch_id: id of the launch that created it.
    :param state: ``pending``, ``running``, ``stopping``, ``stopped``, ``shutting-down`` or ``terminated``.
    :param reason: reason of the last state transition, as EC2 words it; empty if there was none.
    :param public_address: empty if it has none.
    :param host_key: ``ssh-ed25519 AAAA...``; empty if not tagged.
    :param launched_at: time of the launch or of the last start.
    :param expires_at: time of the automatic shutdown; None if not tagged.
    :param max_hours: hours from start to automatic shutdown; 0 if not tagged.
    :param user: login name; empty if not tagged.
    :param index: launch index within its request.
    :param stopped_at: time of the stop while it is stopping or stopped; None if it is neither, or EC2 omits it.
    :param is_spot: True for a spot instance.
    :param launch_size: number of instances of its launch, which share one ``max_dollars``.
    :param boot_key: host key of the launch while it is still valid; empty once the host has a key of its own.
    :param further_disks: EBS volumes that its image brings besides the root disk.
    :param idle_minutes: minutes without use until it shuts down; 0 for never, or if not tagged.
    :param created_at: time of its launch, whatever the last start; None if EC2 does not show it.
    :param ended_at: time at which it began to shut down for good; None if it did not, or EC2 does not show it.
    :param past_use: time billed before its last start; None if not tagged.
    :param has_public_address: True if it has a public IPv4 address while it is running; None if unknown.
    :param replaced: cost of the instance that it replaced.
    :param owner_id: tells apart people and computers behind one role; empty if not tagged.
    :param disks: its volumes, and what is mounted on it.
    """

    id: str
    name: str
    cluster: str
    launch_id: str
    owner: str
    type: str
    state: str
    reason: str
    zone: str
    public_address: str
    private_address: str
    host_key: str
    key_name: str
    launched_at: datetime
    expires_at: datetime | None
    max_hours: float
    image_id: str
    group_ids: tuple[str, ...]
    disk: Disk | None = None
    user: str = ""
    boot_key: str = ""
    launch_size: int = 1
    is_spot: bool = False
    index: int = 0
    stopped_at: datetime | None = None
    further_disks: tuple[Disk, ...] = ()
    idle_minutes: int = 0
    created_at: datetime | None = None
    ended_at: datetime | None = None
    past_use: PastUse | None = None
    has_public_address: bool | None = None
    replaced: Amount = cost.NOTHING
    owner_id: str = ""
    disks: InstanceDisks = NO_DISKS

    @property
    def is_alive(self) -> bool:
        """True unless it is terminated or shutting down."""
        return self.state in ALIVE

    @property
    def summary(self) -> str:
        """Name, id, state and owner: ``ml-0 (i-0123, running, user/ada)``."""
        owner = self.owner.rpartition(":")[2] or "no owner"
        details = [*([self.id] if self.id != self.name else []), self.state, owner]
        return f"{self.name} ({', '.join(details)})"

    def may_be_hidden(self, now: datetime) -> bool:
        """Return True if EC2 may still omit it from answers because it was launched recently."""
        return (now - self.launched_at).total_seconds() < VISIBILITY_LAG_S


def with_known_tags(shown: Instance, known: Instance) -> Instance:
    """Return an instance as EC2 shows it, with the tagged values of its launch while EC2 does not show its tags.

    Tags of a new instance may appear after the instance itself.

    :param known: the same instance as its launch recorded it.
    """
    if shown.id != known.id or shown.cluster:
        return shown
    return replace(
        shown,
        name=known.name,
        cluster=known.cluster,
        launch_id=known.launch_id,
        owner=known.owner,
        owner_id=known.owner_id,
        host_key=known.host_key,
        boot_key=known.boot_key,
        expires_at=known.expires_at,
        max_hours=known.max_hours,
        disk=known.disk,
        further_disks=known.further_disks,
        user=known.user,
        launch_size=known.launch_size,
        has_public_address=known.has_public_address if shown.has_public_address is None else shown.has_public_address,
        replaced=known.replaced,
        idle_minutes=known.idle_minutes,
        disks=shown.disks.with_mounts(known.disks),
    )


def describe(clients: client.Clients, ownership: Ownership) -> list[Instance]:
    """Return the instances of a cluster's owner that are not terminated, sorted by name; one call per 1000."""
    described = describe_all(clients, cluster=ownership.cluster_id.cluster)
    return [instance for instance in described if ownership.includes(instance)]


def describe_all(clients: client.Clients, *, cluster: str | None, include_terminated: bool = False) -> list[Instance]:
    """Return instances launched by Stratus, of any owner, sorted by name; one call per 1000.

    :param cluster: only of this cluster; None for all.
    :param include_terminated: also return terminated instances, which EC2 shows for about an hour.
    """
    # Filtered by EC2: an account may have thousands of other instances.
    filters: list[FilterTypeDef] = [{"Name": "tag-key", "Values": [identity.TAG_CLUSTER]}]
    if not include_terminated:
        filters.append({"Name": "instance-state-name", "Values": [*ALIVE, "shutting-down"]})
    filters += [identity.tag_filter(identity.TAG_CLUSTER, cluster)] if cluster is not None else []
    with clients.translate_errors("listing the VMs"):
        described = list(_pages(clients, filters))
    # Checked again: a filter that matches too much must never make an instance of another cluster a target.
    matches = [instance for instance in described if cluster in (None, instance.cluster)]
    return sorted(
        matches, key=lambda instance: (instance.cluster, host_names.sort_key(instance.name), instance.launched_at)
    )


def describe_ids(clients: client.Clients, ids: Iterable[str]) -> list[Instance]:
    """Return the instances with some ids, sorted by name; those that EC2 does not show are omitted."""
    wanted = sorted(ids)
    matches: list[Instance] = []
    with clients.translate_errors("looking up the state of the VMs"):
        # By filter, not by InstanceIds: one unknown id would fail the whole call.
        for start in range(0, len(wanted), _MAX_FILTER_VALUES):
            batch = wanted[start : start + _MAX_FILTER_VALUES]
            matches += _pages(clients, [{"Name": "instance-id", "Values": batch}])
    return _by_name(matches)


def find_by_token(clients: client.Clients, token: str) -> list[Instance]:
    """Return the instances, terminated ones included, of the request with an idempotency token."""
    with clients.translate_errors("looking up launched VMs"):
        return _by_name(_pages(clients, [{"Name": "client-token", "Values": [token]}]))


def find_by_launch(clients: client.Clients, ownership: Ownership, launch_id: str) -> list[Instance]:
    """Return the instances, terminated ones included, of one launch of a cluster's owner."""
    filters = [*ownership.cluster_id.filters, identity.tag_filter(instance_tags.LAUNCH, launch_id)]
    with clients.translate_errors(f"looking up the VMs of launch {launch_id}"):
        described = list(_pages(clients, filters))
    return _by_name(
        instance for instance in described if instance.launch_id == launch_id and ownership.includes(instance)
    )


def find_impaired(clients: client.Clients, ids: Sequence[str]) -> list[str]:
    """Return the ids of instances with a failed system or instance status check."""
    with clients.translate_errors("reading the status checks"):
        impaired = _impaired(clients, "instance-status.status") | _impaired(clients, "system-status.status")
    return [instance_id for instance_id in ids if instance_id in impaired]


def _impaired(clients: client.Clients, check: str) -> set[str]:
    # Filters of one call are combined with AND: each status check needs a call of its own.
    pages = clients.ec2.get_paginator("describe_instance_status").paginate(
        Filters=[{"Name": check, "Values": ["impaired"]}]
    )
    return {status["InstanceId"] for page in pages for status in page["InstanceStatuses"]}


def console_output(clients: client.Clients, instance_id: str) -> str:
    """Return the console output of an instance; EC2 provides it with a delay, and often has none while it boots."""
    from base64 import b64decode

    with clients.translate_errors(f"reading the console of {instance_id}"):
        output = clients.ec2.get_console_output(InstanceId=instance_id).get("Output", "")
    try:
        return b64decode(output, validate=True).decode(errors="replace")
    except ValueError:  # newer versions of botocore decode it themselves
        return output


def from_response(response: InstanceTypeDef) -> Instance:
    """Return the record of one instance in an EC2 response."""
    tags = {tag["Key"]: tag["Value"] for tag in response.get("Tags", [])}
    names = _launch_names(tags)
    return Instance(
        id=response["InstanceId"],
        name=_name(response, names),
        cluster=tags.get(identity.TAG_CLUSTER, ""),
        launch_id=tags.get(instance_tags.LAUNCH, ""),
        owner=tags.get(identity.TAG_OWNER, ""),
        owner_id=tags.get(identity.TAG_OWNER_ID, ""),
        type=response["InstanceType"],
        state=response["State"]["Name"],
        reason=_reason(response),
        zone=response["Placement"].get("AvailabilityZone", ""),
        public_address=response.get("PublicIpAddress", ""),
        private_address=response.get("PrivateIpAddress", ""),
        host_key=_host_key(tags, instance_tags.HOST_KEY),
        boot_key=_host_key(tags, instance_tags.BOOT_KEY),
        key_name=response.get("KeyName", ""),
        launched_at=response["LaunchTime"],
        expires_at=_time(tags.get(instance_tags.EXPIRES, "")),
        max_hours=_hours(tags.get(instance_tags.HOURS, "")),
        image_id=response.get("ImageId", ""),
        group_ids=_group_ids(response),
        disk=Disk.from_tag(tags.get(instance_tags.DISK, "")),
        user=tags.get(instance_tags.USER, ""),
        launch_size=len(names) or 1,
        is_spot=response.get("InstanceLifecycle") == "spot",
        index=response.get("AmiLaunchIndex", 0),
        stopped_at=_transition_time(response, ("stopping", "stopped")),
        ended_at=_transition_time(response, TERMINATING),
        further_disks=tuple(filter(None, map(Disk.from_tag, tags.get(instance_tags.VOLUMES, "").split()))),
        idle_minutes=int(idle) if (idle := tags.get(instance_tags.IDLE, "")).isdecimal() else 0,
        created_at=_created_at(response),
        past_use=PastUse.from_tag(tags.get(instance_tags.BILLED, "")),
        has_public_address=_has_public_address(response, tags),
        replaced=_replaced(tags.get(instance_tags.REPLACED, "")),
        disks=mounts.from_response(response, tags),
    )


def _pages(clients: client.Clients, filters: Sequence[FilterTypeDef]) -> Iterator[Instance]:
    pages = clients.ec2.get_paginator("describe_instances").paginate(
        Filters=filters, PaginationConfig={"PageSize": host_names.MAX_PER_LAUNCH}
    )
    for page in pages:
        for reservation in page["Reservations"]:
            yield from map(from_response, reservation["Instances"])


def _by_name(instances: Iterable[Instance]) -> list[Instance]:
    return sorted(instances, key=lambda instance: host_names.sort_key(instance.name))


def _host_key(tags: Mapping[str, str], tag: str) -> str:
    return f"{HOST_KEY_TYPE} {tags[tag]}" if tags.get(tag) else ""


def _launch_names(tags: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names of the instance's launch; invalid tags must not hide an instance that costs money."""
    try:
        return host_names.expand(tags[instance_tags.HOSTS])
    except (KeyError, ValueError):
        return ()


def _name(response: InstanceTypeDef, names: Sequence[str]) -> str:
    index = response.get("AmiLaunchIndex", -1)
    return names[index] if 0 <= index < len(names) else response["InstanceId"]


def _reason(response: InstanceTypeDef) -> str:
    reason = response.get("StateReason", {})
    code, message = reason.get("Code", ""), reason.get("Message", "")
    return message if message.startswith(code) else f"{code}: {message}"


def _transition_time(response: InstanceTypeDef, states: Sequence[str]) -> datetime | None:
    """Return the time of a transition, which is only part of a text: ``User initiated (2026-11-20 14:12:07 GMT)``.

    :param states: for an instance in any other state, the time is None.
    """
    if response["State"]["Name"] not in states:
        return None
    reason = response.get("StateTransitionReason", "")
    match = re.search(r"\((\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) (?:GMT|UTC)\)", reason)
    return _time(match[1]) if match else None


def _created_at(response: InstanceTypeDef) -> datetime | None:
    """Return the time of the launch: a later start changes LaunchTime, but not the first interface's attachment.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_Instance.html (launchTime)
    """
    attachments = [card.get("Attachment", {}) for card in response.get("NetworkInterfaces", [])]
    return next((item.get("AttachTime") for item in attachments if item.get("DeviceIndex") == 0), None)


def _has_public_address(response: InstanceTypeDef, tags: Mapping[str, str]) -> bool | None:
    if response["State"]["Name"] == "running":
        return "PublicIpAddress" in response
    # In all other states EC2 shows none, whether it has one while it is running or not.
    return {"public": True, "private": False}.get(tags.get(instance_tags.ADDRESS, ""))


def _replaced(text: str) -> Amount:
    """Return the cost that a tag holds, ``0.0102 0.0123``; nothing for any other text."""
    try:
        at_least, at_most = map(Decimal, text.split())
    except (InvalidOperation, ValueError):
        return cost.NOTHING
    return Amount(at_least, at_most) if at_least.is_finite() and at_most.is_finite() else cost.NOTHING


def _group_ids(response: InstanceTypeDef) -> tuple[str, ...]:
    # Responses to RunInstances may list the groups of the network interface only.
    groups = list(response.get("SecurityGroups", []))
    groups += [group for card in response.get("NetworkInterfaces", []) for group in card.get("Groups", [])]
    return tuple(dict.fromkeys(group["GroupId"] for group in groups))


def _time(text: str) -> datetime | None:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)  # EC2's texts, and hand-edited tags, may lack a zone


def _hours(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
