"""Rules of a cluster's own security group: those that are missing, and those of Stratus that are obsolete."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_network
from typing import TYPE_CHECKING

from orchestrator.aws.ingress.access import SshAccess

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import IpPermissionOutputTypeDef, IpPermissionUnionTypeDef, SecurityGroupTypeDef

# Descriptions of the rules in EC2. Existing groups have them: they identify the rules that may be changed.
SSH_RULE = "stratus: ssh"
PORT_RULE = "stratus: open_ports"
INSIDE_RULE = "stratus: among the cluster's VMs"


@dataclass(frozen=True, order=True)
class Rule:
    """TCP ports that one network may connect to.

    :param description: `SSH_RULE` or `PORT_RULE`.
    """

    first: int
    last: int
    network: str
    description: str = SSH_RULE


def wanted(access: SshAccess) -> set[Rule]:
    """Return the rules that the settings ask for, without the one among the instances."""
    ssh = {Rule(access.port, access.port, source) for source in access.sources}
    return ssh | {Rule(ports.first, ports.last, ports.network, PORT_RULE) for ports in access.open_ports}


def missing(group: SecurityGroupTypeDef, access: SshAccess) -> list[IpPermissionUnionTypeDef]:
    """Return the rules that a group lacks."""
    rules = permissions(wanted(access) - present(group))
    return rules if _has_inside_rule(group) else [*rules, _inside_rule(group["GroupId"])]


def present(group: SecurityGroupTypeDef) -> set[Rule]:
    """Return the rules of Stratus; rules with another description are the user's."""
    return {
        Rule(rule["FromPort"], rule["ToPort"], network, description)
        for rule in group.get("IpPermissions", [])
        for network, description in _networks(rule)
        if rule["IpProtocol"] == "tcp" and description in (SSH_RULE, PORT_RULE)
    }


def permissions(rules: Iterable[Rule]) -> list[IpPermissionUnionTypeDef]:
    """Return rules in the form of EC2's calls."""
    return [_permission(rule) for rule in sorted(rules)]


def _networks(rule: IpPermissionOutputTypeDef) -> list[tuple[str, str]]:
    networks = [(entry["CidrIp"], entry.get("Description", "")) for entry in rule.get("IpRanges", [])]
    return networks + [(entry["CidrIpv6"], entry.get("Description", "")) for entry in rule.get("Ipv6Ranges", [])]


def _permission(rule: Rule) -> IpPermissionUnionTypeDef:
    if ip_network(rule.network).version == 4:
        return {
            "IpProtocol": "tcp",
            "FromPort": rule.first,
            "ToPort": rule.last,
            "IpRanges": [{"CidrIp": rule.network, "Description": rule.description}],
        }
    return {
        "IpProtocol": "tcp",
        "FromPort": rule.first,
        "ToPort": rule.last,
        "Ipv6Ranges": [{"CidrIpv6": rule.network, "Description": rule.description}],
    }


def _has_inside_rule(group: SecurityGroupTypeDef) -> bool:
    return any(
        pair.get("GroupId") == group["GroupId"]
        for rule in group.get("IpPermissions", [])
        for pair in rule.get("UserIdGroupPairs", [])
        if rule["IpProtocol"] == "-1"  # all protocols
    )


def _inside_rule(group_id: str) -> IpPermissionUnionTypeDef:
    return {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group_id, "Description": INSIDE_RULE}]}
