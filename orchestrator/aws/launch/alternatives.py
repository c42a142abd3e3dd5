"""Instance types to fall back to when the wanted one is unavailable."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.aws.capacity import quotas
from orchestrator.aws.capacity.offerings import _WITH_GPUS, MAX_PRICED, Offering, _generation, _offer, _room
from orchestrator.aws.capacity.pools import quota_family
from orchestrator.aws.ec2 import instance_types
from orchestrator.aws.pricing import price_table

if TYPE_CHECKING:
    from orchestrator.aws.client import Clients
    from orchestrator.aws.ec2.instance_types import InstanceType
    from orchestrator.aws.launch.plan import LaunchPlan


def find(clients: Clients, prices: price_table.Prices, plan: LaunchPlan, *, limit: int = 3) -> list[Offering]:
    """Return types that could stand in for a plan's, the cheapest first; those without a known price come last.

    They have as many vCPUs and GPUs, as much memory or up to twice that, the image's architecture, and room in the
    quota for all machines; the newest generations are looked at.

    :param most: how many.
    """
    patterns = _WITH_GPUS if plan.gpus else ()
    akin = [each for each in instance_types.list_types(clients, patterns, vcpus=plan.vcpus) if _akin(each, plan)]
    akin.sort(key=lambda each: (-_generation(each.name), each.memory_gib, each.name))
    kinds = {each.name: quotas.quota_for(each.name, plan.market) for each in akin}
    limits = quotas.query_all(clients, {quota for quota in kinds.values() if quota})
    rooms = {each.name: _room(each, limits.get(quota) if (quota := kinds[each.name]) else None) for each in akin}
    open_ = [each for each in akin if rooms[each.name] is None or (rooms[each.name] or 0) >= plan.count][:MAX_PRICED]
    prices.refresh([each.name for each in open_])
    found = [_offer(each, prices.per_hour(each.name, clients.region), rooms[each.name]) for each in open_]
    found.sort(key=lambda each: (each.price_per_hour is None, each.price_per_hour or 0))
    return found[:limit]


def _akin(machine: InstanceType, plan: LaunchPlan) -> bool:
    has = machine.vcpus == plan.vcpus and machine.gpus == plan.gpus
    memory = plan.memory_gib * 0.99 <= machine.memory_gib <= plan.memory_gib * 2
    boots = plan.image.architecture in machine.architectures and not machine.name.endswith(".metal")
    # Neither accelerators of other kinds nor machines that are slowed down after a while.
    kind = plan.gpus > 0 or (quota_family(machine.name) == quota_family(plan.instance_type) and machine.name[0] != "t")
    named = {pool.type_info.name for pool in plan.pools} | {plan.instance_type}
    return has and memory and boots and kind and machine.name not in named
