"""What could be launched now: current types of the region with what they have, cost, and the quota leaves room for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from orchestrator.aws.capacity import quotas
from orchestrator.aws.capacity.pools import ON_DEMAND
from orchestrator.aws.ec2 import instance_types
from orchestrator.aws.pricing import price_table

if TYPE_CHECKING:
    from orchestrator.aws.client import Clients
    from orchestrator.aws.ec2.instance_types import InstanceType

MAX_PRICED = 24
"""So many of the smallest types that fit are priced: each price is a question of its own."""

_WITH_GPUS = ("g*.*", "p*.*")


@dataclass(frozen=True)
class Requirements:
    """What a machine must have at least; 0 is anything."""

    gpus: int = 0
    vcpus: int = 0
    memory_gib: float = 0.0


@dataclass(frozen=True)
class Offering:
    """One type.

    :param price_per_hour: USD of one running machine without its disk; None when unknown.
    :param room: how many may be launched by the quota; None when AWS would not say.
    """

    type: str
    vcpus: int
    memory_gib: float
    gpus: int
    gpu: str
    price_per_hour: Decimal | None
    room: int | None


def find(
    clients: Clients,
    prices: price_table.Prices,
    requirements: Requirements,
    *,
    market: str = ON_DEMAND,
    limit: int = 12,
) -> list[Offering]:
    """Return types that have what is wished for and that the quota has room for, the cheapest first.

    :param most: how many.
    """
    fitting = [each for each in _listed(clients, requirements) if _has(each, requirements)]
    fitting.sort(key=lambda each: (each.gpus, each.vcpus, each.memory_gib, each.name))
    kinds = {each.name: quotas.quota_for(each.name, market) for each in fitting}
    limits = quotas.query_all(clients, {quota for quota in kinds.values() if quota})
    rooms = {each.name: _room(each, limits.get(quota) if (quota := kinds[each.name]) else None) for each in fitting}
    open_ = [each for each in fitting if rooms[each.name] != 0][:MAX_PRICED]
    prices.refresh([each.name for each in open_])
    found = [_offer(each, prices.per_hour(each.name, clients.region), rooms[each.name]) for each in open_]
    found.sort(key=lambda each: (each.price_per_hour is None, each.price_per_hour or 0))
    return found[:limit]


def _generation(name: str) -> int:
    found = re.match(r"[a-z-]+(\d+)", name)
    return int(found[1]) if found else 0


def _listed(clients: Clients, wish: Requirements) -> Sequence[InstanceType]:
    return instance_types.list_types(clients, _WITH_GPUS if wish.gpus else ())


def _has(machine: InstanceType, wish: Requirements) -> bool:
    enough = machine.gpus >= wish.gpus and machine.vcpus >= wish.vcpus and machine.memory_gib >= wish.memory_gib
    return enough and (wish.gpus > 0 or not machine.gpus) and not machine.name.endswith(".metal")


def _room(machine: InstanceType, limit: quotas.QuotaUsage | None) -> int | None:
    return limit.launchable(machine.vcpus) if limit else None


def _offer(machine: InstanceType, price: price_table.Price | None, room: int | None) -> Offering:
    return Offering(
        machine.name, machine.vcpus, machine.memory_gib, machine.gpus, machine.gpu, price.usd if price else None, room
    )
