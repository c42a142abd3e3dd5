"""State of a cluster at one moment: its instances, their prices and automatic shutdown."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from orchestrator.aws.ec2.instances import Instance
from orchestrator.cluster.inventory import Inventory
from orchestrator.core import cost


@dataclass(frozen=True)
class InstanceStatus:
    """One instance of the cluster.

    :param state: as EC2 names it: pending, running, stopping, stopped, shutting-down, terminated.
    :param expires_at: time of its automatic shutdown; None if unknown.
    :param usd_per_hour: while it runs, disk included; None if unknown.
    :param disk_usd_per_hour: of its disk alone, which is billed while it is stopped, too; None if unknown.
    :param is_spot: True for a spot instance.
    :param stopped_at: time of its stop; None unless it is stopped, or if unknown.
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
        """True if it is billed by the hour now."""
        return self.state in ("pending", "running")

    @property
    def is_stopped(self) -> bool:
        """True if it is stopped or stopping: only its disk is billed."""
        return self.state in ("stopping", "stopped")


@dataclass(frozen=True)
class ClusterStatus:
    """The whole cluster at one moment.

    :param at: the moment.
    :param other_owners: instances of other owners in a cluster of this name, as text; they are never touched.
    """

    cluster: str
    region: str
    owner: str
    instances: tuple[InstanceStatus, ...]
    at: datetime
    other_owners: tuple[str, ...] = ()

    @property
    def up(self) -> tuple[InstanceStatus, ...]:
        """The instances that are billed by the hour now."""
        return tuple(instance for instance in self.instances if instance.is_billed)

    @property
    def usd_per_hour(self) -> Decimal | None:
        """USD per hour of all that are up; None if a price is unknown."""
        return cost.total(instance.usd_per_hour for instance in self.up)

    @property
    def stopped(self) -> tuple[InstanceStatus, ...]:
        """The instances that are stopped: only their disks are billed."""
        return tuple(instance for instance in self.instances if instance.is_stopped)

    @property
    def stopped_usd_per_hour(self) -> Decimal | None:
        """USD per hour of the disks of stopped instances; None if a price is unknown."""
        return cost.total(instance.disk_usd_per_hour for instance in self.stopped)

    def stopped_longer_than(self, hours: float) -> tuple[InstanceStatus, ...]:
        """Return the instances that have been stopped for more than some hours: no timer terminates them."""
        return tuple(
            instance
            for instance in self.stopped
            if instance.stopped_at and (self.at - instance.stopped_at).total_seconds() > hours * 3600
        )

    @property
    def spent_usd(self) -> Decimal | None:
        """USD so far of the instances that are up, since their launch or last start; None if a price is unknown."""
        return cost.total(cost.cost_since(instance.usd_per_hour, instance.launched_at, self.at) for instance in self.up)

    @property
    def expires_at(self) -> datetime | None:
        """Automatic shutdown of the last instance that is up; None if one has none."""
        return last_expiry(instance.expires_at for instance in self.up)


def last_expiry(times: Iterable[datetime | None]) -> datetime | None:
    """Return the latest of some shutdown times; None if there is none, or one is unknown."""
    expiries = list(times)
    return None if None in expiries else max((time for time in expiries if time), default=None)


def query(inventory: Inventory) -> ClusterStatus:
    """Return the cluster as it is now: one API call, and one more for spot prices if an instance is spot."""
    context = inventory.context
    instances, other_owners = inventory.with_other_owners()
    inventory.refresh_spot_prices(instances)
    cluster_id = context.cluster_id
    return ClusterStatus(
        cluster_id.cluster,
        cluster_id.region,
        cluster_id.owner,
        tuple(_instance_status(inventory, instance) for instance in instances),
        context.clock.now(),
        other_owners,
    )


def _instance_status(inventory: Inventory, instance: Instance) -> InstanceStatus:
    return InstanceStatus(
        name=instance.name,
        id=instance.id,
        type=instance.type,
        state=instance.state,
        zone=instance.zone,
        address=instance.public_address or instance.private_address,
        # EC2 sets the launch time again at every start, so that the cost so far is that since the last start.
        launched_at=instance.launched_at,
        expires_at=instance.expires_at,
        usd_per_hour=inventory.usd_per_hour(instance),
        disk_usd_per_hour=inventory.disk_usd_per_hour(instance),
        is_spot=instance.is_spot,
        stopped_at=instance.stopped_at,
    )
