"""Guard group of a cluster: a security group without rules, attached to the instances beside the user's own group.

EC2 does not delete a security group while an instance uses it, whether lookups show the instance or not. That proves
after TerminateAll that no instance is left, but only for a group of the cluster, which a group named in the settings
is not. Security groups add up, so one without rules allows nothing in or out that the named group does not allow.

Where the account does not permit the group, launches go on without it, and only time proves that nothing is left. An
account that permits the group, but not its use, gets a second one as a mark, before anything is launched without.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from orchestrator.aws import client, dry_run, identity
from orchestrator.aws.ec2 import security_groups
from orchestrator.aws.ec2.security_groups import GUARD, UNGUARDED, VISIBILITY_LAG_S
from orchestrator.core.errors import CloudRefused

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import SecurityGroupTypeDef

    from orchestrator.core.journal import Journal

_REFUSED = ("UnauthorizedOperation", "AccessDenied", "AccessDeniedException", "SecurityGroupsPerInterfaceLimitExceeded")
_UNKNOWN = "InvalidGroup.NotFound"


def ensure(
    clients: client.Clients,
    cluster_id: identity.ClusterId,
    vpc_id: str,
    *,
    journal: Journal,
    check: Callable[[str], None],
) -> str:
    """Return the id of the cluster's guard group; create it if needed, and remove its rules.

    :param check: raises the refusal of AWS to launch instances with the group of this id.
    :raises CloudRefused: AWS does not permit the group, or its use, which `mark_unguarded` then records.
    """
    group = security_groups.find(clients, cluster_id, vpc_id, GUARD)
    if group is None:
        created = security_groups.create(clients, cluster_id, vpc_id, journal, GUARD)
        group = clients.clock.retry(
            lambda: _describe(clients, created["GroupId"]), is_transient=_is_unknown, timeout_s=VISIBILITY_LAG_S
        )
    group_id = group["GroupId"]
    if rules := group["IpPermissionsEgress"]:
        clients.clock.retry(lambda: check(group_id), is_transient=_is_unknown, timeout_s=VISIBILITY_LAG_S)
        with clients.translate_errors(f"removing the rules of security group {group_id}"):
            clients.ec2.revoke_security_group_egress(GroupId=group_id, IpPermissions=rules)
    return group_id


def mark_unguarded(clients: client.Clients, cluster_id: identity.ClusterId, vpc_id: str, *, journal: Journal) -> None:
    """Record in the account that instances may be launched without a guard group: by a group that no instance uses.

    Every computer sees a group, and creating one is what the account permits. Where it does not, `is_missing` notices.

    :raises CloudRefused: AWS refuses the group for another reason, such as a quota.
    """
    try:
        if security_groups.find(clients, cluster_id, vpc_id, UNGUARDED) is None:
            security_groups.create(clients, cluster_id, vpc_id, journal, UNGUARDED)
    except CloudRefused as error:
        if not is_refusal(error):
            raise


def is_refusal(error: CloudRefused) -> bool:
    """Return True if an account does not permit a guard group, so that a launch has to do without it."""
    return error.code in _REFUSED


def is_missing(clients: client.Clients, cluster_id: identity.ClusterId, user_group_id: str) -> bool:
    """Return True if there may be instances without a group whose deletion proves that they are gone.

    :param user_group_id: security group of the settings, which belongs to the user; empty for none.
    """
    groups = security_groups.own_groups(clients, cluster_id)
    if any(group["GroupName"].endswith(UNGUARDED) for group in groups):
        return True
    guards = [group for group in groups if security_groups.is_guard(group)]
    if any(not group.get("IpPermissionsEgress") for group in guards):
        return False
    # With the rules of a new group: the launch was killed before it could use the group, or the account forbids that.
    # EC2 keeps a group while an instance uses it: without this group in the region, no instance uses it here.
    vpc_id = guards[0]["VpcId"] if guards else _vpc_of(clients, user_group_id) if user_group_id else ""
    return bool(vpc_id) and not _may_create(clients, cluster_id, vpc_id)


def _describe(clients: client.Clients, group_id: str) -> SecurityGroupTypeDef:
    with clients.translate_errors(f"looking up security group {group_id}"):
        return clients.ec2.describe_security_groups(GroupIds=[group_id])["SecurityGroups"][0]


def _vpc_of(clients: client.Clients, group_id: str) -> str:
    filters = [{"Name": "group-id", "Values": [group_id]}]
    with clients.translate_errors(f"looking up security group {group_id}"):
        groups = clients.ec2.describe_security_groups(Filters=filters)["SecurityGroups"]  # type: ignore[arg-type]
    return groups[0]["VpcId"] if groups else ""


def _may_create(clients: client.Clients, cluster_id: identity.ClusterId, vpc_id: str) -> bool:
    try:
        with clients.translate_errors("checking that a security group can be created"):
            dry_run.check(clients.ec2.create_security_group, **security_groups.request(cluster_id, vpc_id, GUARD))
    except CloudRefused as error:
        if is_refusal(error):
            return False
        raise
    return True


def _is_unknown(error: Exception) -> bool:
    return isinstance(error, CloudRefused) and error.code == _UNKNOWN
