"""Use cases on the account: cost, quotas, instance types, access to the SSH port."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from orchestrator.aws.capacity import offerings, quotas
from orchestrator.aws.ec2 import instance_types, security_groups
from orchestrator.aws.ingress.access import PortRange, ssh_access
from orchestrator.aws.managed.resources import NO_MANAGED, ManagedSurvey
from orchestrator.aws.managed.sweep import ManagedSweep
from orchestrator.aws.pricing import price_table
from orchestrator.aws.pricing.break_even import DAYS_PER_YEAR, HOURS_PER_DAY, BreakEven, OwnComputer, Rental, Use
from orchestrator.aws.sagemaker import quotas as sagemaker_quotas
from orchestrator.cluster import status
from orchestrator.cluster.inventory import Inventory
from orchestrator.core import cost
from orchestrator.core.cost import Amount
from orchestrator.core.errors import UsageError


@dataclass(frozen=True)
class Cost:
    """Cost of the cluster; None where a price is unknown.

    :param usd_per_hour: of everything that is billed now, disks of stopped instances included.
    :param spent: so far, since the launch of the instances; managed resources are not included.
    :param max_cost_usd: from their launch to the automatic shutdown of those that are up; disks of stopped instances
        are billed beyond that.
    :param expires_at: automatic shutdown of the last of them; None if one has none.
    :param stopped_usd_per_hour: of the disks of stopped instances, which have no automatic shutdown.
    :param idle_minutes: minutes without use until those that are up shut down; 0 if one of them does not.
    :param has_instances: False if no instance is running or stopped.
    :param last_spent: cost of those that were terminated last, with their launches; None if it is not known here.
    :param managed: what is billed besides instances.
    """

    usd_per_hour: Decimal | None
    spent: Amount
    max_cost_usd: Decimal | None
    expires_at: datetime | None
    stopped_usd_per_hour: Decimal | None = Decimal(0)
    idle_minutes: int = 0
    has_instances: bool = True
    last_spent: Amount | None = None
    managed: ManagedSurvey = NO_MANAGED

    @property
    def is_empty(self) -> bool:
        """True if there is neither an instance nor a managed resource: nothing is billed."""
        return not self.has_instances and self.managed == NO_MANAGED

    @property
    def spent_usd(self) -> Decimal | None:
        """USD so far; None if it is not known exactly."""
        return self.spent.exact


@dataclass(frozen=True)
class AccessReport:
    """Networks that may connect to the SSH port of the instances.

    :param previous_sources: those that were allowed until now.
    :param sources: those that are allowed from now on.
    :param open_ports: further ports that networks may connect to from now on.
    """

    previous_sources: tuple[str, ...]
    sources: tuple[str, ...]
    port: int
    open_ports: tuple[PortRange, ...] = ()


class AccountService:
    """The AWS account of one cluster."""

    def __init__(self, inventory: Inventory, managed: ManagedSweep) -> None:
        self.inventory, self.managed = inventory, managed
        self.context = inventory.context

    def cost(self) -> Cost:
        """Return what the cluster costs per hour, has cost, and will cost at most."""
        current, managed = status.query(self.inventory), self.managed.survey()
        # What could not be looked up may be billed: the price is unknown then.
        besides = None if managed.problems else managed.usd_per_hour
        return Cost(
            cost.total([current.usd_per_hour, current.stopped_usd_per_hour, besides]),
            current.spent,
            current.max_cost_usd,
            current.expires_at,
            current.stopped_usd_per_hour,
            current.idle_minutes,
            has_instances=bool(current.instances),
            last_spent=None if current.instances else self.context.launch_log.last_ended_cost(),
            managed=managed,
        )

    def request_quota_increase(self, count: int | None = None) -> quotas.QuotaIncrease:
        """Request the vCPU quota that a launch needs from AWS, unless it is available.

        :param count: number of instances; None for the setting of that name.
        """
        wanted, clients = self.context.settings.cluster, self.context.clients
        type_info = instance_types.find(clients, wanted.instance_type)
        usage = quotas.query(clients, type_info.name, 0, market=wanted.market)
        return quotas.request_increase(clients, replace(usage, needed=type_info.vcpus * (count or wanted.count)))

    def request_sagemaker_quota_increase(
        self, name: str, count: int | None = None
    ) -> sagemaker_quotas.SageMakerQuotaIncrease:
        """Request a quota of SageMaker's instances from AWS, unless it is available.

        :param name: of the quota, such as ``ml.g5.xlarge for training job usage``.
        :param count: number of instances; None for the setting of VMs of that name.
        """
        clients = self.context.clients
        quota = sagemaker_quotas.find(clients, name, count or self.context.settings.cluster.count)
        return sagemaker_quotas.request_increase(clients, quota)

    def instance_types(self, requirements: offerings.Requirements) -> list[offerings.Offering]:
        """Return types that meet the requirements and can be launched now, the cheapest first."""
        market = self.context.settings.cluster.market
        return offerings.find(self.context.clients, self.context.prices, requirements, market=market)

    def types_exist(self, requirements: offerings.Requirements) -> bool:
        """Return True if the region has an instance type that meets the requirements, whatever the quota allows."""
        return offerings.exist(self.context.clients, requirements)

    def break_even(self, own: OwnComputer, use: Use, instance_type: str = "") -> BreakEven:
        """Return what an own computer and VMs cost for the same hours of use, with the disk of the settings.

        :param instance_type: empty for that of the settings.
        :raises UsageError: the region does not offer the type.
        """
        settings, prices = self.context.settings, self.context.prices
        type_info = instance_types.find(self.context.clients, instance_type or settings.cluster.instance_type)
        prices.refresh([type_info.name], [settings.disk.type])
        prices.refresh_spot([type_info.name])
        on_demand = prices.per_hour(type_info.name, settings.aws.region)
        spot = [price.usd for zone in type_info.zones if (price := prices.spot_per_hour(type_info.name, zone))]
        disk = prices.disk_per_hour(settings.disk, settings.aws.region)
        disk_usd = disk.usd if disk else None
        vms = {"on demand": on_demand.usd if on_demand else None, "spot": min(spot, default=None)}
        address_usd = price_table.PUBLIC_ADDRESS_USD_PER_HOUR
        return BreakEven(
            instance_type=type_info.name,
            region=settings.aws.region,
            price_source=on_demand.source if on_demand else "",
            own=own,
            use=use,
            rentals=tuple(Rental(market, cost.total([usd, disk_usd, address_usd])) for market, usd in vms.items()),
            stopped_disk_usd_per_year=_stopped_usd_per_year(disk_usd, use),
        )

    def refresh_access(self) -> AccessReport:
        """Allow SSH from the networks of ``ssh_from`` only, by default from this computer's current address.

        The ports of ``open_ports`` follow as well: those ``from me`` are opened to the current address.

        :raises UsageError: the security group is the user's own, or there is none.
        """
        settings = self.context.settings
        # A group that the settings name may protect other instances than the cluster's.
        if settings.aws.security_group_id:
            raise UsageError(
                f"{settings.aws.security_group_id} is your own security group: Stratus never changes it",
                fix="change it in the AWS console, or leave [aws] security_group_id empty: one is then created",
            )
        access = ssh_access(settings, "")
        previous = security_groups.update_sources(self.context.clients, self.context.cluster_id, access)
        return AccessReport(previous, access.sources, access.port, access.open_ports)


def _stopped_usd_per_year(disk_usd_per_hour: Decimal | None, use: Use) -> Decimal | None:
    return (
        None if disk_usd_per_hour is None else disk_usd_per_hour * (HOURS_PER_DAY * DAYS_PER_YEAR - use.hours_per_year)
    )
