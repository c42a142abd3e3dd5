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
from orchestrator.core.errors import UsageError


@dataclass(frozen=True)
class Cost:
    """Cost of the cluster, USD; None where a price is unknown.

    :param at_most: from the start of the running instances to their automatic shutdown.
    :param expires: when the last of them shuts down automatically; None when one never does.
    """

    usd_per_hour: Decimal | None
    spent_usd: Decimal | None
    max_cost_usd: Decimal | None
    expires_at: datetime | None


@dataclass(frozen=True)
class AccessReport:
    """Networks that may reach the SSH port of the instances.

    :param before: those that were allowed until now.
    :param now: those that are from now on.
    """

    previous_sources: tuple[str, ...]
    sources: tuple[str, ...]
    port: int


class AccountService:
    """The account that a cluster runs in."""

    def __init__(self, inventory: Inventory) -> None:
        self.inventory = inventory
        self.context = inventory.context

    def cost(self) -> Cost:
        """Return what the cluster costs, has cost, and will cost at most."""
        now = status.query(self.inventory)
        rest = [
            cost.cost_for(machine.usd_per_hour, (machine.expires_at - now.at).total_seconds())
            if machine.expires_at
            else None
            for machine in now.up
        ]
        return Cost(now.usd_per_hour, now.spent_usd, cost.total([now.spent_usd, *rest]), now.expires_at)

    def request_quota_increase(self, count: int | None = None) -> quotas.QuotaIncrease:
        """Ask AWS for the vCPU quota that a launch takes, unless there is enough.

        :param count: how many instances; the settings' when None.
        """
        wanted, clients = self.context.settings.cluster, self.context.clients
        machine = instance_types.find(clients, wanted.instance_type)
        limit = quotas.query(clients, machine.name, 0, market=wanted.market)
        return quotas.request_increase(clients, replace(limit, needed=machine.vcpus * (count or wanted.count)))

    def instance_types(self, requirements: offerings.Requirements) -> list[offerings.Offering]:
        """Return types that meet the requirements and can be launched now, the cheapest first."""
        market = self.context.settings.cluster.market
        return offerings.find(self.context.clients, self.context.prices, requirements, market=market)

    def refresh_access(self) -> AccessReport:
        """Allow SSH from this computer's current address only.

        :raises UsageError: the group is one that the user named, or there is none.
        """
        settings = self.context.settings
        if settings.aws.security_group_id:
            raise UsageError(
                f"{settings.aws.security_group_id} is your own security group: it is never changed",
                fix="change it in the AWS console, or leave [aws] security_group_id empty: one is made for the cluster",
            )
        access = security_groups.ssh_access(settings, "")
        before = security_groups.update_sources(self.context.clients, self.context.cluster_id, access)
        return AccessReport(before, access.sources, access.port)
