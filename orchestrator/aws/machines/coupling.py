"""Tightly coupled VMs: checks of their types and zones, and Elastic Fabric Adapters (EFA) between them.

An EFA is a network interface by which MPI and NCCL pass the kernel. Its traffic stays in one subnet, and in a security
group that allows everything from itself and to itself: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/efa.html
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.aws import client, errors
from orchestrator.aws.ec2 import instance_types, security_groups
from orchestrator.aws.machines.placement_groups import CLUSTER
from orchestrator.core.errors import UsageError
from orchestrator.core.next_step import NextStep

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import IpPermissionOutputTypeDef, IpPermissionTypeDef, UserIdGroupPairTypeDef

    from orchestrator.aws.ec2.instance_types import InstanceType
    from orchestrator.aws.ec2.network import Placement
    from orchestrator.config.settings import VmSettings

RULE = "stratus: EFA among the cluster's VMs"
_NAMED = 4


def check_types(clients: client.Clients, settings: VmSettings, candidates: Sequence[InstanceType]) -> None:
    """Check that all types of a launch can be placed together and have EFA, as far as the settings ask for it.

    :raises UsageError: one cannot.
    """
    for candidate in candidates:
        if settings.placement == CLUSTER and CLUSTER not in candidate.placement_strategies:
            raise UsageError(
                f"{candidate.name} cannot be in a cluster placement group ([vms] placement = cluster)",
                code="InvalidParameterCombination",
                fix="choose another [cluster] instance_type (no t2, t3, t3a or t4g), or remove [vms] placement",
            )
        if settings.efa and not candidate.efa_interfaces:
            raise UsageError(
                f"{candidate.name} has no Elastic Fabric Adapter ([vms] efa = yes)",
                code="UnsupportedOperation",
                fix=f"{_types_with_efa(clients, candidate)}, or remove [vms] efa",
            )


def _types_with_efa(clients: client.Clients, like: InstanceType) -> str:
    """Return advice that names types with EFA: the smallest ones of the same family first."""
    family, same_gpus = like.name.partition(".")[0], bool(like.gpus)
    # A tenth of all types: those of the same purpose, and else those for networks.
    for pattern in (f"{family[:1]}*", "c*n*"):
        listed = instance_types.list_types(clients, [pattern], has_efa=True, only_current=False)
        matches = [item for item in listed if set(item.architectures) & set(like.architectures)]
        if matches:
            break
    matches.sort(key=lambda item: (bool(item.gpus) != same_gpus, _distance(item.name, family), item.vcpus, item.name))
    names = ", ".join(item.name for item in matches[:_NAMED])
    return f"choose a [cluster] instance_type with one, such as {names}" if names else "choose another [aws] region"


def _distance(name: str, family: str) -> int:
    own = name.partition(".")[0]
    # c7i, another generation or variant of c, and all the others.
    return 0 if own == family else 1 if own[:1] == family[:1] and own[1:2].isdigit() else 2


def in_one_zone(settings: VmSettings, candidates: Placement, zones: Sequence[str], names: Sequence[str]) -> Placement:
    """Return the subnets in which new VMs are next to the existing ones.

    :param zones: of the existing VMs.
    :param names: of the existing VMs.
    :raises UsageError: there are none.
    """
    if settings.placement != CLUSTER or not zones:
        return candidates
    within = candidates.within(zones)
    if len(zones) > 1 or not within.subnets:
        where = ", ".join(zones)
        raise UsageError(
            f"[vms] placement = cluster needs all VMs in one zone: {' '.join(names)} are in {where}"
            + ("" if within.subnets else ", where no subnet is"),
            fix=NextStep("TerminateAll") + "  then launch all of them at once; or remove [vms] placement",
        )
    return within


def interfaces(base: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """Return the network interfaces of an instance with EFA: one on each of its first network cards.

    :param base: the first one without EFA: subnet, groups, public address.
    """
    first = {**base, "InterfaceType": "efa", "NetworkCardIndex": 0}
    # Only a single interface can have a public address; the others carry no IP traffic and take no address.
    shared = {key: base[key] for key in ("SubnetId", "Groups")}
    others = [
        {**shared, "InterfaceType": "efa-only", "NetworkCardIndex": card, "DeviceIndex": 1} for card in range(1, count)
    ]
    if others:
        first.pop("AssociatePublicIpAddress", None)
    return [first, *others]


def ensure_egress(clients: client.Clients, group_id: str) -> None:
    """Allow all traffic from a security group to itself: a rule for any address does not cover that of EFA.

    :raises CloudRefused: AWS refuses.
    """
    with clients.translate_errors(f"adding a rule to security group {group_id}"):
        group = clients.clock.retry(
            lambda: clients.ec2.describe_security_groups(GroupIds=[group_id])["SecurityGroups"][0],
            is_transient=_is_unknown,
            timeout_s=security_groups.VISIBILITY_LAG_S,
        )
        if _allows_itself(group["IpPermissionsEgress"], group_id):
            return
        pairs: list[UserIdGroupPairTypeDef] = [{"GroupId": group_id, "Description": RULE}]
        rule: IpPermissionTypeDef = {"IpProtocol": "-1", "UserIdGroupPairs": pairs}
        try:
            clients.ec2.authorize_security_group_egress(GroupId=group_id, IpPermissions=[rule])
        except errors.error_types() as error:
            # Another process has added it since the lookup.
            if errors.code_of(error) != "InvalidPermission.Duplicate":
                raise


def check_user_group(clients: client.Clients, group_id: str) -> None:
    """Check that the group of the settings, which is never changed, allows everything from itself and to itself.

    :raises UsageError: it does not, and MPI or NCCL would wait for each other until they give up.
    """
    with clients.translate_errors(f"looking up security group {group_id}"):
        group = clients.ec2.describe_security_groups(GroupIds=[group_id])["SecurityGroups"][0]
    rules = {"ingress": group["IpPermissions"], "egress": group["IpPermissionsEgress"]}
    missing = [direction for direction, present in rules.items() if not _allows_itself(present, group_id)]
    if not missing:
        return
    permission = f"IpProtocol=-1,UserIdGroupPairs=[{{GroupId={group_id}}}]"
    direction_text = {"ingress": "from itself", "egress": "to itself"}
    raise UsageError(
        f"[vms] efa needs all traffic {' and '.join(direction_text[item] for item in missing)} allowed in {group_id}",
        fix="\n  ".join(
            f"aws ec2 authorize-security-group-{item} --region {clients.region} --group-id {group_id} "
            f"--ip-permissions '{permission}'"
            for item in missing
        ),
    )


def _allows_itself(rules: Sequence[IpPermissionOutputTypeDef], group_id: str) -> bool:
    pairs = [pair for rule in rules if rule["IpProtocol"] == "-1" for pair in rule.get("UserIdGroupPairs", [])]
    return any(pair.get("GroupId") == group_id for pair in pairs)


def _is_unknown(error: Exception) -> bool:
    return errors.code_of(error) == "InvalidGroup.NotFound"
