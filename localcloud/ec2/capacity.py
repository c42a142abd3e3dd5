"""How many machines a launch gets: as far as addresses, quotas and capacity go, at the spot market's price."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from localcloud.aws import prices
from localcloud.aws.error_responses import ApiError
from localcloud.aws.quotas import DEFAULT_VCPUS, Quota, market_of, quota_for, vcpus, vcpus_used
from localcloud.scenarios.fault_engine import FaultEngine
from localcloud.scenarios.targets import Subject

if TYPE_CHECKING:
    from moto.ec2.models.instances import Instance
    from moto.ec2.models.subnets import Subnet

    from localcloud.ec2.backend import Ec2Region

# These take up room; contract: capacity-is-held-while-running.
_OCCUPYING = ("pending", "running", "stopping")


@dataclass(frozen=True)
class LaunchRequest:
    """What RunInstances asks for.

    :param max_price: USD an hour for a spot machine; None for whatever it costs.
    :param placed: whether the caller chose zone or subnet.
    """

    type: str
    market: str
    min_count: int
    max_count: int
    max_price_usd: float | None = None
    has_placement: bool = True

    @classmethod
    def from_params(cls, params: dict[str, Any]) -> LaunchRequest:
        """Read one.

        :raises Refusal: the counts make no sense.
        """
        least, most = int(params.get("MinCount", 1)), int(params.get("MaxCount", 1))
        if not 1 <= least <= most:
            words = f"Value ({least}) for parameter minCount is invalid: it must lie between 1 and maxCount ({most})."
            raise ApiError("InvalidParameterValue", words)
        options = params.get("InstanceMarketOptions", {})
        price = options.get("SpotOptions", {}).get("MaxPrice")
        return cls(
            type=params.get("InstanceType", ""),
            market="spot" if options.get("MarketType") == "spot" else "on-demand",
            min_count=least,
            max_count=most,
            max_price_usd=float(price) if price else None,
            has_placement="SubnetId" in params or "NetworkInterfaces" in params or "Placement" in params,
        )

    def pool_in(self, subnet: Subnet) -> Subject:
        """The pool that it asks, in the terms of scenarios."""
        return Subject(subnet.ec2_backend.region_name, subnet.availability_zone, subnet.id, self.type, self.market)


@dataclass(frozen=True)
class _Limit:
    available: int
    error: ApiError


def launch_count(ec2: Ec2Region, request: LaunchRequest, subnet: Subnet) -> int:
    """How many to launch: as many as asked for, as far as there is room, but never fewer than the order's least.

    :raises Refusal: there is room for fewer.
    """
    _check_price(ec2, request, subnet)
    limits = [*_addresses(ec2, request, subnet), *_quota(ec2, request), *_capacity(ec2, request, subnet)]
    for limit in limits:
        if limit.available < request.min_count:
            raise limit.error
    return min([request.max_count, *(limit.available for limit in limits)])


def has_capacity(ec2: Ec2Region, request: LaunchRequest, subnet: Subnet) -> bool:
    """Whether a pool would take an order, as far as capacity goes."""
    place = request.pool_in(subnet)
    rules = ec2.environment.fault_engine.active("no-capacity", place)
    return all(rule.fault["machines"] - _occupied(ec2, rule.fault.where.matches) >= request.min_count for rule in rules)


def quota_limit(weather: FaultEngine, quota: Quota, region: str) -> int:
    """How many vCPUs a quota allows now."""
    rules = weather.active("quota", Subject(region=region))
    lower: list[int] = [rule.fault["vcpus"] for rule in rules if rule.fault["quota"] == quota.code]
    return min([DEFAULT_VCPUS, *lower])


def spot_price(weather: FaultEngine, place: Subject) -> float | None:
    """USD an hour for a spot machine of that type in that zone; None when it is not known."""
    named = next((rule.fault["price"] for rule in weather.active("spot-price", place)), None)
    return named if named is not None else prices.default_spot_price(place.type, place.zone)


def _check_price(ec2: Ec2Region, order: LaunchRequest, subnet: Subnet) -> None:
    if order.market != "spot" or order.max_price_usd is None:
        return
    price = spot_price(ec2.environment.fault_engine, order.pool_in(subnet))
    if price is not None and order.max_price_usd < price:
        raise ApiError("SpotMaxPriceTooLow", asked=f"{order.max_price_usd:g}", price=f"{price:g}")


def _addresses(ec2: Ec2Region, order: LaunchRequest, subnet: Subnet) -> Iterator[_Limit]:
    words = f"There are not enough free addresses in subnet '{subnet.id}' to satisfy the requested number of instances."
    refusal = ApiError("InsufficientFreeAddressesInSubnet", words)
    yield _Limit(subnet.available_ip_address_count, refusal)
    for rule in ec2.environment.fault_engine.active("no-addresses", order.pool_in(subnet)):
        if rule.fault["free"] < order.max_count and rule.trigger():
            yield _Limit(rule.fault["free"], refusal)


def _quota(ec2: Ec2Region, order: LaunchRequest) -> Iterator[_Limit]:
    """Contract: quotas-count-vcpus-of-running-machines."""
    quota, each = quota_for(order.type, order.market), vcpus(order.type)
    if quota is None or not each:
        return
    limit = quota_limit(ec2.environment.fault_engine, quota, ec2.region_name)
    code = "MaxSpotInstanceCountExceeded" if order.market == "spot" else "VcpuLimitExceeded"
    yield _Limit((limit - vcpus_used(quota, ec2.all_instances())) // each, ApiError(code, limit=limit))


def _capacity(ec2: Ec2Region, order: LaunchRequest, subnet: Subnet) -> Iterator[_Limit]:
    place = order.pool_in(subnet)
    for rule in ec2.environment.fault_engine.active("no-capacity", place):
        room = rule.fault["machines"] - _occupied(ec2, rule.fault.where.matches)
        if room < order.max_count and rule.trigger():
            code = rule.fault["code"]
            yield _Limit(max(0, room), ApiError(code, _no_capacity(ec2, code, order, subnet)))


def _no_capacity(ec2: Ec2Region, code: str, order: LaunchRequest, subnet: Subnet) -> str:
    """EC2's words when a pool is empty, which name zones that are not; empty for the table's."""
    if code != "InsufficientInstanceCapacity":
        return ""
    others = [
        one for one in ec2.get_default_subnets().values() if one.id != subnet.id and has_capacity(ec2, order, one)
    ]
    zones = ", ".join(sorted(one.availability_zone for one in others))
    advice = f" or choosing {zones}" if zones else ""
    kind = f"{'spot ' if order.market == 'spot' else ''}{order.type}"
    return (
        f"We currently do not have sufficient {kind} capacity in the Availability Zone you requested "
        f"({subnet.availability_zone}). Our system will be working on provisioning additional capacity. You can "
        f"currently get {kind} capacity by not specifying an Availability Zone in your request{advice}."
    )


def _occupied(ec2: Ec2Region, fits: Any) -> int:
    return sum(instance.state in _OCCUPYING and fits(_pool(instance)) for instance in _instances(ec2))


def _instances(ec2: Ec2Region) -> Iterable[Instance]:
    return ec2.all_instances()


def _pool(instance: Instance) -> Subject:
    zone, subnet = str(instance.placement.zone), str(instance.subnet_id)
    return Subject(instance.region_name, zone, subnet, instance.instance_type, market_of(instance))
