"""What a launch would do, where and at what price: looked up and checked before anything is made or billed."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

from orchestrator.aws import client
from orchestrator.aws.capacity.pools import ON_DEMAND, SPOT, Pool, order
from orchestrator.aws.ec2 import host_names, images, instance_types, network
from orchestrator.aws.ec2 import instances as ec2_instances
from orchestrator.aws.ec2.instances import Disk
from orchestrator.aws.launch import time_limits
from orchestrator.aws.pricing import price_table
from orchestrator.core.clock import REAL_TIME, Patience
from orchestrator.core.errors import UsageError

if TYPE_CHECKING:
    from orchestrator.aws.capacity.quotas import Limit
    from orchestrator.aws.ec2.images import Image
    from orchestrator.aws.ec2.instance_types import InstanceType
    from orchestrator.aws.ec2.network import Place, Subnet
    from orchestrator.aws.launch.launch_log import Ledger
    from orchestrator.config import settings


@dataclass(frozen=True)
class Plan:
    """A launch, ready to be carried out.

    :param mine: cluster, owner, account and region.
    :param run: id of the launch.
    :param names: of the machines, in the order of their launch indices.
    :param machine: what one machine has.
    :param place: VPC and subnets that can take the machines, the best first.
    :param subnet: the one that will be asked.
    :param user: login name.
    :param address: ``public``, ``private``, or ``auto``: as the subnet does it.
    :param living: names of the cluster's machines that already exist.
    :param pools: where machines will be asked for, one after another; the first is ``machine`` in ``subnet``.
    :param market: ``on-demand`` or ``spot``.
    :param allow_partial: whether fewer machines than ``names`` will do.
    :param max_dollars: that the launch may cost; 0 is no cap.
    :param idle_minutes: of nobody's use after which a machine ends itself; 0 is never.
    :param port: of the machines' SSH server.
    :param spot_price: of one machine on the spot market now; ``price`` is the most that it can become.
    :param limit: the quota that it counts against; None when that was not asked for.
    :param sources: networks that may reach the machines; empty when that was not found out.
    :param notes: what could not be checked, a line each.
    :param price: of one running machine; None when unknown.
    :param disk_price: of one disk; None when unknown.
    """

    mine: client.Mine
    run: str
    names: tuple[str, ...]
    machine: InstanceType
    image: Image
    place: Place
    subnet: Subnet
    disk: Disk
    max_hours: float
    user: str
    address: str = "auto"
    instance_profile: str = ""
    living: tuple[str, ...] = ()
    pools: tuple[Pool, ...] = ()
    market: str = ON_DEMAND
    allow_partial: bool = False
    price: price_table.Price | None = None
    disk_price: price_table.Price | None = None
    max_dollars: float = 0.0
    idle_minutes: int = 0
    port: int = 22
    spot_price: price_table.Price | None = None
    limit: Limit | None = None
    sources: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """How many machines."""
        return len(self.names)

    @property
    def cluster(self) -> str:
        """Name of the cluster."""
        return self.mine.cluster

    @property
    def owner(self) -> str:
        """Value of the owner tag."""
        return self.mine.owner

    @property
    def region(self) -> str:
        """Region, such as ``us-west-2``."""
        return self.mine.region

    @property
    def instance_type(self) -> str:
        """Instance type, such as ``c7i.2xlarge``."""
        return self.machine.name

    @property
    def vcpus(self) -> int:
        """Virtual CPUs of one machine."""
        return self.machine.vcpus

    @property
    def memory_gib(self) -> float:
        """Main memory of one machine, GiB."""
        return self.machine.memory_gib

    @property
    def gpus(self) -> int:
        """GPUs of one machine."""
        return self.machine.gpus

    @property
    def price_per_hour(self) -> Decimal | None:
        """USD per hour of one running machine without its disk; None when unknown."""
        return self.price.usd if self.price else None

    @property
    def disk_per_hour(self) -> Decimal | None:
        """USD per hour of one disk; None when unknown."""
        return self.disk_price.usd if self.disk_price else None

    @property
    def per_hour(self) -> Decimal | None:
        """USD per hour of all machines with their disks; None when any part is unknown."""
        if self.price_per_hour is None or self.disk_per_hour is None:
            return None
        return (self.price_per_hour + self.disk_per_hour) * self.count

    @property
    def at_most(self) -> Decimal | None:
        """USD that the launch costs if it is forgotten: until the machines end themselves; None when unknown.

        In the dearest of the pools that it may end up in.
        """
        mosts = [self.at(pool)._most for pool in self.pools] or [self._most]
        return None if None in mosts else max(most for most in mosts if most is not None)

    @property
    def _most(self) -> Decimal | None:
        if self.per_hour is None:
            return None
        booked = time_limits.BOOT_MINUTES / 60 if self.capped else 0.0
        return self.per_hour * Decimal(str(self.hours + booked))

    @property
    def limits(self) -> time_limits.Lifetime:
        """The limits that each machine keeps by itself.

        :raises UsageError: money is to be the limit, and the price is unknown or the cap too low.
        """
        what = f"{self.count} x {self.instance_type}"
        budget = time_limits.budget_minutes(self.max_dollars, self.per_hour, what=what)
        return time_limits.Lifetime(time_limits.minutes_of(self.max_hours), budget, self.idle_minutes, self.port)

    @property
    def capped(self) -> bool:
        """Whether ``max_dollars`` ends the machines before ``max_hours`` does."""
        limits = self.limits
        return 0 < limits.budget - time_limits.BOOT_MINUTES < limits.minutes

    @property
    def hours(self) -> float:
        """Hours after which the machines end themselves: ``max_hours``, or what ``max_dollars`` buys."""
        return (self.limits.budget - time_limits.BOOT_MINUTES) / 60 if self.capped else self.max_hours

    @property
    def least(self) -> int:
        """How many machines must come for any of them to stay."""
        return 1 if self.allow_partial else self.count

    def at(self, pool: Pool) -> Plan:
        """Return the same plan for another pool."""
        return replace(self, machine=pool.machine, subnet=pool.subnet, market=pool.market, price=pool.price)

    def rest(self, had: int) -> Plan:
        """Return a plan for the machines that are still wanted once some have come, with their share of the money.

        :param had: how many came.
        """
        left = self.names[had:]
        return replace(self, names=left, max_dollars=self.max_dollars * len(left) / self.count)

    def only(self, name: str, used_hours: float = 0.0) -> Plan:
        """Return a plan for one machine of this launch, in place of the one that had the name.

        :param used_hours: for which that one ran: they count against ``max_dollars`` as well as against ``max_hours``.
        """
        share = self.max_dollars / self.count
        if self.max_dollars and self.per_hour is not None:
            share = max(0.01, share - float(self.per_hour) / self.count * used_hours)
        return replace(self, names=(name,), max_dollars=share)


def plan(
    clients: client.Clients,
    settings: settings.Settings,
    *,
    count: int,
    identity: client.Identity,
    books: Ledger | None = None,
    book: price_table.Book = price_table.TABLE,
) -> Plan:
    """Look up and check everything that a launch needs; changes nothing.

    :param count: how many machines to add to the cluster.
    :param books: knows the machines of the last minutes, which EC2 may not show yet, and the time.
    :param book: where prices are looked up.
    :raises UsageError: something in the config does not exist or does not fit together.
    """
    mine = client.mine(clients, settings, identity)
    asks = questions(clients, settings, mine)
    *answers, _ = clients.together(*asks.values(), lambda: book.ask(*priced(settings)))
    return assemble(clients, settings, Found(mine, *answers), count=count, books=books, book=book)


@dataclass(frozen=True)
class Found:
    """What was looked up for a launch."""

    mine: client.Mine
    machine: InstanceType
    image: Image
    place: Place
    instances: list[ec2_instances.Instance]


def questions(clients: client.Clients, settings: settings.Settings, mine: client.Mine) -> dict[str, Callable[[], Any]]:
    """Return what has to be asked before a launch can be planned: independent of each other, `Found` in order."""
    wanted = settings.cluster
    architecture = instance_types.architecture(wanted.instance_type)
    return {
        "instance type": lambda: instance_types.find(clients, wanted.instance_type),
        "image": lambda: images.find(clients, wanted.image, architecture=architecture),
        "subnets": lambda: network.find(clients, settings.aws),
        "machines": lambda: ec2_instances.describe(clients, cluster=mine.cluster, owner=mine.owner),
    }


def priced(settings: settings.Settings) -> tuple[list[str], list[str]]:
    """Return the types and disks whose prices a plan needs."""
    return [settings.cluster.instance_type, *_sibling_names(settings)], [settings.disk.type]


def assemble(
    clients: client.Clients,
    settings: settings.Settings,
    found: Found,
    *,
    count: int,
    books: Ledger | None = None,
    book: price_table.Book = price_table.TABLE,
) -> Plan:
    """Make a plan of what was looked up; asks only about types that may stand in, and about an image guessed wrong.

    :raises UsageError: something does not fit together.
    """
    patience = books.patience if books else REAL_TIME
    mine, machine, instances = found.mine, found.machine, found.instances
    image = found.image if found.image.architecture in machine.architectures else _image(clients, settings, machine)
    living = [each for each in instances if each.alive]
    first = sorted({each.zone for each in living})
    fits = partial(found.place.within, count=count, first=first)
    place = _fitting(found.place, machine, count=count, first=first)
    disk = _disk(settings, image)
    pools = _pools(book, settings, [(machine, place), *_siblings(clients, settings, image, fits)])
    made = Plan(
        mine=mine, run=launch_id(patience),
        names=_names(mine.cluster, count, {each.name for each in instances} | (books.names() if books else set())),
        machine=machine, image=image, place=place, subnet=place.subnets[0], disk=disk,
        max_hours=settings.cluster.max_hours, user=_user(settings, image), address=settings.ssh.address,
        instance_profile=settings.aws.instance_profile, living=tuple(each.name for each in living),
        price=book.per_hour(machine.name, mine.region), disk_price=book.disk_per_hour(disk, mine.region),
        pools=tuple(pools), market=pools[0].market, allow_partial=settings.cluster.allow_partial,
        max_dollars=settings.cluster.max_dollars, idle_minutes=settings.cluster.idle_minutes, port=settings.ssh.port,
    )  # fmt: skip
    if made.market == SPOT:
        made = replace(made, spot_price=book.spot_per_hour(machine.name, pools[0].subnet.zone))
    made.limits  # noqa: B018 - a cap that cannot be kept is told before anything is launched
    return made


def launch_id(patience: Patience) -> str:
    """Return a new id that sorts by time: ``20261120-141207-3f9c``."""
    return f"{patience.now().astimezone(UTC):%Y%m%d-%H%M%S}-{patience.token()[:4]}"


def _image(clients: client.Clients, settings: settings.Settings, machine: InstanceType) -> Image:
    wanted = next((each for each in ("x86_64", "arm64") if each in machine.architectures), machine.architectures[0])
    image = images.find(clients, settings.cluster.image, architecture=wanted)
    if image.architecture not in machine.architectures:
        raise UsageError(
            f"image {settings.cluster.image} is built for {image.architecture}, {machine.name} is "
            + " or ".join(machine.architectures),
            fix="choose another [cluster] image or instance_type",
        )
    return image


def _fitting(place: Place, machine: InstanceType, *, count: int, first: Sequence[str]) -> Place:
    offered = place.within(machine.zones)
    if not offered.subnets:
        raise UsageError(
            f"{machine.name} is not offered in {', '.join(place.zones)}, where the subnets lie", code="Unsupported",
            fix=f"name an [aws] subnet_id in {', '.join(machine.zones)}, or another [cluster] instance_type",
        )  # fmt: skip
    fitting = offered.within(machine.zones, count=count, first=first)
    if not fitting.subnets:
        most = max(subnet.free for subnet in offered.subnets)
        raise UsageError(
            f"no subnet has {count} addresses left; the emptiest has {most}", code="InsufficientFreeAddressesInSubnet",
            fix="launch fewer machines, or name a larger [aws] subnet_id",
        )  # fmt: skip
    return fitting


def _siblings(
    clients: client.Clients, settings: settings.Settings, image: Image, fits: Callable[[Collection[str]], Place]
) -> list[tuple[InstanceType, Place]]:
    """Return the other types that will do, each with the subnets that can take it.

    :param fits: returns the subnets for machines of a type that is offered in some zones.
    :raises UsageError: there is no such type, or it cannot boot the image.
    """
    found: list[tuple[InstanceType, Place]] = []
    for name in _sibling_names(settings):
        machine = instance_types.find(clients, name)
        if image.architecture not in machine.architectures:
            raise UsageError(
                f"{name} cannot boot image {settings.cluster.image}, which is built for {image.architecture}",
                fix="leave it out of [cluster] siblings",
            )
        found.append((machine, fits(machine.zones)))
    return found


def _sibling_names(settings: settings.Settings) -> list[str]:
    return settings.cluster.siblings.replace(",", " ").split()


def _pools(
    book: price_table.Book, settings: settings.Settings, machines: Sequence[tuple[InstanceType, Place]]
) -> list[Pool]:
    """Return where machines will be asked for: the best pool first, and on demand only if the settings say so."""
    wanted = settings.cluster
    buy = [SPOT, *([ON_DEMAND] if wanted.spot_fallback else [])] if wanted.market == SPOT else [ON_DEMAND]
    pools = order([(machine, place.subnets) for machine, place in machines], buy)
    priced = {machine.name: book.per_hour(machine.name, settings.aws.region) for machine, _ in machines}
    found = [replace(pool, price=priced[pool.machine.name]) for pool in pools]
    # A cap in dollars cannot be kept by a machine of unknown price; the first one's is checked with words of its own.
    return [pool for pool in found if pool.price or not wanted.max_dollars or pool.machine is machines[0][0]]


def _names(cluster: str, count: int, taken: Collection[str]) -> tuple[str, ...]:
    """Return names for new machines; one that is still shutting down keeps its name until it is gone."""
    new = host_names.fresh(cluster, count, taken=taken)
    try:
        host_names.pack(new)
    except ValueError as error:
        raise UsageError(str(error), fix="launch fewer machines at once, or terminate the cluster first") from error
    return new


def _disk(settings: settings.Settings, image: Image) -> Disk:
    wanted = settings.disk
    if wanted.type in ("io1", "io2") and not wanted.iops:
        raise UsageError(f"[disk] type = {wanted.type} needs iops", fix="set [disk] iops, or type = gp3")
    size = max(wanted.size, math.ceil(image.size_gib))  # EC2 refuses a disk smaller than the image's snapshot
    return Disk(wanted.type, size, wanted.iops, wanted.throughput, wanted.encrypted)


def _user(settings: settings.Settings, image: Image) -> str:
    user = settings.ssh.user or image.user
    if not user:
        raise UsageError(
            f"nothing tells the login name of image {image.id} ({image.name})",
            fix="set [ssh] user in the config: often ubuntu, ec2-user or admin",
        )
    return user
