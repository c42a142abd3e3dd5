"""Use cases on the account: cost, quotas, instance types, access to the SSH port."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from orchestrator.aws.capacity import offerings, quotas
from orchestrator.aws.ec2 import instance_types, security_groups
from orchestrator.cluster import status
from orchestrator.cluster.inventory import Inventory
from orchestrator.core import cost
from orchestrator.core.cost import Amount
from orchestrator.core.errors import UsageError


@dataclass(frozen=True)
class Cost:
    """Cost of the cluster; None where a price is unknown.

    :param usd_per_hour: of everything that is billed now, disks of stopped instances included.
    :param spent: so far, since the launch of the instances.
    :param max_cost_usd: from their launch to the automatic shutdown of those that are up; disks of stopped instances
        are billed beyond that.
    :param expires_at: automatic shutdown of the last of them; None if one has none.
    :param stopped_usd_per_hour: of the disks of stopped instances, which have no automatic shutdown.
    :param idle_minutes: minutes without use until those that are up shut down; 0 if one of them does not.
    :param is_empty: True if there is no instance: nothing is billed.
    :param last_spent: cost of those that were terminated last, with their launches; None if it is not known here.
    """

    usd_per_hour: Decimal | None
    spent: Amount
    max_cost_usd: Decimal | None
    expires_at: datetime | None
    stopped_usd_per_hour: Decimal | None = Decimal(0)
    idle_minutes: int = 0
    is_empty: bool = False
    last_spent: Amount | None = None

    @property
    def spent_usd(self) -> Decimal | None:
        """USD so far; None if it is not known exactly."""
        return self.spent.exact


@dataclass(frozen=True)
class AccessReport:
    """Networks that may connect to the SSH port of the instances.

    :param previous_sources: those that were allowed until now.
    :param sources: those that are allowed from now on.
    """

    previous_sources: tuple[str, ...]
    sources: tuple[str, ...]
    port: int


class AccountService:
    """The AWS account of one cluster."""

    def __init__(self, inventory: Inventory) -> None:
        self.inventory = inventory
        self.context = inventory.context

    def cost(self) -> Cost:
        """Return what the cluster costs per hour, has cost, and will cost at most."""
        current = status.query(self.inventory)
        return Cost(
            cost.total([current.usd_per_hour, current.stopped_usd_per_hour]),
            current.spent,
            current.max_cost_usd,
            current.expires_at,
            current.stopped_usd_per_hour,
            current.idle_minutes,
            is_empty=not current.instances,
            last_spent=None if current.instances else self.context.launch_log.last_ended_cost(),
        )

    def request_quota_increase(self, count: int | None = None) -> quotas.QuotaIncrease:
        """Request the vCPU quota that a launch needs from AWS, unless it is available.

        :param count: number of instances; None for the setting of that name.
        """
        wanted, clients = self.context.settings.cluster, self.context.clients
        type_info = instance_types.find(clients, wanted.instance_type)
        usage = quotas.query(clients, type_info.name, 0, market=wanted.market)
        return quotas.request_increase(clients, replace(usage, needed=type_info.vcpus * (count or wanted.count)))

    def instance_types(self, requirements: offerings.Requirements) -> list[offerings.Offering]:
        """Return types that meet the requirements and can be launched now, the cheapest first."""
        market = self.context.settings.cluster.market
        return offerings.find(self.context.clients, self.context.prices, requirements, market=market)

    def types_exist(self, requirements: offerings.Requirements) -> bool:
        """Return True if the region has an instance type that meets the requirements, whatever the quota allows."""
        return offerings.exist(self.context.clients, requirements)

    def refresh_access(self) -> AccessReport:
        """Allow SSH from the networks of ``ssh_from`` only, by default from this computer's current address.

        :raises UsageError: the security group is the user's own, or there is none.
        """
        settings = self.context.settings
        # A group that the settings name may protect other instances than the cluster's.
        if settings.aws.security_group_id:
            raise UsageError(
                f"{settings.aws.security_group_id} is your own security group: Stratus never changes it",
                fix="change it in the AWS console, or leave [aws] security_group_id empty: one is then created",
            )
        access = security_groups.ssh_access(settings, "")
        previous = security_groups.update_sources(self.context.clients, self.context.cluster_id, access)
        return AccessReport(previous, access.sources, access.port)
