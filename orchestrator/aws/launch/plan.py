"""Plan of one launch: instances, placement, price and limits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING

from orchestrator.aws import identity as aws_identity
from orchestrator.aws.capacity.pools import ON_DEMAND, Pool
from orchestrator.aws.disks.file_systems import PlannedFileSystem
from orchestrator.aws.disks.mounts import LOCAL, Mount
from orchestrator.aws.disks.volumes import PlannedVolume
from orchestrator.aws.ec2.instances import Disk
from orchestrator.aws.launch.time_limits import BOOT_MINUTES, TimeLimits, budget_minutes, whole_minutes
from orchestrator.aws.pricing import price_table
from orchestrator.core import cost
from orchestrator.core.cost import Amount

if TYPE_CHECKING:
    from orchestrator.aws.capacity.quotas import QuotaUsage
    from orchestrator.aws.ec2.images import Image
    from orchestrator.aws.ec2.instance_types import InstanceType
    from orchestrator.aws.ec2.network import Placement, Subnet
    from orchestrator.aws.ingress.access import PortRange
    from orchestrator.aws.machines.reservations import Reservation
    from orchestrator.config.disks.volumes import Volume


@dataclass(frozen=True)
class LaunchPlan:
    """Plan of one launch, checked and priced.

    :param launch_id: id of the launch.
    :param names: of the instances, in the order of their launch indices.
    :param type_info: hardware of one instance.
    :param placement: VPC and subnets that can take the instances, in the order of preference.
    :param subnet: the first subnet to try.
    :param user: login name.
    :param address_type: ``public``, ``private``, or ``auto`` for the default of the subnet.
    :param existing_names: names of the cluster's existing instances.
    :param stopped_names: those of them that are stopped or stopping.
    :param pools: capacity pools to try one after another; the first is ``type_info`` in ``subnet``.
    :param market: ``on-demand`` or ``spot``.
    :param allow_partial: True if fewer instances than ``names`` are enough.
    :param price: of one running instance; None if unknown. On the spot market it is the most that it can become.
    :param disk_price: of the disks of one instance; None if unknown.
    :param max_dollars: budget of the launch, USD; 0 for none.
    :param idle_minutes: without use, after which an instance shuts down; 0 for never.
    :param ssh_port: of the instances' SSH server.
    :param spot_price: current spot price of one instance; None if unknown or on demand.
    :param max_spot_price: limit of spot requests, USD per hour; empty for none.
    :param reservation: capacity reservation to launch in; None for any capacity.
    :param quota: the vCPU quota that the launch uses; None if it was not looked up.
    :param ssh_sources: networks that may connect by SSH; empty if not looked up.
    :param open_ports: further ports that networks may connect to.
    :param warnings: checks that could not be made, one line each.
    :param replaced: cost of the instance that the only one of this plan replaces.
    :param other_key_names: names of existing instances that another key pair of the cluster opens.
    :param volumes: of every instance, besides its root disk and those of its image.
    :param local_disks: the setting that mounts the instances' own NVMe disks; None without one.
    :param file_systems: that all instances share.
    :param is_clustered: True for instances next to each other, in the cluster's placement group.
    :param has_efa: True for instances with Elastic Fabric Adapters.
    :param is_job_ready: False if the job cannot be installed as it is; a warning has the reason.
    :param replaced_ids: of instances that are terminated before, in whose place the new ones come.
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
    stopped_names: tuple[str, ...] = ()
    pools: tuple[Pool, ...] = ()
    market: str = ON_DEMAND
    allow_partial: bool = False
    price: price_table.Price | None = None
    disk_price: price_table.Price | None = None
    max_dollars: float = 0.0
    idle_minutes: int = 0
    ssh_port: int = 22
    spot_price: price_table.Price | None = None
    max_spot_price: str = ""
    reservation: Reservation | None = None
    quota: QuotaUsage | None = None
    ssh_sources: tuple[str, ...] = ()
    open_ports: tuple[PortRange, ...] = ()
    warnings: tuple[str, ...] = ()
    replaced: Amount = cost.NOTHING
    is_job_ready: bool = True
    other_key_names: tuple[str, ...] = ()
    volumes: tuple[PlannedVolume, ...] = ()
    local_disks: Volume | None = None
    file_systems: tuple[PlannedFileSystem, ...] = ()
    is_clustered: bool = False
    has_efa: bool = False
    replaced_ids: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """Number of instances."""
        return len(self.names)

    @property
    def cluster(self) -> str:
        """Name of the cluster."""
        return self.cluster_id.cluster

    @property
    def further_disks(self) -> tuple[Disk, ...]:
        """Disks of one instance besides its root disk that are deleted with it."""
        own = (item.disk for item in self.volumes if item.is_deleted_with_instance)
        return (*self.image.further_disks.values(), *own)

    @property
    def disk_mounts(self) -> tuple[Mount, ...]:
        """Mounts of the instances' own disks."""
        local = [Mount(self.local_disks.name, LOCAL, "", self.local_disks.mount_point)] if self.local_disks else []
        return (*(item.mount for item in self.volumes), *local)

    @property
    def names_of_key(self) -> tuple[str, ...]:
        """Names of the existing instances that the cluster's current key pair opens."""
        return tuple(name for name in self.existing_names if name not in self.other_key_names)

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
        """Virtual CPUs of one instance."""
        return self.type_info.vcpus

    @property
    def memory_gib(self) -> float:
        """Main memory of one instance, GiB."""
        return self.type_info.memory_gib

    @property
    def gpus(self) -> int:
        """GPUs of one instance."""
        return self.type_info.gpus

    def nvidia_gpus(self, instance_type: str) -> int:
        """Return the number of NVIDIA GPUs of a type that this plan may launch."""
        types = [self.type_info, *(pool.type_info for pool in self.pools)]
        return next((item.gpus for item in types if item.name == instance_type and item.gpu.startswith("NVIDIA")), 0)

    @property
    def usd_per_hour_each(self) -> Decimal | None:
        """USD per hour of one running instance without its disk; None if unknown."""
        return self.price.usd if self.price else None

    @property
    def disk_usd_per_hour(self) -> Decimal | None:
        """USD per hour of the disks of one instance; None if unknown."""
        return self.disk_price.usd if self.disk_price else None

    @property
    def has_public_addresses(self) -> bool:
        """True if every instance gets a public IPv4 address."""
        is_default = self.address_type == "auto" and self.subnet.assigns_public_addresses
        return is_default or self.address_type == "public"

    @property
    def efa_interfaces(self) -> int:
        """Elastic Fabric Adapters of one instance: one per network card, or a single one beside a public address."""
        if not self.has_efa:
            return 0
        return min(1, self.type_info.efa_interfaces) if self.has_public_addresses else self.type_info.efa_interfaces

    @property
    def address_usd_per_hour(self) -> Decimal:
        """USD per hour of the public address of one instance; 0 without one."""
        return price_table.PUBLIC_ADDRESS_USD_PER_HOUR if self.has_public_addresses else Decimal(0)

    @property
    def usd_per_hour(self) -> Decimal | None:
        """USD per hour of all instances with their disks and public addresses; None if any price is unknown."""
        if self.usd_per_hour_each is None or self.disk_usd_per_hour is None:
            return None
        return (self.usd_per_hour_each + self.disk_usd_per_hour + self.address_usd_per_hour) * self.count

    @property
    def max_cost_usd(self) -> Decimal | None:
        """Cost in USD until the automatic shutdown, in the most expensive of the pools; None if unknown."""
        costs = [self.with_pool(pool)._pool_cost_usd for pool in self.pools] or [self._pool_cost_usd]
        return None if None in costs else max(cost for cost in costs if cost is not None)

    @property
    def _pool_cost_usd(self) -> Decimal | None:
        if self.usd_per_hour is None:
            return None
        boot_hours = BOOT_MINUTES / 60 if self.is_budget_limited else 0.0
        return self.usd_per_hour * Decimal(str(self.hours + boot_hours))

    @property
    def time_limits(self) -> TimeLimits:
        """The limits that each instance enforces.

        :raises UsageError: there is a budget, and it is too small or the price is unknown.
        """
        description = f"{self.count} x {self.instance_type}"
        budget = budget_minutes(self.max_dollars, self.usd_per_hour, description=description)
        return TimeLimits(whole_minutes(self.max_hours), budget, self.idle_minutes, self.ssh_port)

    @property
    def is_budget_limited(self) -> bool:
        """True if ``max_dollars`` shuts the instances down before ``max_hours`` does."""
        limits = self.time_limits
        return 0 < limits.budget_minutes - BOOT_MINUTES < limits.minutes

    @property
    def hours(self) -> float:
        """Hours until the automatic shutdown: ``max_hours``, or as many as ``max_dollars`` pays for."""
        return (self.time_limits.budget_minutes - BOOT_MINUTES) / 60 if self.is_budget_limited else self.max_hours

    @property
    def min_count(self) -> int:
        """Smallest number of instances with which the launch succeeds."""
        return 1 if self.allow_partial else self.count

    def with_pool(self, pool: Pool) -> LaunchPlan:
        """Return the same plan for another pool."""
        return replace(self, type_info=pool.type_info, subnet=pool.subnet, market=pool.market, price=pool.price)

    def remaining(self, launched: int) -> LaunchPlan:
        """Return a plan for the instances that are still missing, with their share of the budget.

        :param launched: number of instances that exist already.
        """
        # The instances that exist keep their share: each enforces it by its own timer.
        names = self.names[launched:]
        return replace(self, names=names, max_dollars=self.max_dollars * len(names) / self.count)

    def for_replacement(self, name: str, replaced: Amount) -> LaunchPlan:
        """Return a plan for the replacement of one instance of this launch.

        :param replaced: cost of the replaced instance, which is deducted from its share of ``max_dollars``.
        """
        share = self.max_dollars / self.count
        if self.max_dollars:
            # At the price of a plan with a cap, which is known, so that there is an upper bound.
            share = max(0.01, share - float(replaced.at_most or replaced.at_least))  # 0 would mean no budget at all
        return replace(self, names=(name,), max_dollars=share, replaced=replaced)
