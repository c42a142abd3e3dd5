"""Machines as EC2 shows them: what we launched, what state it is in, when it gets where we want it.

The tags are the state file: whatever is known of a machine can be read back from any computer.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from orchestrator.aws import client, identity
from orchestrator.aws.ec2 import host_names, instances
from orchestrator.core.errors import HostError, HostsFailed

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import FilterTypeDef, InstanceTypeDef

TAG_LAUNCH = "stratus:run"
TAG_HOSTS = "stratus:hosts"
TAG_EXPIRES = "stratus:expires"
TAG_HOURS = "stratus:hours"
TAG_HOST_KEY = "stratus:hostkey"
TAG_BOOT_KEY = "stratus:bootkey"
TAG_DISK = "stratus:disk"
TAG_USER = "stratus:user"

ALIVE = ("pending", "running", "stopping", "stopped")
TERMINATING = ("shutting-down", "terminated")
HOST_KEY_TYPE = "ssh-ed25519"
VISIBILITY_LAG_S = 300.0  # EC2 may deny for that long that a machine just launched exists
_MAX_TAGGED = 1000  # most ids that one CreateTags call takes
_MAX_FILTER_VALUES = 200  # most values that one filter of a describe call takes


@dataclass(frozen=True)
class Disk:
    """A root disk.

    :param type: EBS volume type, ``gp3``.
    :param size: GiB.
    :param iops: 0 is the type's default.
    :param throughput: MiB/s; 0 is the type's default.
    """

    type: str
    size: int
    iops: int = 0
    throughput: int = 0
    encrypted: bool = True

    @property
    def tag_value(self) -> str:
        """The form that a machine's tag keeps, so that the cost of its disk can be told without another call."""
        return f"{self.type}:{self.size}:{self.iops}:{self.throughput}"

    @classmethod
    def from_tag(cls, value: str) -> Disk | None:
        """Return the disk that `tag` wrote down; None for anything else."""
        try:
            kind, size, iops, throughput = value.split(":")
            return cls(kind, int(size), int(iops), int(throughput))
        except ValueError:
            return None


@dataclass(frozen=True)
class Instance:
    """One machine.

    :param name: such as ``ml-0``; its id when its tags do not tell.
    :param run: id of the launch that it came from.
    :param state: ``pending``, ``running``, ``stopping``, ``stopped``, ``shutting-down`` or ``terminated``.
    :param reason: why it is in that state, in EC2's words; empty while all is well.
    :param public_address: empty when it has none.
    :param host_key: ``ssh-ed25519 AAAA...``; empty when its tags do not tell.
    :param launched: when it was launched, or last started.
    :param expires: when it ends itself; None when its tags do not tell.
    :param max_hours: how long it runs before it ends itself; 0 when its tags do not tell.
    :param user: login name; empty when its tags do not tell.
    :param index: of the machine in its request.
    :param stopped: since when it is stopped, or about to be; None when it is not, or EC2 does not say.
    :param spot: it was bought on the spot market.
    :param sharing: how many machines its launch had; they share one ``max_dollars``.
    :param boot_key: the host key it was launched with, while that still counts; empty once it has one of its own.
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

    @property
    def is_alive(self) -> bool:
        """Whether it is neither ended nor ending."""
        return self.state in ALIVE

    @property
    def summary(self) -> str:
        """What it is and whose: ``ml-0 (i-0123, running, user/ada)``."""
        known = [*([self.id] if self.id != self.name else []), self.state, self.owner.rpartition(":")[2] or "nobody's"]
        return f"{self.name} ({', '.join(known)})"


def with_known_tags(shown: Instance, known: Instance) -> Instance:
    """Return a machine as EC2 shows it; what only its tags tell as it is known here, while EC2 does not show them yet.

    :param known: the same machine, by its id, as its launch made it.
    """
    if shown.id != known.id or shown.cluster:
        return shown
    return replace(
        shown,
        name=known.name,
        cluster=known.cluster,
        launch_id=known.launch_id,
        owner=known.owner,
        host_key=known.host_key,
        boot_key=known.boot_key,
        expires_at=known.expires_at,
        max_hours=known.max_hours,
        disk=known.disk,
        user=known.user,
        launch_size=known.launch_size,
    )


def describe(
    clients: client.Clients, *, cluster: str | None, owner: str | None, include_terminated: bool = False
) -> list[Instance]:
    """Return machines that Stratus launched, in the order of their names; one call for up to 1000.

    :param cluster: of this cluster only; None for all.
    :param owner: of this owner only; None for all, foreign ones included.
    :param ended: also those that are terminated, which EC2 shows for about an hour.
    """
    filters: list[FilterTypeDef] = [{"Name": "tag-key", "Values": [identity.TAG_CLUSTER]}]
    if not include_terminated:
        filters.append({"Name": "instance-state-name", "Values": [*ALIVE, "shutting-down"]})
    filters += [identity.tag_filter(identity.TAG_CLUSTER, cluster)] if cluster is not None else []
    filters += [identity.tag_filter(identity.TAG_OWNER, owner)] if owner is not None else []
    with clients.translate_errors("asking which machines there are"):
        found = list(_described(clients, filters))
    # Filters are EC2's; that a foreign machine is never taken for ours is checked here.
    mine = [each for each in found if cluster in (None, each.cluster) and owner in (None, each.owner)]
    return sorted(mine, key=lambda each: (each.cluster, host_names.sort_key(each.name), each.launched_at))


def wait_for_state(
    clients: client.Clients,
    ids: Collection[str],
    *,
    state: str = "running",
    deadline_s: float = 300.0,
    on_lost: Callable[[str, HostError], None] = lambda name, error: None,
) -> Iterator[Instance]:
    """Yield every machine once, as it reaches a state; all are asked for in one call per look.

    :param until: ``running`` or ``stopped``.
    :param deadline_s: seconds after which those that are not there count as failed.
    :param lost: hears at once of every machine, by name, that will not get there.
    :raises HostsFailed: at the end, with every machine that went elsewhere or was too slow.
    """
    pending, failed, seen = set(ids), dict[str, Exception](), dict[str, Instance]()
    for waited in clients.clock.attempts(deadline_s):
        for each in describe_ids(clients, pending):
            before, seen[each.id] = seen.get(each.id), each
            if each.state == state:
                pending.discard(each.id)
                yield each
            elif _lost(each, state, before):
                pending.discard(each.id)
                error = failed[each.name] = HostError(_went(each), where=each.name)
                on_lost(each.name, error)
        if not pending:
            break
        late = waited
    for missing in sorted(pending):
        name = seen[missing].name if missing in seen else missing
        failed[name] = HostError(_late(seen.get(missing), state, late), where=name)
    if failed:
        raise HostsFailed(f"{len(failed)} of {len(ids)} machines did not get to {state}", failed)


def describe_ids(clients: client.Clients, ids: Iterable[str]) -> list[Instance]:
    """Return the machines of some ids; those that EC2 does not show (yet, or any more) are left out."""
    wanted = sorted(ids)
    found: list[Instance] = []
    with clients.translate_errors("asking how the machines are"):
        # By filter, not by id: one id that EC2 does not know would fail the whole call.
        for start in range(0, len(wanted), _MAX_FILTER_VALUES):
            some = wanted[start : start + _MAX_FILTER_VALUES]
            found += _described(clients, [{"Name": "instance-id", "Values": some}])
    return sorted(found, key=lambda each: host_names.sort_key(each.name))


def find_by_token(clients: client.Clients, token: str) -> list[Instance]:
    """Return the machines, ended ones included, that the request with a token launched, as far as EC2 shows them."""
    with clients.translate_errors("looking for what was launched"):
        found = _described(clients, [{"Name": "client-token", "Values": [token]}])
        return sorted(found, key=lambda each: host_names.sort_key(each.name))


def find_by_launch(clients: client.Clients, cluster_id: identity.ClusterId, launch_id: str) -> list[Instance]:
    """Return the machines, ended ones included, of one of our launches, as far as EC2 shows them."""
    with clients.translate_errors(f"looking for the machines of launch {launch_id}"):
        found = list(_described(clients, [*cluster_id.filters, identity.tag_filter(TAG_LAUNCH, launch_id)]))
    ours = [
        each
        for each in found
        if (each.cluster, each.owner, each.launch_id) == (cluster_id.cluster, cluster_id.owner, launch_id)
    ]
    return sorted(ours, key=lambda each: host_names.sort_key(each.name))


def tag_host_key(clients: client.Clients, instance_id: str, public_key: str) -> None:
    """Tag a machine with the host key that it is about to take; the one of its launch still counts beside it."""
    with clients.translate_errors(f"noting the new host key of {instance_id}"):
        clients.ec2.create_tags(Resources=[instance_id], Tags=[{"Key": TAG_HOST_KEY, "Value": public_key.split()[1]}])


def clear_boot_key_tags(clients: client.Clients, ids: Sequence[str]) -> None:
    """Make the tags say of machines that the host key of their launch counts no more; one call for all."""
    with clients.translate_errors("noting that the host keys of the launch are replaced"):
        for start in range(0, len(ids), _MAX_TAGGED):
            some = list(ids[start : start + _MAX_TAGGED])
            clients.ec2.create_tags(Resources=some, Tags=[{"Key": TAG_BOOT_KEY, "Value": ""}])


def find_impaired(clients: client.Clients, ids: Sequence[str]) -> list[str]:
    """Return the ids of machines whose system or instance status check has failed, as far as EC2 shows them."""
    with clients.translate_errors("asking for status checks"):
        pages = clients.ec2.get_paginator("describe_instance_status").paginate(
            Filters=[{"Name": "instance-status.status", "Values": ["impaired"]}]
        )
        failed = {each["InstanceId"] for page in pages for each in page["InstanceStatuses"]}
        pages = clients.ec2.get_paginator("describe_instance_status").paginate(
            Filters=[{"Name": "system-status.status", "Values": ["impaired"]}]
        )
        failed |= {each["InstanceId"] for page in pages for each in page["InstanceStatuses"]}
    return [each for each in ids if each in failed]


def console_output(clients: client.Clients, instance_id: str) -> str:
    """Return what a machine has printed while booting, as far as EC2 has it by now; often that is nothing."""
    from base64 import b64decode

    with clients.translate_errors(f"reading the console of {instance_id}"):
        output = clients.ec2.get_console_output(InstanceId=instance_id).get("Output", "")
    try:
        return b64decode(output, validate=True).decode(errors="replace")
    except ValueError:  # botocore has decoded it already
        return output


def from_response(response: InstanceTypeDef) -> Instance:
    """Return the record for one machine in an EC2 answer."""
    tags = {tag["Key"]: tag["Value"] for tag in response.get("Tags", [])}
    return Instance(
        id=response["InstanceId"],
        name=_name(response, tags),
        cluster=tags.get(identity.TAG_CLUSTER, ""),
        launch_id=tags.get(TAG_LAUNCH, ""),
        owner=tags.get(identity.TAG_OWNER, ""),
        type=response["InstanceType"],
        state=response["State"]["Name"],
        reason=_reason(response),
        zone=response["Placement"].get("AvailabilityZone", ""),
        public_address=response.get("PublicIpAddress", ""),
        private_address=response.get("PrivateIpAddress", ""),
        host_key=_host_key(tags, TAG_HOST_KEY),
        boot_key=_host_key(tags, TAG_BOOT_KEY),
        key_name=response.get("KeyName", ""),
        launched_at=response["LaunchTime"],
        expires_at=_time(tags.get(TAG_EXPIRES, "")),
        max_hours=_hours(tags.get(TAG_HOURS, "")),
        image_id=response.get("ImageId", ""),
        group_ids=_groups(response),
        disk=Disk.from_tag(tags.get(TAG_DISK, "")),
        user=tags.get(TAG_USER, ""),
        launch_size=_sharing(tags),
        is_spot=response.get("InstanceLifecycle") == "spot",
        index=response.get("AmiLaunchIndex", 0),
        stopped_at=_stopped(response),
    )


def _described(clients: client.Clients, filters: Sequence[FilterTypeDef]) -> Iterator[Instance]:
    pages = clients.ec2.get_paginator("describe_instances").paginate(
        Filters=filters, PaginationConfig={"PageSize": host_names.MAX_PER_LAUNCH}
    )
    for page in pages:
        for reservation in page["Reservations"]:
            yield from map(from_response, reservation["Instances"])


def _host_key(tags: Mapping[str, str], name: str) -> str:
    return f"{HOST_KEY_TYPE} {tags[name]}" if tags.get(name) else ""


def _name(facts: InstanceTypeDef, tags: Mapping[str, str]) -> str:
    """Return the machine's own of its launch's names; tags that make no sense must not hide a machine."""
    try:
        return host_names.expand(tags[TAG_HOSTS])[facts["AmiLaunchIndex"]]
    except (KeyError, ValueError, IndexError):
        return facts["InstanceId"]


def _sharing(tags: Mapping[str, str]) -> int:
    try:
        return len(host_names.expand(tags[TAG_HOSTS]))
    except (KeyError, ValueError):
        return 1


def _reason(facts: InstanceTypeDef) -> str:
    reason = facts.get("StateReason", {})
    code, message = reason.get("Code", ""), reason.get("Message", "")
    return message if message.startswith(code) else f"{code}: {message}"


def _stopped(facts: InstanceTypeDef) -> datetime | None:
    """Read when a machine was stopped; nothing but the reason tells: ``User initiated (2026-11-20 14:12:07 GMT)``."""
    found = re.search(r"\((\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) (?:GMT|UTC)\)", facts.get("StateTransitionReason", ""))
    return _time(found[1]) if found and facts["State"]["Name"] in ("stopping", "stopped") else None


def _groups(facts: InstanceTypeDef) -> tuple[str, ...]:
    cards = [group["GroupId"] for card in facts.get("NetworkInterfaces", []) for group in card.get("Groups", [])]
    return tuple(dict.fromkeys([group["GroupId"] for group in facts.get("SecurityGroups", [])] + cards))


def _time(text: str) -> datetime | None:
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return None
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def _hours(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _lost(each: Instance, until: str, before: Instance | None) -> bool:
    """Tell whether a machine will not get there by itself.

    One that was just started may be shown as stopped for a while, so that counts only once it was seen awake.
    """
    if until == "running" and before is not None and before.state == "pending":
        return each.state in (*TERMINATING, "stopping", "stopped")
    return each.state in TERMINATING


def _went(each: Instance) -> str:
    return f"is {each.state} instead" + (f": {each.reason}" if each.reason else "")


def _late(each: Instance | None, until: str, waited: float) -> str:
    if each is None:
        return f"EC2 has not shown it for {waited:.0f} s"
    return f"still {each.state} after {waited:.0f} s, not {until}" + (f": {each.reason}" if each.reason else "")


def tag_expiry(clients: client.Clients, expires_at: Mapping[str, datetime]) -> None:
    """Tag machines with their ends, rounded up to the minute: one call for all that end in the same one.

    :param ends: instance id -> when it ends itself.
    """
    by_minute = defaultdict[datetime, list[str]](list)
    for key, end in expires_at.items():
        by_minute[_minute(end)].append(key)
    with clients.translate_errors("tagging machines with their new end"):
        for end, ids in by_minute.items():
            value = end.isoformat(timespec="seconds")
            clients.ec2.create_tags(Resources=ids, Tags=[{"Key": instances.TAG_EXPIRES, "Value": value}])


def _minute(moment: datetime) -> datetime:
    whole = moment.replace(second=0, microsecond=0)
    return whole if whole == moment else whole + timedelta(minutes=1)
