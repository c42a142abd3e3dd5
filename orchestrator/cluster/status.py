"""State of a cluster at one moment: its instances, their prices and automatic shutdown."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from orchestrator.aws.ec2.instances import Instance
from orchestrator.aws.managed.resources import NO_MANAGED, ManagedSurvey
from orchestrator.cluster import elsewhere
from orchestrator.cluster.elsewhere import OtherCluster
from orchestrator.cluster.inventory import Inventory, SameRoleOwner
from orchestrator.core import cost
from orchestrator.core.cost import Amount
from orchestrator.hosts.disk_room import FullDisk
from orchestrator.hosts.tunnels import OpenTunnel


@dataclass(frozen=True)
class InstanceStatus:
    """One instance of the cluster.

    :param state: as EC2 names it: pending, running, stopping, stopped, shutting-down, terminated.
    :param expires_at: time of its automatic shutdown; None if unknown.
    :param usd_per_hour: while it runs, disk included; None if unknown.
    :param disk_usd_per_hour: of its disk alone, which is billed while it is stopped, too; None if unknown.
    :param is_spot: True for a spot instance.
    :param stopped_at: time of its stop; None unless it is stopped, or if unknown.
    :param spent: its cost since its launch.
    :param idle_minutes: minutes without use until it shuts down; 0 for never.
    :param max_cost_usd: from its launch to its automatic shutdown; None if it has none, or is not up.
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
    spent: Amount = cost.UNKNOWN
    idle_minutes: int = 0
    max_cost_usd: Decimal | None = None

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
    :param ended: cost of instances of the same launches that have ended.
    :param elsewhere: what this computer launched under other settings, and is not known to be terminated.
    :param same_role: what was launched with the caller's role, but not as this owner.
    :param owner_id: tells the caller apart from others behind one role; empty where it is not needed.
    :param owner_id_problem: why there is none although it is needed.
    :param managed: what SageMaker bills for the cluster besides.
    :param tunnels: open tunnels of this computer's processes to its instances.
    :param full_disks: disks of instances that were nearly full when this computer last got their figures.
    """

    cluster: str
    region: str
    owner: str
    instances: tuple[InstanceStatus, ...]
    at: datetime
    other_owners: tuple[str, ...] = ()
    ended: Amount = cost.NOTHING
    elsewhere: tuple[OtherCluster, ...] = ()
    same_role: tuple[SameRoleOwner, ...] = ()
    owner_id: str = ""
    owner_id_problem: str = ""
    managed: ManagedSurvey = NO_MANAGED
    tunnels: tuple[OpenTunnel, ...] = ()
    full_disks: tuple[FullDisk, ...] = ()

    @property
    def up(self) -> tuple[InstanceStatus, ...]:
        """The instances that are billed by the hour now."""
        return tuple(instance for instance in self.instances if instance.is_billed)

    @property
    def usd_per_hour(self) -> Decimal | None:
        """USD per hour of all that are up; None if a price is unknown."""
        return cost.total(instance.usd_per_hour for instance in self.up)

    @property
    def billed_usd_per_hour(self) -> Decimal | None:
        """USD per hour of all that are up, and of managed resources; None if a price is unknown."""
        return cost.total([self.usd_per_hour, self.managed.usd_per_hour])

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
    def spent(self) -> Amount:
        """Cost so far, since the launch of the instances."""
        return sum((instance.spent for instance in self.instances), self.ended)

    @property
    def spent_usd(self) -> Decimal | None:
        """USD so far, since the launch of the instances; None if it is not known exactly."""
        return self.spent.exact

    @property
    def max_cost_usd(self) -> Decimal | None:
        """USD from the launch to the automatic shutdown of all that are up; None if one has none, or is unpriced."""
        others = [instance.spent.at_most for instance in self.instances if not instance.is_billed]
        return cost.total([self.ended.at_most, *others, *(instance.max_cost_usd for instance in self.up)])

    @property
    def idle_minutes(self) -> int:
        """Minutes without use until all instances that are up shut down; 0 if one of them does not."""
        minutes = [instance.idle_minutes for instance in self.up]
        return max(minutes) if minutes and all(minutes) else 0

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
    survey = inventory.survey()
    inventory.refresh_spot_prices(survey.own)
    cluster_id, now = context.cluster_id, context.clock.now()
    spent = inventory.meter.costs(survey.own, now)
    up = [instance for instance in survey.own if instance.state in ("pending", "running")]
    most = inventory.meter.until_expiry(up, now, {instance.id: instance.expires_at for instance in up})
    return ClusterStatus(
        cluster_id.cluster,
        cluster_id.region,
        cluster_id.owner,
        tuple(
            _instance_status(inventory, instance, spent[instance.id], most.get(instance.id)) for instance in survey.own
        ),
        now,
        survey.other_owners,
        inventory.meter.cost_of_ended(survey.own, survey.ended, now),
        elsewhere.find(context),
        survey.same_role,
        cluster_id.owner_id,
        context.owner_id_problem,
    )


def _instance_status(inventory: Inventory, instance: Instance, spent: Amount, most: Amount | None) -> InstanceStatus:
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
        spent=spent,
        idle_minutes=instance.idle_minutes,
        max_cost_usd=most.at_most if most else None,
    )
