"""Instance types that can be launched now: current types with their hardware and price, as far as the quota allows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING

from orchestrator.aws.capacity import quotas
from orchestrator.aws.capacity.pools import ON_DEMAND
from orchestrator.aws.ec2 import instance_types

if TYPE_CHECKING:
    from orchestrator.aws.client import Clients
    from orchestrator.aws.ec2.instance_types import InstanceType
    from orchestrator.aws.pricing.price_table import Prices

MAX_PRICED = 24
"""Number of types whose price is looked up; each price is an API call of its own."""

GPU_PATTERNS = ("g*.*", "p*.*")
"""Names of the instance types with NVIDIA GPUs."""


@dataclass(frozen=True)
class Requirements:
    """Minimum hardware of one instance, and bounds on its type; 0 or empty for any.

    :param family: name before the dot: ``g5``, ``c7i``.
    :param max_usd_per_hour: highest price of one instance on demand; types of unknown price are left out then.
    """

    gpus: int = 0
    vcpus: int = 0
    memory_gib: float = 0.0
    family: str = ""
    max_usd_per_hour: Decimal = Decimal(0)

    def __str__(self) -> str:
        parts = [f"{self.gpus} GPUs" if self.gpus else "", f"{self.vcpus} vCPU" if self.vcpus else ""]
        parts.append(f"{self.memory_gib:g} GiB" if self.memory_gib else "")
        hardware = " and ".join(filter(None, parts))
        family = f"is of the family {self.family}" if self.family else ""
        return " and ".join(filter(None, [f"has {hardware}" if hardware else "", family])) or "has these properties"


@dataclass(frozen=True)
class Offering:
    """One instance type.

    :param gpu_memory_gib: memory of each GPU.
    :param usd_per_hour: USD per hour of one running instance on demand without its disk; None if unknown.
    :param launchable: number of instances that the quota allows; None if the quota is unknown.
    :param spot_usd_per_hour: spot price in the cheapest zone; None if unknown.
    :param network: bandwidth as AWS words it: ``Up to 10 Gigabit``.
    :param zones: that offer it; empty if they were not looked up.
    """

    type: str
    vcpus: int
    memory_gib: float
    gpus: int
    gpu: str
    usd_per_hour: Decimal | None
    launchable: int | None
    gpu_memory_gib: float = 0.0
    spot_usd_per_hour: Decimal | None = None
    network: str = ""
    zones: tuple[str, ...] = ()


def find(
    clients: Clients, prices: Prices, requirements: Requirements, *, market: str = ON_DEMAND, limit: int = 12
) -> list[Offering]:
    """Return types that meet some requirements and can be launched, the cheapest first.

    :param limit: number of types.
    """
    matches = _matches(clients, requirements)
    # The smallest first: they are the cheapest, and only the first ones are priced.
    matches.sort(key=lambda type_info: (type_info.gpus, type_info.vcpus, type_info.memory_gib, type_info.name))
    offers = cheapest(clients, prices, matches, market=market)
    highest = requirements.max_usd_per_hour
    if highest:
        offers = [offer for offer in offers if offer.usd_per_hour is not None and offer.usd_per_hour <= highest]
    return _with_zones(clients, prices, offers[:limit])


def _with_zones(clients: Clients, prices: Prices, offers: Sequence[Offering]) -> list[Offering]:
    """Return types with the zones that offer them, and with their spot prices there."""
    names = [offer.type for offer in offers]
    if not names:
        return []
    zones, _ = clients.in_parallel(lambda: instance_types.zones_of(clients, names), lambda: prices.refresh_spot(names))
    spot = {name: [price.usd for zone in zones[name] if (price := prices.spot_per_hour(name, zone))] for name in names}
    return [
        replace(offer, zones=zones[offer.type], spot_usd_per_hour=min(spot[offer.type], default=None))
        for offer in offers
    ]


def exist(clients: Clients, requirements: Requirements) -> bool:
    """Return True if the region has a type that meets some requirements, whatever the quota allows."""
    return bool(_matches(clients, requirements))


def _matches(clients: Clients, requirements: Requirements) -> list[InstanceType]:
    if requirements.family:
        # By its name also an earlier generation, which may be all that a quota or a region has.
        types = instance_types.list_types(clients, (f"{requirements.family}.*",), only_current=False)
    else:
        types = instance_types.list_types(clients, GPU_PATTERNS if requirements.gpus else ())
    return [type_info for type_info in types if _meets(type_info, requirements)]


def cheapest(
    clients: Clients, prices: Prices, types: Sequence[InstanceType], *, market: str, count: int = 1
) -> list[Offering]:
    """Return the types that the quota allows, the cheapest first, those of unknown price last.

    :param types: in order of preference: only the first ones are priced, see `MAX_PRICED`.
    :param count: number of instances to launch.
    """
    quota_of = {type_info.name: quotas.quota_for(type_info.name, market) for type_info in types}
    usage = quotas.query_all(clients, {quota for quota in quota_of.values() if quota})
    allowed = {type_info.name: _allowed(type_info, usage, quota_of[type_info.name]) for type_info in types}
    # An unknown quota does not exclude a type: the launch itself will tell.
    candidates = [type_info for type_info in types if (room := allowed[type_info.name]) is None or room >= count]
    candidates = candidates[:MAX_PRICED]
    prices.refresh([type_info.name for type_info in candidates])
    offerings = [_offering(clients, prices, type_info, allowed[type_info.name]) for type_info in candidates]
    return sorted(offerings, key=lambda offering: (offering.usd_per_hour is None, offering.usd_per_hour or 0))


def _meets(type_info: InstanceType, requirements: Requirements) -> bool:
    enough = (
        type_info.gpus >= requirements.gpus
        and type_info.vcpus >= requirements.vcpus
        and type_info.memory_gib >= requirements.memory_gib
    )
    # Bare metal takes minutes longer to boot and costs as much as the largest VM; GPUs only if they are required.
    if requirements.family and type_info.name.partition(".")[0] != requirements.family:
        return False
    # A family of GPU types is meant as it is named, without a number of GPUs.
    any_gpus = requirements.gpus > 0 or bool(requirements.family)
    return enough and (any_gpus or not type_info.gpus) and not type_info.name.endswith(".metal")


def _allowed(
    type_info: InstanceType, usage: dict[quotas.Quota, quotas.QuotaUsage], quota: quotas.Quota | None
) -> int | None:
    return usage[quota].launchable(type_info.vcpus) if quota else None


def _offering(clients: Clients, prices: Prices, type_info: InstanceType, room: int | None) -> Offering:
    price = prices.per_hour(type_info.name, clients.region)
    return Offering(
        type=type_info.name,
        vcpus=type_info.vcpus,
        memory_gib=type_info.memory_gib,
        gpus=type_info.gpus,
        gpu=type_info.gpu,
        usd_per_hour=price.usd if price else None,
        launchable=room,
        gpu_memory_gib=type_info.gpu_memory_gib,
        network=type_info.network,
    )
