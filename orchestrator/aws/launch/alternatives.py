"""Instance types to use instead of one that is unavailable."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from orchestrator.aws.capacity import offerings
from orchestrator.aws.capacity.pools import quota_family
from orchestrator.aws.ec2 import instance_types
from orchestrator.aws.machines.placement_groups import CLUSTER

if TYPE_CHECKING:
    from orchestrator.aws.capacity.offerings import Offering
    from orchestrator.aws.client import Clients
    from orchestrator.aws.ec2.instance_types import InstanceType
    from orchestrator.aws.launch.plan import LaunchPlan
    from orchestrator.aws.pricing.price_table import Prices

MAX_MEMORY_RATIO = 2
_MIN_MEMORY_RATIO = 0.99  # sizes of one nominal amount of memory differ slightly between families


def find(clients: Clients, prices: Prices, plan: LaunchPlan, *, limit: int = 3) -> list[Offering]:
    """Return types that can replace a plan's, the cheapest first; those of unknown price last.

    They have the same number of vCPUs and GPUs, as much memory or up to twice as much, an architecture of the image,
    and a quota that allows all instances. Newer generations are considered first.

    :param limit: number of types.
    """
    patterns = offerings.GPU_PATTERNS if plan.gpus else ()
    types = instance_types.list_types(clients, patterns, vcpus=plan.vcpus)
    similar = [type_info for type_info in types if _is_similar(type_info, plan)]
    similar.sort(key=lambda type_info: (-_generation(type_info.name), type_info.memory_gib, type_info.name))
    return offerings.cheapest(clients, prices, similar, market=plan.market, count=plan.count)[:limit]


def _is_similar(type_info: InstanceType, plan: LaunchPlan) -> bool:
    memory = plan.memory_gib * _MIN_MEMORY_RATIO <= type_info.memory_gib <= plan.memory_gib * MAX_MEMORY_RATIO
    hardware = type_info.vcpus == plan.vcpus and type_info.gpus == plan.gpus and memory
    boots = plan.image.architecture in type_info.architectures and not type_info.name.endswith(".metal")
    # Same quota: no other accelerators. Not t: burstable types are throttled once their CPU credits are used up.
    same_family = quota_family(type_info.name) == quota_family(plan.instance_type) and type_info.name[0] != "t"
    planned = {pool.type_info.name for pool in plan.pools} | {plan.instance_type}
    is_placeable = not plan.is_clustered or CLUSTER in type_info.placement_strategies
    if not is_placeable or (plan.has_efa and not type_info.efa_interfaces):
        return False
    return hardware and boots and (plan.gpus > 0 or same_family) and type_info.name not in planned


def _generation(name: str) -> int:
    """Return the generation of a type: 7 for ``c7i.2xlarge``."""
    match = re.match(r"[a-z-]+(\d+)", name)
    return int(match[1]) if match else 0
