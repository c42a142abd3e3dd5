"""Plan of one launch: what, where, at which price and within which limits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING

from orchestrator.aws import identity as aws_identity
from orchestrator.aws.capacity.pools import ON_DEMAND, Pool
from orchestrator.aws.ec2.instances import Disk
from orchestrator.aws.launch import time_limits
from orchestrator.aws.pricing import price_table

if TYPE_CHECKING:
    from orchestrator.aws.capacity.quotas import QuotaUsage
    from orchestrator.aws.ec2.images import Image
    from orchestrator.aws.ec2.instance_types import InstanceType
    from orchestrator.aws.ec2.network import Placement, Subnet


@dataclass(frozen=True)
class LaunchPlan:
    """A launch, ready to be carried out.

    :param mine: cluster, owner, account and region.
    :param run: id of the launch.
    :param names: of the machines, in the order of their launch indices.
    :param machine: what one machine has.
    :param place: VPC and subnets that can take the machines, the best first.
    :param subnet: the one that will be asked.
    :param user: login name.
    :param address: ``public``, ``private``, or ``auto``: as the subnet does it.
    :param living: names of the cluster's machines that already exist.
    :param pools: where machines will be asked for, one after another; the first is ``machine`` in ``subnet``.
    :param market: ``on-demand`` or ``spot``.
    :param allow_partial: whether fewer machines than ``names`` will do.
    :param max_dollars: that the launch may cost; 0 is no cap.
    :param idle_minutes: of nobody's use after which a machine ends itself; 0 is never.
    :param port: of the machines' SSH server.
    :param spot_price: of one machine on the spot market now; ``price`` is the most that it can become.
    :param limit: the quota that it counts against; None when that was not asked for.
    :param sources: networks that may reach the machines; empty when that was not found out.
    :param notes: what could not be checked, a line each.
    :param price: of one running machine; None when unknown.
    :param disk_price: of one disk; None when unknown.
    """

    cluster_id: aws_identity.ClusterId
    launch_id: str
    names: tuple[str, ...]
    type_info: InstanceType
    image: Image
    placement: Placement
    subnet: Subnet
    disk: Disk
    max_hours: float
    user: str
    address_type: str = "auto"
    instance_profile: str = ""
    existing_names: tuple[str, ...] = ()
    pools: tuple[Pool, ...] = ()
    market: str = ON_DEMAND
    allow_partial: bool = False
    price: price_table.Price | None = None
    disk_price: price_table.Price | None = None
    max_dollars: float = 0.0
    idle_minutes: int = 0
    ssh_port: int = 22
    spot_price: price_table.Price | None = None
    quota: QuotaUsage | None = None
    ssh_sources: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """How many machines."""
        return len(self.names)

    @property
    def cluster(self) -> str:
        """Name of the cluster."""
        return self.cluster_id.cluster

    @property
    def owner(self) -> str:
        """Value of the owner tag."""
        return self.cluster_id.owner

    @property
    def region(self) -> str:
        """Region, such as ``us-west-2``."""
        return self.cluster_id.region

    @property
    def instance_type(self) -> str:
        """Instance type, such as ``c7i.2xlarge``."""
        return self.type_info.name

    @property
    def vcpus(self) -> int:
        """Virtual CPUs of one machine."""
        return self.type_info.vcpus

    @property
    def memory_gib(self) -> float:
        """Main memory of one machine, GiB."""
        return self.type_info.memory_gib

    @property
    def gpus(self) -> int:
        """GPUs of one machine."""
        return self.type_info.gpus

    @property
    def usd_per_hour_each(self) -> Decimal | None:
        """USD per hour of one running machine without its disk; None when unknown."""
        return self.price.usd if self.price else None

    @property
    def disk_usd_per_hour(self) -> Decimal | None:
        """USD per hour of one disk; None when unknown."""
        return self.disk_price.usd if self.disk_price else None

    @property
    def usd_per_hour(self) -> Decimal | None:
        """USD per hour of all machines with their disks; None when any part is unknown."""
        if self.usd_per_hour_each is None or self.disk_usd_per_hour is None:
            return None
        return (self.usd_per_hour_each + self.disk_usd_per_hour) * self.count

    @property
    def max_cost_usd(self) -> Decimal | None:
        """USD that the launch costs if it is forgotten: until the machines end themselves; None when unknown.

        In the dearest of the pools that it may end up in.
        """
        mosts = [self.with_pool(pool)._own_max_cost_usd for pool in self.pools] or [self._own_max_cost_usd]
        return None if None in mosts else max(most for most in mosts if most is not None)

    @property
    def _own_max_cost_usd(self) -> Decimal | None:
        if self.usd_per_hour is None:
            return None
        booked = time_limits.BOOT_MINUTES / 60 if self.is_budget_limited else 0.0
        return self.usd_per_hour * Decimal(str(self.hours + booked))

    @property
    def time_limits(self) -> time_limits.TimeLimits:
        """The limits that each machine keeps by itself.

        :raises UsageError: money is to be the limit, and the price is unknown or the cap too low.
        """
        what = f"{self.count} x {self.instance_type}"
        budget = time_limits.budget_minutes(self.max_dollars, self.usd_per_hour, description=what)
        return time_limits.TimeLimits(
            time_limits.whole_minutes(self.max_hours), budget, self.idle_minutes, self.ssh_port
        )

    @property
    def is_budget_limited(self) -> bool:
        """Whether ``max_dollars`` ends the machines before ``max_hours`` does."""
        limits = self.time_limits
        return 0 < limits.budget_minutes - time_limits.BOOT_MINUTES < limits.minutes

    @property
    def hours(self) -> float:
        """Hours after which the machines end themselves: ``max_hours``, or what ``max_dollars`` buys."""
        return (
            (self.time_limits.budget_minutes - time_limits.BOOT_MINUTES) / 60
            if self.is_budget_limited
            else self.max_hours
        )

    @property
    def min_count(self) -> int:
        """How many machines must come for any of them to stay."""
        return 1 if self.allow_partial else self.count

    def with_pool(self, pool: Pool) -> LaunchPlan:
        """Return the same plan for another pool."""
        return replace(self, type_info=pool.type_info, subnet=pool.subnet, market=pool.market, price=pool.price)

    def remaining(self, launched: int) -> LaunchPlan:
        """Return a plan for the machines that are still wanted once some have come, with their share of the money.

        :param had: how many came.
        """
        left = self.names[launched:]
        return replace(self, names=left, max_dollars=self.max_dollars * len(left) / self.count)

    def for_replacement(self, name: str, used_hours: float = 0.0) -> LaunchPlan:
        """Return a plan for one machine of this launch, in place of the one that had the name.

        :param used_hours: for which that one ran: they count against ``max_dollars`` as well as against ``max_hours``.
        """
        share = self.max_dollars / self.count
        if self.max_dollars and self.usd_per_hour is not None:
            share = max(0.01, share - float(self.usd_per_hour) / self.count * used_hours)
        return replace(self, names=(name,), max_dollars=share)
