"""Number of instances that a launch gets, limited by free addresses, vCPU quotas, capacity and the spot price."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from localcloud.aws import prices
from localcloud.aws.error_responses import ApiError
from localcloud.aws.quotas import Quota, market_of, quota_for, vcpus, vcpus_used
from localcloud.aws.sagemaker_catalog import ManagedQuota
from localcloud.ec2.backend import Ec2Region
from localcloud.scenarios.fault_engine import FaultEngine
from localcloud.scenarios.targets import Subject

if TYPE_CHECKING:
    from moto.ec2.models.instances import Instance
    from moto.ec2.models.subnets import Subnet

# States that occupy capacity; contract: capacity-is-held-while-running.
_OCCUPYING = ("pending", "running", "stopping")


@dataclass(frozen=True)
class LaunchRequest:
    """Arguments of RunInstances that decide about capacity.

    :param market: ``spot`` or ``on-demand``.
    :param max_price_usd: highest price per hour for a spot instance; None for no limit.
    :param has_placement: True if the caller chose the zone or the subnet.
    """

    type: str
    market: str
    min_count: int
    max_count: int
    max_price_usd: float | None = None
    has_placement: bool = True

    @classmethod
    def from_params(cls, params: dict[str, Any]) -> LaunchRequest:
        """Return the request that RunInstances' parameters describe.

        :raises ApiError: the counts are invalid.
        """
        min_count, max_count = int(params.get("MinCount", 1)), int(params.get("MaxCount", 1))
        if not 1 <= min_count <= max_count:
            message = f"Value ({min_count}) for parameter minCount is invalid: it must be between 1 and {max_count}"
            raise ApiError("InvalidParameterValue", message)
        options = params.get("InstanceMarketOptions", {})
        price = options.get("SpotOptions", {}).get("MaxPrice")
        return cls(
            type=params.get("InstanceType", ""),
            market="spot" if options.get("MarketType") == "spot" else "on-demand",
            min_count=min_count,
            max_count=max_count,
            max_price_usd=float(price) if price else None,
            has_placement="SubnetId" in params or "NetworkInterfaces" in params or "Placement" in params,
        )

    def pool_in(self, subnet: Subnet) -> Subject:
        """Return the capacity pool that the request draws from, as scenarios name it."""
        return Subject(subnet.ec2_backend.region_name, subnet.availability_zone, subnet.id, self.type, self.market)


@dataclass(frozen=True)
class _Limit:
    available: int
    error: ApiError


def launch_count(ec2: Ec2Region, request: LaunchRequest, subnet: Subnet) -> int:
    """Return the number of instances to launch: the maximum asked for, or fewer, but at least the minimum.

    :raises ApiError: fewer than the minimum are available.
    """
    _check_price(ec2, request, subnet)
    limits = [*_addresses(ec2, request, subnet), *_quota(ec2, request), *_capacity(ec2, request, subnet)]
    # The first limit below the minimum decides the error.
    for limit in limits:
        if limit.available < request.min_count:
            raise limit.error
    return min([request.max_count, *(limit.available for limit in limits)])


def has_capacity(ec2: Ec2Region, request: LaunchRequest, subnet: Subnet) -> bool:
    """Return whether a pool can take the minimum of a request, as far as capacity goes."""
    pool = request.pool_in(subnet)
    faults = ec2.environment.fault_engine.active("no-capacity", pool)
    return all(
        active.fault["machines"] - _occupied(ec2, active.fault.where.matches) >= request.min_count for active in faults
    )


def quota_limit(fault_engine: FaultEngine, quota: Quota | ManagedQuota, region: str) -> int:
    """Return the number of vCPUs, or of SageMaker's instances, that a quota allows now."""
    faults = fault_engine.active("quota", Subject(region=region))
    limit = quota.default
    for active in faults:
        if active.fault["quota"] in (quota.code, quota.name):
            active.has_struck = True
            limit = min(limit, active.fault["vcpus"])
    return limit


def spot_price(fault_engine: FaultEngine, pool: Subject) -> float | None:
    """Return USD per hour for a spot instance in a pool; None if the type has no price."""
    active = next(fault_engine.active("spot-price", pool), None)
    if active is None:
        return prices.default_spot_price(pool.type, pool.zone)
    active.has_struck = True
    return float(active.fault["price"])


def _check_price(ec2: Ec2Region, request: LaunchRequest, subnet: Subnet) -> None:
    if request.market != "spot" or request.max_price_usd is None:
        return
    price = spot_price(ec2.environment.fault_engine, request.pool_in(subnet))
    if price is not None and request.max_price_usd < price:
        raise ApiError("SpotMaxPriceTooLow", asked=f"{request.max_price_usd:g}", price=f"{price:g}")


def _addresses(ec2: Ec2Region, request: LaunchRequest, subnet: Subnet) -> Iterator[_Limit]:
    message = (
        f"There are not enough free addresses in subnet '{subnet.id}' to satisfy the requested number of instances."
    )
    error = ApiError("InsufficientFreeAddressesInSubnet", message)
    yield _Limit(subnet.available_ip_address_count, error)
    for active in ec2.environment.fault_engine.active("no-addresses", request.pool_in(subnet)):
        if active.fault["free"] < request.max_count and active.trigger():
            yield _Limit(active.fault["free"], error)


def _quota(ec2: Ec2Region, request: LaunchRequest) -> Iterator[_Limit]:
    """Yield the limit of the vCPU quota. Contract: quotas-count-vcpus-of-running-instances."""
    quota, vcpus_per_instance = quota_for(request.type, request.market), vcpus(request.type)
    if quota is None or not vcpus_per_instance:
        return
    limit = quota_limit(ec2.environment.fault_engine, quota, ec2.region_name)
    code = "MaxSpotInstanceCountExceeded" if request.market == "spot" else "VcpuLimitExceeded"
    yield _Limit((limit - vcpus_used(quota, ec2.all_instances())) // vcpus_per_instance, ApiError(code, limit=limit))


def _capacity(ec2: Ec2Region, request: LaunchRequest, subnet: Subnet) -> Iterator[_Limit]:
    pool = request.pool_in(subnet)
    for active in ec2.environment.fault_engine.active("no-capacity", pool):
        available = active.fault["machines"] - _occupied(ec2, active.fault.where.matches)
        if available < request.max_count and active.trigger():
            code = active.fault["code"]
            yield _Limit(max(0, available), ApiError(code, _no_capacity(ec2, code, request, subnet)))


def _no_capacity(ec2: Ec2Region, code: str, request: LaunchRequest, subnet: Subnet) -> str:
    """Return EC2's message for an empty pool, which names zones with capacity; empty for the default message."""
    if code != "InsufficientInstanceCapacity":
        return ""
    alternatives = [
        other
        for other in ec2.get_default_subnets().values()
        if other.id != subnet.id and has_capacity(ec2, request, other)
    ]
    zones = ", ".join(sorted(other.availability_zone for other in alternatives))
    advice = f" or choosing {zones}" if zones else ""
    offer = f"{'spot ' if request.market == 'spot' else ''}{request.type}"
    return (
        f"We currently do not have sufficient {offer} capacity in the Availability Zone you requested "
        f"({subnet.availability_zone}). Our system will be working on provisioning additional capacity. You can "
        f"currently get {offer} capacity by not specifying an Availability Zone in your request{advice}."
    )


def _occupied(ec2: Ec2Region, fits: Any) -> int:
    return sum(instance.state in _OCCUPYING and fits(_pool(instance)) for instance in _instances(ec2))


def _instances(ec2: Ec2Region) -> Iterable[Instance]:
    return ec2.all_instances()


def _pool(instance: Instance) -> Subject:
    zone, subnet = str(instance.placement.zone), str(instance.subnet_id)
    return Subject(instance.region_name, zone, subnet, instance.instance_type, market_of(instance))
