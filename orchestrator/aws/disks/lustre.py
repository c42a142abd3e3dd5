"""FSx for Lustre: file systems in one zone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orchestrator.aws import client, errors
from orchestrator.core.clock import Backoff
from orchestrator.core.errors import StratusError

AVAILABLE_TIMEOUT_S = 1200.0
"""A file system takes five to ten minutes."""

_BACKOFF = Backoff(first_s=1.0, longest_s=10.0)


def describe(clients: client.Clients) -> list[dict[str, Any]]:
    """Return the Lustre file systems of the region that are not being deleted."""
    with clients.translate_errors("listing FSx file systems"):
        pages = clients.service("fsx").get_paginator("describe_file_systems").paginate()
        items = [item for page in pages for item in page["FileSystems"]]
    return [item for item in items if item["FileSystemType"] == "LUSTRE" and item.get("Lifecycle") != "DELETING"]


def create(
    clients: client.Clients, token: str, tags: Sequence[Any], size_gib: int, subnet_id: str, group_id: str
) -> dict[str, Any]:
    """Create a scratch file system: fast, not replicated."""
    with clients.translate_errors(f"making an FSx file system of {size_gib} GiB"):
        created: dict[str, Any] = clients.service("fsx").create_file_system(
            ClientRequestToken=token,
            FileSystemType="LUSTRE",
            FileSystemTypeVersion="2.15",  # the one that clients of kernel 6 need
            StorageCapacity=size_gib,
            StorageType="SSD",
            SubnetIds=[subnet_id],
            SecurityGroupIds=[group_id],
            LustreConfiguration={"DeploymentType": "SCRATCH_2", "DataCompressionType": "LZ4"},
            Tags=list(tags),
        )["FileSystem"]
    return created


def source(clients: client.Clients, file_system_id: str) -> str:
    """Return the address and mount name, once the file system is available."""
    for _ in clients.clock.attempts(AVAILABLE_TIMEOUT_S, _BACKOFF):
        items = {item["FileSystemId"]: item for item in describe(clients)}
        item = items.get(file_system_id, {})
        if item.get("Lifecycle") != "CREATING":
            break
    if item.get("Lifecycle") not in ("AVAILABLE", "UPDATING"):
        state = item.get("Lifecycle", "gone")
        details = item.get("FailureDetails", {}).get("Message", "")
        raise StratusError(f"{file_system_id} is {state}{': ' if details else ''}{details}")
    return f"{item['DNSName']}@tcp:/{item['LustreConfiguration']['MountName']}"


def delete(clients: client.Clients, file_system_id: str) -> None:
    """Delete a file system; one that is gone is no error."""
    with clients.translate_errors(f"deleting {file_system_id}"):
        try:
            clients.service("fsx").delete_file_system(FileSystemId=file_system_id)
        except errors.error_types() as error:
            if errors.code_of(error) != "FileSystemNotFound":
                raise
