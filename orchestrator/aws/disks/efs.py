"""EFS: file systems and their mount targets, one in every zone that has instances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orchestrator.aws import client, errors
from orchestrator.core.clock import Backoff
from orchestrator.core.errors import StratusError

AVAILABLE_TIMEOUT_S = 300.0
"""A mount target takes about 90 s."""

_BACKOFF = Backoff(first_s=0.5, longest_s=5.0)
_ENDING = ("deleting", "deleted")


def describe(clients: client.Clients) -> list[dict[str, Any]]:
    """Return the file systems of the region that are not being deleted."""
    with clients.translate_errors("listing EFS file systems"):
        pages = clients.service("efs").get_paginator("describe_file_systems").paginate()
        items = [item for page in pages for item in page["FileSystems"]]
    return [item for item in items if item["LifeCycleState"] not in _ENDING]


def create(clients: client.Clients, token: str, tags: Sequence[Any]) -> dict[str, Any]:
    """Create a file system: encrypted, billed by what it holds and by what is read and written."""
    efs = clients.service("efs")
    with clients.translate_errors("making an EFS file system"):
        try:
            created: dict[str, Any] = efs.create_file_system(
                CreationToken=token,
                PerformanceMode="generalPurpose",
                ThroughputMode="elastic",
                Encrypted=True,
                Tags=list(tags),
            )
        except errors.error_types() as error:
            # An earlier attempt, whose answer was lost, has made it: no other request has this token.
            if errors.code_of(error) != "FileSystemAlreadyExists":
                raise
            file_systems = efs.describe_file_systems(CreationToken=token)["FileSystems"]
            if not file_systems:
                raise
            created = file_systems[0]
    return created


def source(clients: client.Clients, file_system_id: str, *, subnet_id: str, zone: str, group_id: str) -> str:
    """Return the address and folder to mount, once its mount target is available.

    In a zone with a mount target the file system's name resolves to it. An existing file system without one there is
    mounted by the address of another zone's.

    :param group_id: security group of a mount target to make in the instance's subnet; empty to make none.
    """
    _wait(clients, file_system_id)
    targets = _targets(clients, file_system_id)
    if group_id and not any(target["AvailabilityZoneName"] == zone for target in targets):
        _create_target(clients, file_system_id, subnet_id, group_id)
    for _ in clients.clock.attempts(AVAILABLE_TIMEOUT_S, _BACKOFF):
        targets = _targets(clients, file_system_id)
        in_zone = [target for target in targets if target["AvailabilityZoneName"] == zone]
        ready = [target for target in in_zone or targets if target["LifeCycleState"] == "available"]
        if ready and in_zone:
            suffix = "amazonaws.com.cn" if clients.region.startswith("cn-") else "amazonaws.com"
            return f"{file_system_id}.efs.{clients.region}.{suffix}:/"
        if ready:
            return f"{ready[0]['IpAddress']}:/"
        if not targets:
            raise StratusError(
                f"{file_system_id} has no mount target: no VM can reach it",
                fix=f"make one in {zone}: aws efs create-mount-target --file-system-id {file_system_id} "
                f"--subnet-id {subnet_id}",
            )
    raise StratusError(
        f"the mount target of {file_system_id} in {zone} is not available after {AVAILABLE_TIMEOUT_S:.0f} s"
    )


def _wait(clients: client.Clients, file_system_id: str) -> None:
    for _ in clients.clock.attempts(AVAILABLE_TIMEOUT_S, _BACKOFF):
        states = {item["FileSystemId"]: item["LifeCycleState"] for item in describe(clients)}
        state = states.get(file_system_id, "gone")
        if state != "creating":
            break
    if state not in ("available", "updating"):
        raise StratusError(f"{file_system_id} is {state}, not available")


def _targets(clients: client.Clients, file_system_id: str) -> list[dict[str, Any]]:
    with clients.translate_errors(f"looking up the mount targets of {file_system_id}"):
        answer = clients.service("efs").describe_mount_targets(FileSystemId=file_system_id)
        return [target for target in answer["MountTargets"] if target["LifeCycleState"] not in _ENDING]


def subnets(clients: client.Clients, file_system_id: str) -> list[str]:
    """Return the subnets of a file system's mount targets."""
    return [target["SubnetId"] for target in _targets(clients, file_system_id)]


def _create_target(clients: client.Clients, file_system_id: str, subnet_id: str, group_id: str) -> None:
    with clients.translate_errors(f"making the mount target of {file_system_id} in {subnet_id}"):
        try:
            clients.service("efs").create_mount_target(
                FileSystemId=file_system_id, SubnetId=subnet_id, SecurityGroups=[group_id]
            )
        except errors.error_types() as error:
            # Another process has made it since the lookup.
            if errors.code_of(error) != "MountTargetConflict":
                raise


def delete(clients: client.Clients, file_system_id: str) -> None:
    """Delete a file system and its mount targets; one that is gone is no error.

    :raises StratusError: a mount target is still being deleted: a later call completes it.
    """
    with clients.translate_errors(f"deleting {file_system_id}"):
        try:
            for target in _targets(clients, file_system_id):
                clients.service("efs").delete_mount_target(MountTargetId=target["MountTargetId"])
            clients.service("efs").delete_file_system(FileSystemId=file_system_id)
        except errors.error_types() as error:
            if errors.code_of(error) not in ("FileSystemNotFound", "MountTargetNotFound"):
                raise
