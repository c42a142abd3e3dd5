"""Meter of one cloud: the cost of every instance, as EC2 bills it.

An instance is billed by the second while it is running, 60 s at least for every start; so is its public IPv4 address. A
volume is billed from its creation to its deletion, whatever its instance does. Reboots change nothing.
https://aws.amazon.com/ec2/pricing/on-demand/, https://aws.amazon.com/ebs/pricing/, https://aws.amazon.com/vpc/pricing/
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from localcloud.aws import prices
from localcloud.aws.quotas import market_of
from localcloud.ec2.capacity import spot_price
from localcloud.ec2.environment import CloudEnvironment
from localcloud.scenarios.targets import Subject

if TYPE_CHECKING:
    from moto.ec2.models.instances import Instance

    from localcloud.ec2.lifecycle import TrackedInstance

MINIMUM_S = 60.0
_HOURS_PER_MONTH = 730


@dataclass
class Period:
    """One period that is billed by the second; times are the cloud's clock.

    :param usd_per_hour: None if the price is unknown.
    :param end: None while it lasts.
    """

    usd_per_hour: Decimal | None
    begin: float
    end: float | None = None

    def cost(self, now: float) -> Decimal | None:
        """Return its cost until now, USD."""
        seconds = max(MINIMUM_S, (now if self.end is None else self.end) - self.begin)
        return None if self.usd_per_hour is None else self.usd_per_hour * Decimal(str(seconds)) / 3600


@dataclass
class Account:
    """Everything that is billed for one instance.

    :param tags: those that it was launched with.
    :param runs: periods in which it was running, its public address included.
    :param volumes: volume id -> the time that it exists.
    """

    tags: Mapping[str, str]
    runs: list[Period] = field(default_factory=list)
    volumes: dict[str, Period] = field(default_factory=dict)

    def cost(self, now: float) -> Decimal | None:
        """Return the cost until now, USD; None if a price is unknown."""
        costs = [period.cost(now) for period in (*self.runs, *self.volumes.values())]
        return None if None in costs else sum((cost for cost in costs if cost is not None), Decimal(0))


class Meter:
    """Bills all instances of one cloud; called at every change of an instance's state."""

    def __init__(self, environment: CloudEnvironment) -> None:
        self._environment = environment
        self._accounts: dict[str, Account] = {}

    def observe(self, tracked: TrackedInstance) -> None:
        """Record the present state of an instance."""
        instance, now = tracked.instance, self._environment.clock.now()
        if instance.id not in self._accounts:
            self._accounts[instance.id] = self._open_account(instance, now)
        account = self._accounts[instance.id]
        current = next((period for period in account.runs if period.end is None), None)
        if instance.state == "running" and current is None:
            account.runs.append(Period(self._usd_per_hour(instance), now))
        elif instance.state != "running" and current is not None:
            current.end = now
        for volume_id, period in account.volumes.items():
            if period.end is None and volume_id not in instance.ec2_backend.volumes:
                period.end = now

    def cost(self, tag: str = "", value: str = "") -> Decimal | None:
        """Return the cost in USD of all instances so far, terminated ones included; None if a price is unknown.

        :param tag: only of instances with this tag; empty for all.
        :param value: of the tag.
        """
        now = self._environment.clock.now()
        wanted = [account for account in self._accounts.values() if not tag or account.tags.get(tag) == value]
        costs = [account.cost(now) for account in wanted]
        return None if None in costs else sum((cost for cost in costs if cost is not None), Decimal(0))

    def usd_per_hour(self, instance_id: str) -> Decimal | None:
        """Return the price per hour of an instance's last run, without its volumes."""
        return self._accounts[instance_id].runs[-1].usd_per_hour

    def _open_account(self, instance: Instance, now: float) -> Account:
        tags = dict(instance.ec2_backend.tags.get(instance.id, {}))
        volumes = [instance.ec2_backend.get_volume(block.volume_id) for _, block in instance.get_block_device_mapping]
        return Account(tags, volumes={volume.id: Period(_volume_usd_per_hour(volume), now) for volume in volumes})

    def _usd_per_hour(self, instance: Instance) -> Decimal | None:
        usd: float | None = prices.USD_PER_HOUR.get(instance.instance_type)
        if market_of(instance) == "spot":
            zone = str(instance.placement.zone)
            pool = Subject(instance.region_name, zone, str(instance.subnet_id), instance.instance_type, "spot")
            usd = spot_price(self._environment.fault_engine, pool)
        if usd is None:
            return None
        addresses = sum(bool(interface.public_ip) for interface in instance.nics.values())
        return Decimal(str(usd)) + addresses * Decimal(str(prices.PUBLIC_ADDRESS_PER_HOUR))


def _volume_usd_per_hour(volume: Any) -> Decimal | None:
    per_gb = prices.DISKS_PER_GB_MONTH.get(volume.volume_type)
    if per_gb is None:
        return None
    per_iops = prices.IOPS_MONTH.get(volume.volume_type, 0.0)
    size, iops = Decimal(volume.size), Decimal(volume.iops or 0)
    return (Decimal(str(per_gb)) * size + Decimal(str(per_iops)) * iops) / _HOURS_PER_MONTH
