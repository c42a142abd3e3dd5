"""Tags of instances: the state of a cluster, readable from any computer.

RunInstances writes most of them; afterwards only the host key, the expiry and the billed time change. The names are
part of the format that clusters launched by other versions have, and stay as they are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from orchestrator.aws import client

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import TagTypeDef

LAUNCH = "stratus:run"  # the launch_id; run_id is a job's, which no tag holds
HOSTS = "stratus:hosts"
EXPIRES = "stratus:expires"
HOURS = "stratus:hours"
HOST_KEY = "stratus:hostkey"
BOOT_KEY = "stratus:bootkey"
DISK = "stratus:disk"
VOLUMES = "stratus:volumes"  # disks besides the root disk, in the form of DISK, separated by spaces
USER = "stratus:user"
IDLE = "stratus:idle"  # minutes without use until the shutdown
ADDRESS = "stratus:address"  # public or private: a stopped instance does not show which it had
BILLED = "stratus:billed"  # time before the last start
REPLACED = "stratus:replaced"  # cost in USD of the instance that it replaced: at least, at most

_MAX_RESOURCES = 1000  # of one CreateTags call: AWS API reference, CreateTags


def set_tag(clients: client.Clients, ids: Sequence[str], key: str, value: str) -> None:
    """Set one tag of some instances to the same value; one call per 1000 instances.

    :raises ClientError: AWS refuses; the caller translates it.
    """
    for start in range(0, len(ids), _MAX_RESOURCES):
        batch = list(ids[start : start + _MAX_RESOURCES])
        clients.ec2.create_tags(Resources=batch, Tags=[{"Key": key, "Value": value}])


def tag_host_key(clients: client.Clients, instance_id: str, public_key: str) -> None:
    """Tag an instance with the host key that it is about to switch to; the boot key remains valid beside it."""
    with clients.translate_errors(f"tagging {instance_id} with its new host key"):
        tags: list[TagTypeDef] = [{"Key": HOST_KEY, "Value": public_key.split()[1]}]
        clients.ec2.create_tags(Resources=[instance_id], Tags=tags)


def clear_boot_key_tags(clients: client.Clients, ids: Sequence[str]) -> None:
    """Tag instances as no longer accepting the boot key; one call per 1000 instances."""
    with clients.translate_errors("clearing the boot key tags"):
        set_tag(clients, ids, BOOT_KEY, "")


def tag_expiry(clients: client.Clients, expires_at: Mapping[str, datetime]) -> None:
    """Tag instances with the time of their automatic shutdown, rounded up to the minute.

    Rounding makes instances that were launched together share a value, and so a call.

    :param expires_at: instance id -> time.
    """
    by_minute = defaultdict[datetime, list[str]](list)
    for instance_id, time in expires_at.items():
        by_minute[round_up(time)].append(instance_id)
    with clients.translate_errors("tagging VMs with their shutdown time"):
        for time, ids in by_minute.items():
            set_tag(clients, ids, EXPIRES, time.isoformat())


def round_up(time: datetime) -> datetime:
    """Return a time rounded up to the minute."""
    minute = time.replace(second=0, microsecond=0)
    return minute if minute == time else minute + timedelta(minutes=1)


def tag_past_use(clients: client.Clients, values: Mapping[str, str]) -> None:
    """Tag instances with the time billed before the start that follows; one call per value.

    :param values: instance id -> `PastUse.tag_value`.
    """
    by_value = defaultdict[str, list[str]](list)
    for instance_id, value in values.items():
        by_value[value].append(instance_id)
    with clients.translate_errors("tagging VMs with the time billed so far"):
        for value, ids in by_value.items():
            set_tag(clients, ids, BILLED, value)
