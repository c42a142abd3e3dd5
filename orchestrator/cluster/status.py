"""State of a cluster at one moment: its instances, their prices and expiry."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from orchestrator.aws.ec2.instances import Instance
from orchestrator.cluster.inventory import Inventory
from orchestrator.core import cost


@dataclass(frozen=True)
class InstanceStatus:
    """One machine of the cluster as the cloud tells it.

    :param state: EC2's word: pending, running, stopping, stopped, shutting-down, terminated.
    :param per_hour: USD per hour, its disk included; None when the price is unknown.
    :param expires: when it ends itself.
    :param disk_per_hour: USD per hour of its disk alone, which is billed while it is stopped, too.
    :param spot: it was bought on the spot market.
    :param stopped: since when it is stopped; None when it is not.
    """

    name: str
    id: str
    type: str
    state: str
    zone: str
    address: str
    launched_at: datetime | None
    expires_at: datetime | None
    usd_per_hour: Decimal | None
    disk_usd_per_hour: Decimal | None = None
    is_spot: bool = False
    stopped_at: datetime | None = None

    @property
    def is_billed(self) -> bool:
        """Whether it costs money by the hour now."""
        return self.state in ("pending", "running")

    @property
    def is_stopped(self) -> bool:
        """Whether it is stopped, or about to be: its disk is billed."""
        return self.state in ("stopping", "stopped")


@dataclass(frozen=True)
class ClusterStatus:
    """The whole cluster at one moment.

    :param at: the moment.
    :param foreign: machines in a cluster of this name that are another owner's, in words; they are never touched.
    """

    cluster: str
    region: str
    owner: str
    instances: tuple[InstanceStatus, ...]
    at: datetime
    other_owners: tuple[str, ...] = ()

    @property
    def up(self) -> tuple[InstanceStatus, ...]:
        """The machines that cost money now."""
        return tuple(machine for machine in self.instances if machine.is_billed)

    @property
    def usd_per_hour(self) -> Decimal | None:
        """USD per hour for all of them; None when one price is unknown."""
        return cost.total(machine.usd_per_hour for machine in self.up)

    @property
    def stopped(self) -> tuple[InstanceStatus, ...]:
        """The machines that are stopped: their disks are billed."""
        return tuple(machine for machine in self.instances if machine.is_stopped)

    @property
    def stopped_usd_per_hour(self) -> Decimal | None:
        """USD per hour for the disks of stopped machines; None when one price is unknown."""
        return cost.total(machine.disk_usd_per_hour for machine in self.stopped)

    def stopped_longer_than(self, hours: float) -> tuple[InstanceStatus, ...]:
        """Return the machines that have been stopped for longer than some hours: nothing ends them by itself."""
        return tuple(
            one for one in self.stopped if one.stopped_at and (self.at - one.stopped_at).total_seconds() > hours * 3600
        )

    @property
    def spent_usd(self) -> Decimal | None:
        """USD so far, of the machines that are still there."""
        return cost.total(cost.cost_since(machine.usd_per_hour, machine.launched_at, self.at) for machine in self.up)

    @property
    def expires_at(self) -> datetime | None:
        """When the last of them ends itself; None when one of them never does."""
        times = [machine.expires_at for machine in self.up]
        return None if None in times or not times else max(time for time in times if time)


def query(inventory: Inventory) -> ClusterStatus:
    """Return the cluster as it is now; one API call, one more for spot prices, one more while the caller is unknown."""
    context = inventory.context
    ours, foreign = inventory.with_other_owners()
    inventory.refresh_spot_prices(ours)
    machines = tuple(_machine(inventory, instance) for instance in ours)
    cluster_id = context.cluster_id
    return ClusterStatus(
        cluster_id.cluster, cluster_id.region, cluster_id.owner, machines, context.clock.now(), foreign
    )


def _machine(inventory: Inventory, instance: Instance) -> InstanceStatus:
    return InstanceStatus(
        name=instance.name,
        id=instance.id,
        type=instance.type,
        state=instance.state,
        zone=instance.zone,
        address=instance.public_address or instance.private_address,
        launched_at=instance.launched_at,
        expires_at=instance.expires_at,
        usd_per_hour=inventory.usd_per_hour(instance),
        disk_usd_per_hour=inventory.disk_usd_per_hour(instance),
        is_spot=instance.is_spot,
        stopped_at=instance.stopped_at,
    )
