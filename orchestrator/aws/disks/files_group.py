"""Security group of a cluster's shared file systems: its members reach each other on the ports of NFS and Lustre.

Both the instances and the network interfaces of the file systems are in it, so that it admits the cluster's instances
whatever group the settings name, and no rule refers to a group that TerminateAll deletes before the file systems.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.aws import client, errors, identity
from orchestrator.aws.ec2 import security_groups
from orchestrator.core.journal import Journal

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import IpPermissionUnionTypeDef

PORTS = ((2049, 2049), (988, 988), (1018, 1023))
"""NFS; Lustre: https://docs.aws.amazon.com/fsx/latest/LustreGuide/limit-access-security-groups.html"""

RULE = "stratus: shared file systems"


def ensure(clients: client.Clients, cluster_id: identity.ClusterId, vpc_id: str, *, journal: Journal) -> str:
    """Return the id of the group; create it if needed, with its rules.

    :raises CloudRefused: a group of that name belongs to another owner, or AWS refuses.
    """
    suffix = security_groups.FILES
    group = security_groups.find(clients, cluster_id, vpc_id, suffix)
    group = group or security_groups.create(clients, cluster_id, vpc_id, journal, suffix)
    group_id = group["GroupId"]
    if not group.get("IpPermissions"):
        with clients.translate_errors(f"adding rules to security group {group_id}"):
            clients.clock.retry(
                lambda: _authorize(clients, group_id),
                is_transient=lambda error: errors.code_of(error) == "InvalidGroup.NotFound",
                timeout_s=security_groups.VISIBILITY_LAG_S,
            )
    return group_id


def rules(group_id: str) -> list[IpPermissionUnionTypeDef]:
    """Return the rules of the group."""
    return [
        {
            "IpProtocol": "tcp",
            "FromPort": first,
            "ToPort": last,
            "UserIdGroupPairs": [{"GroupId": group_id, "Description": RULE}],
        }
        for first, last in PORTS
    ]


def _authorize(clients: client.Clients, group_id: str) -> None:
    try:
        clients.ec2.authorize_security_group_ingress(GroupId=group_id, IpPermissions=rules(group_id))
    except errors.error_types() as error:
        # Another process has added them since the lookup.
        if errors.code_of(error) != "InvalidPermission.Duplicate":
            raise
