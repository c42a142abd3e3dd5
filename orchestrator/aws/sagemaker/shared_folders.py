"""Shared file systems as data of training jobs: looked up, and the network from which they are reached."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.aws.disks import file_systems
from orchestrator.aws.disks.file_systems import SharedRecord
from orchestrator.aws.disks.mounts import EFS, LUSTRE
from orchestrator.aws.ec2 import security_groups
from orchestrator.aws.sagemaker.training_request import SharedFolder
from orchestrator.core.errors import StratusError, UsageError

if TYPE_CHECKING:
    from orchestrator.aws.client import Clients
    from orchestrator.aws.identity import ClusterId

_TYPES = {EFS: "EFS", LUSTRE: "FSxLustre"}
_READY = ("available", "updating")


@dataclass(frozen=True)
class Network:
    """Subnets and security groups of the containers of a job; empty for none."""

    subnets: Sequence[str] = ()
    security_groups: Sequence[str] = ()


def find_all(clients: Clients, identifiers: Iterable[str]) -> dict[str, SharedRecord]:
    """Return file systems by their ids; makes no call without any.

    :param identifiers: empty ones are left out.
    :raises StratusError: one does not exist, or is not ready.
    """
    return {identifier: find(clients, identifier) for identifier in dict.fromkeys(identifiers) if identifier}


def find(clients: Clients, file_system_id: str) -> SharedRecord:
    """Return a file system of EFS or FSx for Lustre that is ready.

    :raises StratusError: there is none of this id, or it is not ready.
    """
    listed: list[str] = []
    for kind in (EFS, LUSTRE):
        records = file_systems.describe(clients, kind)
        for record in records:
            if record.id != file_system_id:
                continue
            if record.state.lower() not in _READY:
                raise StratusError(f"{file_system_id} is {record.state}, not available", fix="try again when it is")
            return record
        listed += [record.id for record in records]
    raise UsageError(
        f"the file system {file_system_id} does not exist in {clients.region}",
        code="FileSystemNotFound",
        fix=f"correct data in job.ini; existing: {', '.join(listed) or 'none'}",
    )


def folder(record: SharedRecord, directory: str) -> SharedFolder:
    """Return a folder of a file system as SageMaker names it."""
    # https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_FileSystemDataSource.html: of FSx for Lustre with
    # the mount name, as in /mountname/folder.
    top = f"/{record.mount_name}" if record.kind == LUSTRE else ""
    return SharedFolder(record.id, _TYPES[record.kind], (top + directory).rstrip("/") or "/")


def network(clients: Clients, records: Sequence[SharedRecord], own: ClusterId, settings: Network) -> Network:
    """Return the network from which the file systems of a job are reached.

    :param settings: ``training_subnets`` and ``training_security_groups``; when empty, the subnets of the cluster's own
        file systems, with the security group that admits its members to them.
    :raises UsageError: neither exists.
    """
    if settings.subnets or not records:
        return settings
    subnets = sorted({subnet for record in records for subnet in file_systems.subnets(clients, record)})
    if all(file_systems.is_own(record, own) for record in records):
        groups = security_groups.find_files_groups(clients, own)
        if subnets and groups:
            return Network(subnets, [groups[0]["GroupId"]])
    names = ", ".join(subnets) or "subnet-..."
    raise UsageError(
        f"{records[0].id} is reached from subnets only, and [sagemaker] names none",
        fix=f"[sagemaker] training_subnets = {names}  training_security_groups = sg-..., which it admits",
    )
