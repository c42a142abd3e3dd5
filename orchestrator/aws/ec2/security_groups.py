"""Security group of a cluster: SSH from the configured networks, all traffic among its instances, nothing else.

A security group from the settings is used unchanged, and `guard_groups` adds one without rules.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any

from orchestrator.aws import client, dry_run, errors, identity
from orchestrator.aws.ingress import rules
from orchestrator.aws.ingress.access import SshAccess, public_address
from orchestrator.core.clock import Backoff
from orchestrator.core.errors import CloudRefused, StratusError, UsageError
from orchestrator.core.journal import Journal
from orchestrator.core.next_step import NextStep

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import IpPermissionOutputTypeDef, IpPermissionUnionTypeDef, SecurityGroupTypeDef

    from orchestrator.config import settings

GUARD = "-guard"  # ends the names of guard groups
FILES = "-files"  # of the group of shared file systems, see `aws.disks.files_group`
UNGUARDED = "-unguarded"  # of marks that instances may have no guard group
VISIBILITY_LAG_S = 30.0  # until a new group is known to all of EC2


def ensure(clients: client.Clients, cluster_id: identity.ClusterId, access: SshAccess, *, journal: Journal) -> str:
    """Return the id of the cluster's security group; create it if needed, and update its rules.

    :raises CloudRefused: a group of that name belongs to another owner, or AWS refuses.
    """
    if access.user_group_id:
        return access.user_group_id
    group = find(clients, cluster_id, access.vpc_id) or create(clients, cluster_id, access.vpc_id, journal)
    with clients.translate_errors(f"updating security group {cluster_id.resource_name}"):
        clients.clock.retry(
            lambda: _update_rules(clients, group, access),
            is_transient=_code_is("InvalidGroup.NotFound"),
            timeout_s=VISIBILITY_LAG_S,
        )
    return group["GroupId"]


def update_sources(clients: client.Clients, cluster_id: identity.ClusterId, access: SshAccess) -> tuple[str, ...]:
    """Update the rules of the cluster's security groups and return the networks that they allowed before.

    :raises UsageError: the cluster has no group.
    """
    with clients.translate_errors(f"updating security group {cluster_id.resource_name}"):
        groups = [group for group in own_groups(clients, cluster_id) if not _is_auxiliary(group)]
        before = {
            rule.network for group in groups for rule in rules.present(group) if rule.description == rules.SSH_RULE
        }
        for group in groups:
            _update_rules(clients, group, access)
    if not groups:
        raise UsageError(
            f"cluster {cluster_id.cluster} has no security group in {cluster_id.region}",
            fix=NextStep("LaunchInstances"),
        )
    return tuple(sorted(before))


def check(clients: client.Clients, cluster_id: identity.ClusterId, access: SshAccess) -> None:
    """Check that :func:`ensure` would succeed; changes nothing.

    The rules of a group that does not exist yet cannot be checked: policies depend on the tags that it will have.

    :raises CloudRefused: a group of that name belongs to another owner, or AWS would refuse.
    """
    group = find(clients, cluster_id, access.vpc_id)
    if group is None:
        with clients.translate_errors(f"checking that security group {cluster_id.resource_name} can be created"):
            dry_run.check(clients.ec2.create_security_group, **request(cluster_id, access.vpc_id))
    elif missing := rules.missing(group, access):
        with clients.translate_errors(f"checking that security group {cluster_id.resource_name} can be updated"):
            dry_run.check(clients.ec2.authorize_security_group_ingress, GroupId=group["GroupId"], IpPermissions=missing)


def check_user_group(
    clients: client.Clients, settings: settings.Settings, *, find_address: Callable[[str], str] = public_address
) -> str:
    """Return a warning if no rule of the group in the settings allows SSH from this computer; empty if one may.

    :raises UsageError: no rule allows SSH from anywhere.
    """
    group_id, port = settings.aws.security_group_id, settings.ssh.port
    with clients.translate_errors(f"looking up security group {group_id}"):
        # A filter, not an id: that the group does not exist is found by the lookup of its VPC.
        groups = clients.ec2.describe_security_groups(Filters=[{"Name": "group-id", "Values": [group_id]}])
    if not groups["SecurityGroups"]:
        return ""
    (group,) = groups["SecurityGroups"]
    matches = [rule for rule in group.get("IpPermissions", []) if _covers(rule, port)]
    # Which addresses a prefix list holds is not looked up; a private address is reached by a VPN or from the VPC.
    is_unknown = settings.ssh.address == "private" or any(rule.get("PrefixListIds") for rule in matches)
    networks = [ip_network(network, strict=False) for rule in matches for network in _all_networks(rule)]
    if matches and (is_unknown or any(network.prefixlen == 0 for network in networks)):
        return ""
    address = _address_or_nothing(settings, find_address)
    fix = _command_to_allow(clients.region, group_id, port, address)
    if not matches:
        raise UsageError(f"security group {group_id} has no rule for SSH (TCP port {port})", fix=fix)
    if not address or any(ip_address(address) in network for network in networks):
        return ""
    return f"security group {group_id} does not allow SSH from this computer ({address}); {fix}"


def _address_or_nothing(settings: settings.Settings, find_address: Callable[[str], str]) -> str:
    try:
        return find_address(settings.aws.address_url)
    except StratusError:
        return ""


def _command_to_allow(region: str, group_id: str, port: int, address: str) -> str:
    if not address:
        return "add a rule for this computer's address in the AWS console"
    command = f"aws ec2 authorize-security-group-ingress --region {region} --group-id {group_id}"
    return f"{command} --protocol tcp --port {port} --cidr {ip_network(address)}  allows it"


def _all_networks(rule: IpPermissionOutputTypeDef) -> list[str]:
    networks = [entry["CidrIp"] for entry in rule.get("IpRanges", [])]
    return networks + [entry["CidrIpv6"] for entry in rule.get("Ipv6Ranges", [])]


def _covers(rule: IpPermissionOutputTypeDef, port: int) -> bool:
    is_in_range = rule.get("FromPort", -1) <= port <= rule.get("ToPort", -1)
    return rule["IpProtocol"] == "-1" or (rule["IpProtocol"] == "tcp" and is_in_range)


def delete(clients: client.Clients, cluster_id: identity.ClusterId, *, deadline_s: float = 120.0) -> list[str]:
    """Delete the cluster's own security groups, guard groups included, and return their ids; empty if there are none.

    :param deadline_s: seconds to retry: an instance releases its group only once it is terminated.
    :raises CloudRefused: a group is still in use at the deadline, or AWS refuses.
    """
    groups = own_groups(clients, cluster_id)
    # Marks last: another one that is still in use must not be left without them.
    group_ids = [group["GroupId"] for group in sorted(groups, key=lambda group: group["GroupName"].endswith(UNGUARDED))]
    for group_id in group_ids:
        _delete(clients, group_id, deadline_s)
    return group_ids


def delete_one(clients: client.Clients, group_id: str) -> None:
    """Delete one group; one that is gone already is no error.

    :raises CloudRefused: something uses it, or AWS refuses.
    """
    _delete(clients, group_id, 0)


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
            # Another process, or an earlier attempt whose answer was lost, has deleted it.
            if errors.code_of(error) != "InvalidGroup.NotFound":
                raise


def _code_is(code: str) -> Callable[[Exception], bool]:
    return lambda error: errors.code_of(error) == code


def own_groups(clients: client.Clients, cluster_id: identity.ClusterId) -> list[SecurityGroupTypeDef]:
    """Return the cluster's own security groups in all VPCs, guard groups included."""
    with clients.translate_errors("looking up the cluster's security group"):
        pages = clients.ec2.get_paginator("describe_security_groups").paginate(Filters=cluster_id.filters)
        return [group for page in pages for group in page["SecurityGroups"] if _is_own(group, cluster_id)]


def of_same_role(clients: client.Clients, cluster_id: identity.ClusterId) -> dict[str, str]:
    """Return the groups that others, or other computers, made with the caller's role for a cluster of this name.

    :returns: the id of one group by its owner: the owner id, or the ARN if it has none.
    """
    groups: dict[str, str] = {}
    role = identity.role_of(cluster_id.owner) if cluster_id.is_caller else ""
    with clients.translate_errors("looking up security groups of the same role"):
        pages = clients.ec2.get_paginator("describe_security_groups").paginate(Filters=cluster_id.filters)
        for group in (group for page in pages for group in page["SecurityGroups"]):
            tags = {tag.get("Key"): tag.get("Value", "") for tag in group.get("Tags", [])}
            owner = tags.get(identity.TAG_OWNER, "")
            if role and identity.role_of(owner) == role and not _is_own(group, cluster_id):
                groups[tags.get(identity.TAG_OWNER_ID) or owner] = group["GroupId"]
    return groups


def find_files_groups(clients: client.Clients, cluster_id: identity.ClusterId) -> list[SecurityGroupTypeDef]:
    """Return the cluster's own groups of shared file systems, in all VPCs."""
    with clients.translate_errors("looking up the security group of shared file systems"):
        pages = clients.ec2.get_paginator("describe_security_groups").paginate(Filters=cluster_id.filters)
        groups = [group for page in pages for group in page["SecurityGroups"]]
    return [
        group for group in groups if group["GroupName"].endswith(FILES) and cluster_id.matches(group.get("Tags", []))
    ]


def is_guard(group: SecurityGroupTypeDef) -> bool:
    """Return True for a guard group; see `guard_groups`."""
    return group["GroupName"].endswith(GUARD)


def _is_auxiliary(group: SecurityGroupTypeDef) -> bool:
    return group["GroupName"].endswith((GUARD, UNGUARDED))


def _is_own(group: SecurityGroupTypeDef, cluster_id: identity.ClusterId, suffix: str = "") -> bool:
    # Not this name alone: a session with another ARN of the same owner may have created it.
    name = group["GroupName"].removesuffix(suffix).removesuffix(GUARD).removesuffix(UNGUARDED)
    return cluster_id.is_resource_name(name) and cluster_id.matches(group.get("Tags", []))


def find(
    clients: client.Clients, cluster_id: identity.ClusterId, vpc_id: str, suffix: str = ""
) -> SecurityGroupTypeDef | None:
    """Return the cluster's security group in a VPC; None if there is none.

    :param suffix: of its name: `GUARD`, `UNGUARDED`, or empty.
    :raises CloudRefused: a group of that name exists, but without the cluster's tags.
    """
    name = cluster_id.resource_name + suffix
    with clients.translate_errors(f"looking up security group {name}"):
        groups = clients.ec2.describe_security_groups(
            Filters=[{"Name": "group-name", "Values": [name]}, {"Name": "vpc-id", "Values": [vpc_id]}]
        )["SecurityGroups"]
    if groups and not _is_own(groups[0], cluster_id, suffix):
        raise CloudRefused(
            f"a security group named {name} exists in {vpc_id}, and it is not tagged as this cluster's",
            code="InvalidGroup.Duplicate",
            where=groups[0]["GroupId"],
            fix="delete or rename it, or use it: [aws] security_group_id = " + groups[0]["GroupId"],
        )
    return groups[0] if groups else None


def create(
    clients: client.Clients, cluster_id: identity.ClusterId, vpc_id: str, journal: Journal, suffix: str = ""
) -> SecurityGroupTypeDef:
    """Create the cluster's security group in a VPC and return it.

    :param suffix: of its name: `GUARD`, `UNGUARDED`, or empty.
    """
    name = cluster_id.resource_name + suffix
    entry = journal.record_intent("group", name=name, vpc=vpc_id, **cluster_id.journal_fields)
    with clients.translate_errors(f"creating security group {name}"):
        try:
            response = clients.ec2.create_security_group(**request(cluster_id, vpc_id, suffix))
        except errors.error_types() as error:
            # A request that may have been carried out stays open in the journal.
            if errors.reaction(error) not in ("ambiguous", "retry"):
                journal.record_outcome(entry, refused=errors.code_of(error))
            # Another process created it since the lookup: use that group, if it has the cluster's tags.
            is_duplicate = errors.code_of(error) == "InvalidGroup.Duplicate"
            group = find(clients, cluster_id, vpc_id, suffix) if is_duplicate else None
            if group is None:
                raise
            return group
    journal.record_outcome(entry, id=response["GroupId"])
    return {"GroupId": response["GroupId"], "GroupName": name, "IpPermissions": [], "VpcId": vpc_id}


def request(cluster_id: identity.ClusterId, vpc_id: str, suffix: str = "") -> dict[str, Any]:
    """Return the parameters of CreateSecurityGroup.

    :param suffix: of the group's name: `GUARD`, `UNGUARDED`, or empty.
    """
    return {
        "GroupName": cluster_id.resource_name + suffix,
        "Description": f"Stratus cluster {cluster_id.cluster}",
        "VpcId": vpc_id,
        "TagSpecifications": [{"ResourceType": "security-group", "Tags": cluster_id.tags}],
    }


def _update_rules(clients: client.Clients, group: SecurityGroupTypeDef, access: SshAccess) -> None:
    """Update the rules of a group: add new ones before removing old ones, so that access is never interrupted."""
    if missing := rules.missing(group, access):
        _authorize(clients, group["GroupId"], missing)
    if obsolete := rules.present(group) - rules.wanted(access):
        clients.ec2.revoke_security_group_ingress(GroupId=group["GroupId"], IpPermissions=rules.permissions(obsolete))


def _authorize(clients: client.Clients, group_id: str, missing: Sequence[IpPermissionUnionTypeDef]) -> None:
    try:
        clients.ec2.authorize_security_group_ingress(GroupId=group_id, IpPermissions=missing)
    except errors.error_types() as error:
        # Another process added a rule since the lookup. One duplicate fails the whole call: add them one by one.
        if errors.code_of(error) != "InvalidPermission.Duplicate":
            raise
        for rule in missing if len(missing) > 1 else []:
            _authorize(clients, group_id, [rule])
