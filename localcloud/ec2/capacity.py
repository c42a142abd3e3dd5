"""How many machines a launch gets: as far as addresses, quotas and capacity go, at the spot market's price."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from localcloud.aws import prices
from localcloud.aws.error_responses import Refusal
from localcloud.aws.quotas import ORDINARY_VCPUS, Quota, market_of, quota_of, used, vcpus
from localcloud.scenarios.fault_engine import Weather
from localcloud.scenarios.targets import Subject

if TYPE_CHECKING:
    from moto.ec2.models.instances import Instance
    from moto.ec2.models.subnets import Subnet

    from localcloud.ec2.backend import Ec2

# These take up room; contract: capacity-is-held-while-running.
_TAKING = ("pending", "running", "stopping")


@dataclass(frozen=True)
class Order:
    """What RunInstances asks for.

    :param max_price: USD an hour for a spot machine; None for whatever it costs.
    :param placed: whether the caller chose zone or subnet.
    """

    type: str
    market: str
    least: int
    most: int
    max_price: float | None = None
    placed: bool = True

    @classmethod
    def of(cls, params: dict[str, Any]) -> Order:
        """Read one.

        :raises Refusal: the counts make no sense.
        """
        least, most = int(params.get("MinCount", 1)), int(params.get("MaxCount", 1))
        if not 1 <= least <= most:
            words = f"Value ({least}) for parameter minCount is invalid: it must lie between 1 and maxCount ({most})."
            raise Refusal("InvalidParameterValue", words)
        options = params.get("InstanceMarketOptions", {})
        price = options.get("SpotOptions", {}).get("MaxPrice")
        return cls(
            type=params.get("InstanceType", ""),
            market="spot" if options.get("MarketType") == "spot" else "on-demand",
            least=least,
            most=most,
            max_price=float(price) if price else None,
            placed="SubnetId" in params or "NetworkInterfaces" in params or "Placement" in params,
        )

    def at(self, subnet: Subnet) -> Subject:
        """The pool that it asks, in the terms of scenarios."""
        return Subject(subnet.ec2_backend.region_name, subnet.availability_zone, subnet.id, self.type, self.market)


@dataclass(frozen=True)
class _Limit:
    room: int
    refusal: Refusal


def count(ec2: Ec2, order: Order, subnet: Subnet) -> int:
    """How many to launch: as many as asked for, as far as there is room, but never fewer than the order's least.

    :raises Refusal: there is room for fewer.
    """
    _check_price(ec2, order, subnet)
    limits = [*_addresses(ec2, order, subnet), *_quota(ec2, order), *_capacity(ec2, order, subnet)]
    for limit in limits:
        if limit.room < order.least:
            raise limit.refusal
    return min([order.most, *(limit.room for limit in limits)])


def has_room(ec2: Ec2, order: Order, subnet: Subnet) -> bool:
    """Whether a pool would take an order, as far as capacity goes."""
    place = order.at(subnet)
    rules = ec2.world.weather.rules("no-capacity", place)
    return all(rule.fault["machines"] - _alive(ec2, rule.fault.where.fits) >= order.least for rule in rules)


def quota_limit(weather: Weather, quota: Quota, region: str) -> int:
    """How many vCPUs a quota allows now."""
    rules = weather.rules("quota", Subject(region=region))
    lower: list[int] = [rule.fault["vcpus"] for rule in rules if rule.fault["quota"] == quota.code]
    return min([ORDINARY_VCPUS, *lower])


def spot_price(weather: Weather, place: Subject) -> float | None:
    """USD an hour for a spot machine of that type in that zone; None when it is not known."""
    named = next((rule.fault["price"] for rule in weather.rules("spot-price", place)), None)
    return named if named is not None else prices.usual_spot_price(place.type, place.zone)


def _check_price(ec2: Ec2, order: Order, subnet: Subnet) -> None:
    if order.market != "spot" or order.max_price is None:
        return
    price = spot_price(ec2.world.weather, order.at(subnet))
    if price is not None and order.max_price < price:
        raise Refusal("SpotMaxPriceTooLow", asked=f"{order.max_price:g}", price=f"{price:g}")


def _addresses(ec2: Ec2, order: Order, subnet: Subnet) -> Iterator[_Limit]:
    words = f"There are not enough free addresses in subnet '{subnet.id}' to satisfy the requested number of instances."
    refusal = Refusal("InsufficientFreeAddressesInSubnet", words)
    yield _Limit(subnet.available_ip_address_count, refusal)
    for rule in ec2.world.weather.rules("no-addresses", order.at(subnet)):
        if rule.fault["free"] < order.most and rule.strike():
            yield _Limit(rule.fault["free"], refusal)


def _quota(ec2: Ec2, order: Order) -> Iterator[_Limit]:
    """Contract: quotas-count-vcpus-of-running-machines."""
    quota, each = quota_of(order.type, order.market), vcpus(order.type)
    if quota is None or not each:
        return
    limit = quota_limit(ec2.world.weather, quota, ec2.region_name)
    code = "MaxSpotInstanceCountExceeded" if order.market == "spot" else "VcpuLimitExceeded"
    yield _Limit((limit - used(quota, ec2.all_instances())) // each, Refusal(code, limit=limit))


def _capacity(ec2: Ec2, order: Order, subnet: Subnet) -> Iterator[_Limit]:
    place = order.at(subnet)
    for rule in ec2.world.weather.rules("no-capacity", place):
        room = rule.fault["machines"] - _alive(ec2, rule.fault.where.fits)
        if room < order.most and rule.strike():
            code = rule.fault["code"]
            yield _Limit(max(0, room), Refusal(code, _no_capacity(ec2, code, order, subnet)))


def _no_capacity(ec2: Ec2, code: str, order: Order, subnet: Subnet) -> str:
    """EC2's words when a pool is empty, which name zones that are not; empty for the table's."""
    if code != "InsufficientInstanceCapacity":
        return ""
    others = [one for one in ec2.get_default_subnets().values() if one.id != subnet.id and has_room(ec2, order, one)]
    zones = ", ".join(sorted(one.availability_zone for one in others))
    advice = f" or choosing {zones}" if zones else ""
    kind = f"{'spot ' if order.market == 'spot' else ''}{order.type}"
    return (
        f"We currently do not have sufficient {kind} capacity in the Availability Zone you requested "
        f"({subnet.availability_zone}). Our system will be working on provisioning additional capacity. You can "
        f"currently get {kind} capacity by not specifying an Availability Zone in your request{advice}."
    )


def _alive(ec2: Ec2, fits: Any) -> int:
    return sum(instance.state in _TAKING and fits(_pool(instance)) for instance in _instances(ec2))


def _instances(ec2: Ec2) -> Iterable[Instance]:
    return ec2.all_instances()


def _pool(instance: Instance) -> Subject:
    zone, subnet = str(instance.placement.zone), str(instance.subnet_id)
    return Subject(instance.region_name, zone, subnet, instance.instance_type, market_of(instance))
