"""Meter: the cost of instances, from what EC2 shows, their tags, and what this computer has recorded.

EC2 bills an instance by the second while it is running, 60 s at least for every start, and its public IPv4 address with
it; its disk is billed as long as it exists. EC2 shows the last start and the last stop. Earlier periods are in the tag
`BILLED`, which StartAll() writes. Where neither is enough, the result is a range. Data transfer is not counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from orchestrator.aws.ec2 import instances as ec2_instances
from orchestrator.aws.ec2.instances import Instance
from orchestrator.aws.ec2.past_use import PastUse
from orchestrator.aws.launch.launch_log import EndedInstance
from orchestrator.aws.pricing import price_table
from orchestrator.cluster.context import ClusterContext
from orchestrator.core import cost
from orchestrator.core.cost import Amount

LAUNCH_SLACK = timedelta(seconds=60)
"""LaunchTime and the attachment of the interface differ by less at a launch; by more after a later start."""

EXPIRY_SLACK = timedelta(minutes=5)
"""A timer counts whole minutes, and a shutdown takes some seconds."""

_NEVER_RAN = ("Server.InternalError", "Client.InternalError", "Client.VolumeLimitExceeded", "Client.InvalidSnapshot")
"""Reasons of an instance that terminated while it was pending, which EC2 does not bill."""


@dataclass(frozen=True)
class Span:
    """A number of seconds that may not be known exactly.

    :param longest_s: None without an upper bound.
    """

    shortest_s: float = 0.0
    longest_s: float | None = 0.0

    @classmethod
    def exactly(cls, seconds: float) -> Span:
        """Return a known number of seconds."""
        return cls(seconds, seconds)

    def __add__(self, other: Span) -> Span:
        longest_s = None if self.longest_s is None or other.longest_s is None else self.longest_s + other.longest_s
        return Span(self.shortest_s + other.shortest_s, longest_s)


@dataclass(frozen=True)
class Usage:
    """Billed time of one instance.

    :param running: the time that the instance is billed.
    :param existing: the time that its disk is billed.
    """

    running: Span
    existing: Span


class Meter:
    """Prices and costs of one cluster's instances.

    :param region: of the cluster; empty: that of the context.
    """

    def __init__(self, context: ClusterContext, region: str = "") -> None:
        self.context = context
        self.region = region

    # -- prices

    def usd_per_hour(self, instance: Instance) -> Decimal | None:
        """Return USD per hour of a running instance with disk and address; None when unknown. Makes no API call."""
        return cost.total([self.vm_usd_per_hour(instance), self.disk_usd_per_hour(instance), _address_usd(instance)])

    def billed_usd_per_hour(self, instance: Instance) -> Decimal | None:
        """Return USD per hour that EC2 bills for an instance in its state: without VM and address unless it is up.

        None when unknown. Makes no API call.
        """
        is_up = instance.state in ("pending", "running")
        return self.usd_per_hour(instance) if is_up else self.disk_usd_per_hour(instance)

    def vm_usd_per_hour(self, instance: Instance) -> Decimal | None:
        """Return USD per hour of a running instance alone, as `usd_per_hour`."""
        prices = self.context.prices
        on_demand = prices.per_hour(instance.type, self._region(instance))
        price = prices.spot_per_hour(instance.type, instance.zone) if instance.is_spot else on_demand
        return price.usd if price else None

    def disk_usd_per_hour(self, instance: Instance) -> Decimal | None:
        """Return USD per hour of an instance's disks, in any state; None when unknown. Makes no API call."""
        if instance.disk is None:
            return None
        region, disks = self._region(instance), (instance.disk, *instance.further_disks)
        prices = [self.context.prices.disk_per_hour(disk, region) for disk in disks]
        return cost.total(price.usd if price else None for price in prices)

    def address_usd_per_hour(self, instance: Instance) -> Decimal:
        """Return USD per hour of a running instance's public address; 0 without one."""
        return _address_usd(instance)

    def _region(self, instance: Instance) -> str:
        # TerminateAll() may find instances in other regions; what only the journal lists has no zone.
        region = self.region or self.context.cluster_id.region
        return region if not instance.zone or instance.zone.startswith(region) else instance.zone[:-1]

    # -- costs

    def costs(
        self, instances: Iterable[Instance], at: datetime, ends: Mapping[str, datetime] | None = None
    ) -> dict[str, Amount]:
        """Return the cost of each instance from its launch to a time, by id; a spot price counts as it is now.

        :param ends: other times, by id.
        """
        running_since, ends = self.context.launch_log.running_since(), ends or {}
        return {
            instance.id: self.cost_of(
                instance, usage(instance, ends.get(instance.id, at), running_since.get(instance.id))
            )
            for instance in instances
        }

    def cost_of(self, instance: Instance, used: Usage) -> Amount:
        """Return the cost of some usage, that of the instance which it replaced included."""
        vm_usd, disk_usd = self.vm_usd_per_hour(instance), self.disk_usd_per_hour(instance)
        if vm_usd is None or disk_usd is None:
            return cost.UNKNOWN
        address_usd = _address_usd(instance)
        lowest = Decimal(0) if instance.has_public_address is None else address_usd
        running = _amount(vm_usd + lowest, vm_usd + address_usd, used.running)
        return running + _amount(disk_usd, disk_usd, used.existing) + instance.replaced

    def until_expiry(
        self, instances: Iterable[Instance], now: datetime, expiries: Mapping[str, datetime | None]
    ) -> dict[str, Amount]:
        """Return the cost of running instances from their launch to their automatic shutdown, by id.

        :param expiries: time of the shutdown, by id; None if there is none, and no upper bound then.
        """
        ends = {key: max(now, expiry) for key, expiry in expiries.items() if expiry}
        # A pending instance will be running in a moment.
        costs = self.costs([replace(instance, state="running") for instance in instances], now, ends)
        return {key: amount if key in ends else replace(amount, at_most=None) for key, amount in costs.items()}

    def cost_of_ended(self, alive: Sequence[Instance], gone: Sequence[Instance], now: datetime) -> Amount:
        """Return the cost of instances that have ended, of the launches that some others belong to.

        :param gone: instances that EC2 still shows as terminated.
        """
        launch_ids, ids = {instance.launch_id for instance in alive}, {instance.id for instance in alive}
        recorded = self.context.launch_log.ended()
        unrecorded = [
            instance
            for instance in gone
            if instance.launch_id in launch_ids
            and instance.id not in recorded.keys() | ids
            # The cost of a replaced instance is in the tags of the one that replaced it.
            and not any(_replaces(other, instance) for other in (*alive, *gone))
        ]
        amounts = [ended.cost for key, ended in recorded.items() if ended.launch_id in launch_ids and key not in ids]
        return sum([*amounts, *self.costs(unrecorded, now).values()], Amount())

    def record_ended(self, costs: Mapping[str, Amount], instances: Iterable[Instance]) -> None:
        """Record in the journal what instances that were terminated have cost."""
        ended = {
            instance.id: EndedInstance(instance.launch_id, costs[instance.id])
            for instance in instances
            if instance.id in costs
        }
        if ended:
            self.context.launch_log.record_ended(ended)

    def past_use(self, stopped: Instance, now: datetime) -> PastUse:
        """Return the time billed for a stopped instance that is about to start."""
        used = usage(stopped, now, self.context.launch_log.running_since().get(stopped.id))
        return PastUse(
            seconds=round(used.running.shortest_s),
            created_at=_created_at(stopped),
            stopped_at=stopped.stopped_at or now,
            started_at=now,
            is_exact=used.running.shortest_s == used.running.longest_s,
        )


def usage(instance: Instance, at: datetime, running_since: datetime | None = None) -> Usage:
    """Return the billed time of an instance from its launch to a time.

    :param running_since: when it was last seen pending, as far as recorded; EC2 shows only when it was launched or
        started, which is some seconds earlier.
    """
    created_at = _created_at(instance)
    began = max(running_since or instance.launched_at, instance.launched_at)
    current = _current(instance, began, at)
    if _may_never_have_run(instance, running_since):
        current = Span(0.0, current.longest_s)  # EC2 bills nothing for an instance that ended while it was pending
    running = _past(instance, created_at) + current
    earliest, latest = (at, at) if instance.is_alive else _end(instance, at)
    # The disk exists as long as the instance, also while that is stopped.
    shortest_s = ((instance.ended_at or earliest) - created_at).total_seconds()
    return Usage(running, Span(max(0.0, shortest_s), max(0.0, (latest - created_at).total_seconds())))


def _created_at(instance: Instance) -> datetime:
    past = instance.past_use
    return instance.created_at or (past.created_at if past else instance.launched_at)


def _may_never_have_run(instance: Instance, running_since: datetime | None) -> bool:
    """Return True for an instance that may have ended while it was pending: EC2 shows the last change only."""
    was_seen_running = running_since is not None and running_since >= instance.launched_at
    has_run = (was_seen_running or instance.stopped_at) and not instance.reason.startswith(_NEVER_RAN)
    return instance.state in ec2_instances.TERMINATING and not has_run


def _replaces(instance: Instance, other: Instance) -> bool:
    """Return True if an instance, or one between them, replaced another one, whose cost it carries then."""
    is_same = (instance.name, instance.launch_id) == (other.name, other.launch_id)
    return is_same and bool(instance.replaced.at_most) and instance.launched_at > other.launched_at


def _past(instance: Instance, created_at: datetime) -> Span:
    """Return the time billed before the last start."""
    past = instance.past_use
    if past and (_counts_present_stop(instance, past) or past.precedes(instance.launched_at)):
        longest_s = past.seconds if past.is_exact else max(past.seconds, (past.stopped_at - created_at).total_seconds())
        return Span(past.seconds, longest_s)
    if instance.launched_at - created_at <= LAUNCH_SLACK:
        return Span()
    # Stopped and started outside Stratus, or by an earlier version of it.
    shortest_s = past.seconds if past else cost.MINIMUM_BILLED_S
    return Span(shortest_s, max(shortest_s, (instance.launched_at - created_at).total_seconds()))


def _counts_present_stop(instance: Instance, past: PastUse) -> bool:
    """Return True for a stopped instance whose tag counts its last period already: a start that EC2 refused."""
    stopped_at = instance.stopped_at
    return stopped_at is not None and abs((past.stopped_at - stopped_at).total_seconds()) < 1


def _current(instance: Instance, began: datetime, at: datetime) -> Span:
    """Return the time billed since the last start."""
    if instance.state == "pending" or (instance.past_use and _counts_present_stop(instance, instance.past_use)):
        return Span()
    if instance.state == "running":
        return Span.exactly(cost.billed_s(began, at))
    if instance.stopped_at:
        return Span.exactly(cost.billed_s(began, instance.stopped_at))
    earliest, latest = _end(instance, at)
    return Span(cost.billed_s(began, earliest), cost.billed_s(began, latest))


def _end(instance: Instance, at: datetime) -> tuple[datetime, datetime]:
    """Return the earliest and the latest time at which the last run of an instance may have ended."""
    # It may have been stopped before it was terminated; EC2 shows the last change only.
    latest = min(at, instance.ended_at or at)
    if instance.expires_at and not instance.is_alive:
        latest = min(latest, instance.expires_at + EXPIRY_SLACK)
    return min(instance.launched_at, latest), latest


def _address_usd(instance: Instance) -> Decimal:
    return Decimal(0) if instance.has_public_address is False else price_table.PUBLIC_ADDRESS_USD_PER_HOUR


def _amount(lowest: Decimal, highest: Decimal, span: Span) -> Amount:
    """Return the cost of a time at a price per hour between two bounds."""
    at_least = cost.cost_for(lowest, span.shortest_s) or Decimal(0)
    return Amount(at_least, None if span.longest_s is None else cost.cost_for(highest, span.longest_s))
