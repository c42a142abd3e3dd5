"""What concerns time, money, quotas and access rather than jobs: the half of the session that talks to the account."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from orchestrator.aws.capacity import offerings, quotas
from orchestrator.aws.ec2 import instance_types, security_groups
from orchestrator.cluster import lifetime
from orchestrator.cluster.lifetime import ExtendReport, IdleReport
from orchestrator.core import cost as core_cost
from orchestrator.core.errors import UsageError

if TYPE_CHECKING:
    from orchestrator.cluster.status import ClusterStatus
    from orchestrator.services.cluster import Cluster


class Account:
    """Methods of :class:`orchestrator.session.Session`."""

    cluster: Cluster

    def status(self) -> ClusterStatus:
        """Return the cluster as it is now."""
        raise NotImplementedError

    def cost(self) -> Cost:
        """Return what the cluster costs, has cost, and will cost at most."""
        status = self.status()
        now = status.at
        rest = [
            core_cost.cost_for(one.per_hour, (one.expires - now).total_seconds()) if one.expires else None
            for one in status.up
        ]
        at_most = core_cost.total([status.spent, *rest])
        return Cost(status.per_hour, status.spent, at_most, status.expires)

    def extend(self, hours: float) -> ExtendReport:
        """Let the running machines live some hours longer, as far as ``max_dollars`` allows."""
        return lifetime.extend(self.cluster, hours)

    def idle_shutdown(self, minutes: int) -> IdleReport:
        """Have the running machines end themselves after some minutes of nobody's use; 0 is never."""
        return lifetime.set_idle_shutdown(self.cluster, minutes)

    def request_limit_increase(self, count: int | None = None) -> quotas.QuotaIncrease:
        """Ask AWS for the vCPU quota that a launch takes, unless there is enough.

        :param count: how many machines; the settings' when None.
        """
        wanted, clients = self.cluster.settings.cluster, self.cluster.clients
        machine = instance_types.find(clients, wanted.instance_type)
        limit = quotas.query(clients, machine.name, 0, market=wanted.market)
        return quotas.request_increase(clients, replace(limit, needed=machine.vcpus * (count or wanted.count)))

    def offers(self, wish: offerings.Requirements) -> list[offerings.Offering]:
        """Return types that have what is wished for and that can be launched now, the cheapest first."""
        market = self.cluster.settings.cluster.market
        return offerings.find(self.cluster.clients, self.cluster.prices, wish, market=market)

    def refresh_access(self) -> AccessReport:
        """Let the cluster's security group admit the address that this computer has now, and no old one.

        :raises UsageError: the group is one that the user named, or there is none.
        """
        cluster = self.cluster
        if cluster.settings.aws.security_group_id:
            raise UsageError(
                f"{cluster.settings.aws.security_group_id} is your own security group: it is never changed",
                fix="change it in the AWS console, or leave [aws] security_group_id empty: one is made for the cluster",
            )
        access = security_groups.ssh_access(cluster.settings, "")
        before = security_groups.update_sources(cluster.clients, cluster.cluster_id, access)
        return AccessReport(before, access.sources, access.port)


@dataclass(frozen=True)
class Cost:
    """What the cluster costs and has cost."""

    per_hour: Decimal | None
    spent: Decimal | None
    at_most: Decimal | None
    expires: datetime | None


@dataclass(frozen=True)
class AccessReport:
    """Who may reach the SSH port of the machines.

    :param before: networks that were admitted until now.
    :param now: those that are from now on.
    """

    before: tuple[str, ...]
    now: tuple[str, ...]
    port: int
