"""The cluster's own security group: SSH from where you are, everything among its own machines, nothing else.

A group that the user names is used as it is and never changed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

from orchestrator.aws import client, dry_run, errors, identity
from orchestrator.core.clock import Backoff
from orchestrator.core.errors import CloudRefused, StratusError, UsageError
from orchestrator.core.journal import Journal
from orchestrator.core.next_step import NextStep

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import IpPermissionOutputTypeDef, IpPermissionUnionTypeDef, SecurityGroupTypeDef

    from orchestrator.config import settings

SSH_RULE = "stratus: ssh"
INSIDE_RULE = "stratus: among the cluster's machines"
VISIBILITY_LAG_S = 30.0  # a new group can take that long to be known everywhere in EC2
ADDRESS_URL = "https://checkip.amazonaws.com"
ADDRESS_TIMEOUT_S = 5


def public_address() -> str:
    """Return this computer's public address as AWS sees it, asked of https://checkip.amazonaws.com.

    :raises StratusError: it cannot be found out.
    """
    from ipaddress import ip_address
    from urllib.request import urlopen

    try:
        with urlopen(ADDRESS_URL, timeout=ADDRESS_TIMEOUT_S) as answer:
            return str(ip_address(answer.read(64).decode("ascii", "replace").strip()))
    except (OSError, ValueError) as error:
        raise StratusError(
            f"your public address could not be found out at {ADDRESS_URL}: {error}",
            fix="name it yourself in the config: [aws] ssh_from = 203.0.113.7/32",
        ) from error


@dataclass(frozen=True)
class SshAccess:
    """Who may reach the machines.

    :param vpc_id: where the group lies.
    :param port: of SSH.
    :param sources: networks that may reach it, such as ``203.0.113.7/32``.
    :param named: the id of a group that the user named, which then is all that counts.
    """

    vpc_id: str
    port: int
    sources: tuple[str, ...]
    user_group_id: str = ""


def ssh_access(
    settings: settings.Settings, vpc_id: str, *, find_address: Callable[[], str] = public_address
) -> SshAccess:
    """Return who may reach the machines by the settings; ``ssh_from = auto`` means this computer alone.

    :param my_address: finds out this computer's public address; called only when it is needed.
    """
    named, wanted = settings.aws.security_group_id, settings.aws.ssh_from
    if named:
        return SshAccess(vpc_id, settings.ssh.port, (), named)
    words = [find_address()] if wanted == "auto" else [word.strip() for word in wanted.split(",") if word.strip()]
    sources = sorted({str(ip_network(word, strict=False)) for word in words})
    return SshAccess(vpc_id, settings.ssh.port, tuple(sources))


def ensure(
    clients: client.Clients,
    cluster_id: identity.ClusterId,
    access: SshAccess,
    *,
    journal: Journal,
) -> str:
    """Return the id of the cluster's group, made and with its rules up to date.

    :raises CloudRefused: somebody else's group has its name, or AWS refuses.
    """
    if access.user_group_id:
        return access.user_group_id
    group = _find(clients, cluster_id, access.vpc_id) or _create(clients, cluster_id, access.vpc_id, journal)
    with clients.translate_errors(f"opening security group {cluster_id.resource_name}"):
        clients.clock.retry(
            lambda: _refresh(clients, group, access),
            is_transient=_code_is("InvalidGroup.NotFound"),
            timeout_s=VISIBILITY_LAG_S,
        )
    return group["GroupId"]


def update_sources(clients: client.Clients, cluster_id: identity.ClusterId, access: SshAccess) -> tuple[str, ...]:
    """Bring the rules of the cluster's groups up to date and return the networks that they admitted before.

    :raises UsageError: the cluster has no group.
    """
    with clients.translate_errors(f"opening security group {cluster_id.resource_name}"):
        pages = clients.ec2.get_paginator("describe_security_groups").paginate(Filters=cluster_id.filters)
        ours = [group for page in pages for group in page["SecurityGroups"] if _ours(group, cluster_id)]
        before = {source for group in ours for _, source in _rules(group)}
        for group in ours:
            _refresh(clients, group, access)
    if not ours:
        raise UsageError(
            f"cluster {cluster_id.cluster} has no security group in {cluster_id.region}",
            fix=NextStep("LaunchInstances"),
        )
    return tuple(sorted(before))


def check(clients: client.Clients, cluster_id: identity.ClusterId, access: SshAccess) -> None:
    """Find what `ensure` would be refused; changes nothing.

    A group that is not there yet can be asked about, its rules cannot: policies go by the tags that it will have.

    :raises CloudRefused: somebody else's group has our name, or AWS would refuse.
    """
    group = _find(clients, cluster_id, access.vpc_id)
    if group is None:
        with clients.translate_errors(f"asking whether security group {cluster_id.resource_name} may be made"):
            dry_run.check(clients.ec2.create_security_group, **_request(cluster_id, access.vpc_id))
    elif missing := _missing(group, access):
        with clients.translate_errors(f"asking whether security group {cluster_id.resource_name} may be opened"):
            dry_run.check(clients.ec2.authorize_security_group_ingress, GroupId=group["GroupId"], IpPermissions=missing)


def delete(
    clients: client.Clients,
    cluster_id: identity.ClusterId,
    *,
    deadline_s: float = 120.0,
) -> list[str]:
    """Delete the cluster's own groups and return their ids; none is fine.

    :param deadline_s: machines that are just ending hold on to their group for that long at most.
    :raises CloudRefused: a group is still in use at the deadline, or AWS refuses.
    """
    with clients.translate_errors("looking for the cluster's security group"):
        pages = clients.ec2.get_paginator("describe_security_groups").paginate(Filters=cluster_id.filters)
        groups = [group for page in pages for group in page["SecurityGroups"]]
    ours = [group["GroupId"] for group in groups if _ours(group, cluster_id)]
    for group_id in ours:
        _delete(clients, group_id, deadline_s)
    return ours


def _delete(clients: client.Clients, group_id: str, deadline_s: float) -> None:
    with clients.translate_errors(f"deleting security group {group_id}"):
        try:
            clients.clock.retry(
                lambda: clients.ec2.delete_security_group(GroupId=group_id),
                is_transient=_code_is("DependencyViolation"),
                timeout_s=deadline_s,
                backoff=Backoff(first_s=0.5, longest_s=5.0),
            )
        except errors.error_types() as error:
            if errors.code_of(error) != "InvalidGroup.NotFound":
                raise


def _code_is(code: str) -> Callable[[Exception], bool]:
    return lambda error: errors.code_of(error) == code


def _ours(group: SecurityGroupTypeDef, cluster_id: identity.ClusterId) -> bool:
    return group["GroupName"] == cluster_id.resource_name and cluster_id.matches(group.get("Tags", []))


def _find(clients: client.Clients, cluster_id: identity.ClusterId, vpc_id: str) -> SecurityGroupTypeDef | None:
    """Return the cluster's group in a VPC.

    :raises CloudRefused: there is one of that name, but it is not tagged as ours.
    """
    with clients.translate_errors(f"looking up security group {cluster_id.resource_name}"):
        found = clients.ec2.describe_security_groups(
            Filters=[
                {"Name": "group-name", "Values": [cluster_id.resource_name]},
                {"Name": "vpc-id", "Values": [vpc_id]},
            ]
        )["SecurityGroups"]
    if found and not _ours(found[0], cluster_id):
        raise CloudRefused(
            f"security group {cluster_id.resource_name} exists in {vpc_id} and is not tagged as this cluster's",
            code="InvalidGroup.Duplicate",
            where=found[0]["GroupId"],
            fix="delete or rename it, or use it: [aws] security_group_id = " + found[0]["GroupId"],
        )
    return found[0] if found else None


def _create(
    clients: client.Clients, cluster_id: identity.ClusterId, vpc_id: str, journal: Journal
) -> SecurityGroupTypeDef:
    entry = journal.record_intent("group", name=cluster_id.resource_name, vpc=vpc_id, **cluster_id.journal_fields)
    with clients.translate_errors(f"making security group {cluster_id.resource_name}"):
        try:
            made = clients.ec2.create_security_group(**_request(cluster_id, vpc_id))
        except errors.error_types() as error:
            if errors.reaction(error) not in ("ambiguous", "retry"):
                journal.record_outcome(entry, refused=errors.code_of(error))
            # Another shell made it since we looked: it is adopted when it is tagged as ours.
            group = _find(clients, cluster_id, vpc_id) if errors.code_of(error) == "InvalidGroup.Duplicate" else None
            if group is None:
                raise
            return group
    journal.record_outcome(entry, id=made["GroupId"])
    return {"GroupId": made["GroupId"], "GroupName": cluster_id.resource_name, "IpPermissions": [], "VpcId": vpc_id}


def _request(cluster_id: identity.ClusterId, vpc_id: str) -> dict[str, Any]:
    return {
        "GroupName": cluster_id.resource_name,
        "Description": f"Stratus cluster {cluster_id.cluster}",
        "VpcId": vpc_id,
        "TagSpecifications": [{"ResourceType": "security-group", "Tags": cluster_id.tags}],
    }


def _missing(group: SecurityGroupTypeDef, access: SshAccess) -> list[IpPermissionUnionTypeDef]:
    """Return the rules that a group lacks."""
    wanted = {(access.port, source) for source in access.sources}
    rules = [_ssh(port, source) for port, source in sorted(wanted - _rules(group))]
    return rules if _open_inside(group) else [*rules, _inside(group["GroupId"])]


def _refresh(clients: client.Clients, group: SecurityGroupTypeDef, access: SshAccess) -> None:
    """Bring the rules up to date: new ones first, so that nobody is locked out in between."""
    if missing := _missing(group, access):
        _authorize(clients, group["GroupId"], missing)
    old = _rules(group) - {(access.port, source) for source in access.sources}
    if old:
        stale = [_ssh(port, source) for port, source in sorted(old)]
        clients.ec2.revoke_security_group_ingress(GroupId=group["GroupId"], IpPermissions=stale)


def _authorize(clients: client.Clients, group_id: str, rules: Sequence[IpPermissionUnionTypeDef]) -> None:
    try:
        clients.ec2.authorize_security_group_ingress(GroupId=group_id, IpPermissions=rules)
    except errors.error_types() as error:
        # Another shell was quicker. One rule that is there already fails all of them: each gets its own call.
        if errors.code_of(error) != "InvalidPermission.Duplicate":
            raise
        for rule in rules if len(rules) > 1 else []:
            _authorize(clients, group_id, [rule])


def _rules(group: SecurityGroupTypeDef) -> set[tuple[int, str]]:
    """Return port and network of the rules that carry our description; others are the user's and stay."""
    return {
        (rule["FromPort"], source)
        for rule in group.get("IpPermissions", [])
        for source in _sources(rule)
        if rule["IpProtocol"] == "tcp"
    }


def _sources(rule: IpPermissionOutputTypeDef) -> list[str]:
    old = [each["CidrIp"] for each in rule.get("IpRanges", []) if each.get("Description") == SSH_RULE]
    return old + [each["CidrIpv6"] for each in rule.get("Ipv6Ranges", []) if each.get("Description") == SSH_RULE]


def _open_inside(group: SecurityGroupTypeDef) -> bool:
    return any(
        pair.get("GroupId") == group["GroupId"]
        for rule in group.get("IpPermissions", [])
        for pair in rule.get("UserIdGroupPairs", [])
        if rule["IpProtocol"] == "-1"
    )


def _ssh(port: int, source: str) -> IpPermissionUnionTypeDef:
    if ip_network(source).version == 4:
        return {
            "IpProtocol": "tcp",
            "FromPort": port,
            "ToPort": port,
            "IpRanges": [{"CidrIp": source, "Description": SSH_RULE}],
        }
    return {
        "IpProtocol": "tcp",
        "FromPort": port,
        "ToPort": port,
        "Ipv6Ranges": [{"CidrIpv6": source, "Description": SSH_RULE}],
    }


def _inside(group_id: str) -> IpPermissionUnionTypeDef:
    return {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group_id, "Description": INSIDE_RULE}]}
