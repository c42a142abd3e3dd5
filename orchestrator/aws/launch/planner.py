"""What a launch would do, where and at what price: looked up and checked before anything is made or billed."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC
from functools import partial
from typing import TYPE_CHECKING, Any

from orchestrator.aws import client
from orchestrator.aws import identity as aws_identity
from orchestrator.aws.capacity.pools import ON_DEMAND, SPOT, Pool, ranked
from orchestrator.aws.ec2 import host_names, images, instance_types, network
from orchestrator.aws.ec2 import instances as ec2_instances
from orchestrator.aws.ec2.instances import Disk
from orchestrator.aws.launch.plan import LaunchPlan
from orchestrator.aws.pricing import price_table
from orchestrator.core.clock import Clock
from orchestrator.core.errors import UsageError

if TYPE_CHECKING:
    from orchestrator.aws.ec2.images import Image
    from orchestrator.aws.ec2.instance_types import InstanceType
    from orchestrator.aws.ec2.network import Placement
    from orchestrator.aws.launch.launch_log import LaunchLog
    from orchestrator.config import settings


def plan(
    clients: client.Clients,
    settings: settings.Settings,
    *,
    count: int,
    identity: aws_identity.Identity,
    launch_log: LaunchLog | None = None,
    prices: price_table.Prices = price_table.TABLE,
) -> LaunchPlan:
    """Look up and check everything that a launch needs; changes nothing.

    :param count: how many machines to add to the cluster.
    :param books: knows the machines of the last minutes, which EC2 may not show yet, and the time.
    :param book: where prices are looked up.
    :raises UsageError: something in the config does not exist or does not fit together.
    """
    mine = aws_identity.cluster_id(clients, settings, identity)
    asks = lookups(clients, settings, mine)
    *answers, _ = clients.in_parallel(*asks.values(), lambda: prices.refresh(*priced_types(settings)))
    return build_plan(
        clients, settings, LookupResults(mine, *answers), count=count, launch_log=launch_log, prices=prices
    )


@dataclass(frozen=True)
class LookupResults:
    """What was looked up for a launch."""

    cluster_id: aws_identity.ClusterId
    type_info: InstanceType
    image: Image
    placement: Placement
    instances: list[ec2_instances.Instance]


def lookups(
    clients: client.Clients, settings: settings.Settings, cluster_id: aws_identity.ClusterId
) -> dict[str, Callable[[], Any]]:
    """Return what has to be asked before a launch can be planned: independent of each other, `Found` in order."""
    wanted = settings.cluster
    architecture = instance_types.guess_architecture(wanted.instance_type)
    return {
        "instance type": lambda: instance_types.find(clients, wanted.instance_type),
        "image": lambda: images.find(clients, wanted.image, architecture=architecture),
        "subnets": lambda: network.find(clients, settings.aws),
        "machines": lambda: ec2_instances.describe(clients, cluster=cluster_id.cluster, owner=cluster_id.owner),
    }


def priced_types(settings: settings.Settings) -> tuple[list[str], list[str]]:
    """Return the types and disks whose prices a plan needs."""
    return [settings.cluster.instance_type, *_sibling_names(settings)], [settings.disk.type]


def build_plan(
    clients: client.Clients,
    settings: settings.Settings,
    found: LookupResults,
    *,
    count: int,
    launch_log: LaunchLog | None = None,
    prices: price_table.Prices = price_table.TABLE,
) -> LaunchPlan:
    """Make a plan of what was looked up; asks only about types that may stand in, and about an image guessed wrong.

    :raises UsageError: something does not fit together.
    """
    mine, machine, instances = found.cluster_id, found.type_info, found.instances
    image = found.image if found.image.architecture in machine.architectures else _image(clients, settings, machine)
    living = [each for each in instances if each.is_alive]
    first = sorted({each.zone for each in living})
    fits = partial(found.placement.within, count=count, preferred_zones=first)
    place = _fitting(found.placement, machine, count=count, first=first)
    disk = _disk(settings, image)
    pools = _pools(prices, settings, [(machine, place), *_siblings(clients, settings, image, fits)])
    made = LaunchPlan(
        cluster_id=mine,
        launch_id=new_launch_id(clients.clock),
        names=_names(
            mine.cluster,
            count,
            {each.name for each in instances} | (launch_log.reserved_names() if launch_log else set()),
        ),
        type_info=machine,
        image=image,
        placement=place,
        subnet=place.subnets[0],
        disk=disk,
        max_hours=settings.cluster.max_hours,
        user=_user(settings, image),
        address_type=settings.ssh.address,
        instance_profile=settings.aws.instance_profile,
        existing_names=tuple(each.name for each in living),
        price=prices.per_hour(machine.name, mine.region),
        disk_price=prices.disk_per_hour(disk, mine.region),
        pools=tuple(pools),
        market=pools[0].market,
        allow_partial=settings.cluster.allow_partial,
        max_dollars=settings.cluster.max_dollars,
        idle_minutes=settings.cluster.idle_minutes,
        ssh_port=settings.ssh.port,
    )
    if made.market == SPOT:
        made = replace(made, spot_price=prices.spot_per_hour(machine.name, pools[0].subnet.zone))
    made.time_limits  # noqa: B018 - a cap that cannot be kept is told before anything is launched
    return made


def new_launch_id(clock: Clock) -> str:
    """Return a new id that sorts by time: ``20261120-141207-3f9c``."""
    return f"{clock.now().astimezone(UTC):%Y%m%d-%H%M%S}-{clock.new_id()[:4]}"


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


def _fitting(place: Placement, machine: InstanceType, *, count: int, first: Sequence[str]) -> Placement:
    offered = place.within(machine.zones)
    if not offered.subnets:
        raise UsageError(
            f"{machine.name} is not offered in {', '.join(place.zones)}, where the subnets lie",
            code="Unsupported",
            fix=f"name an [aws] subnet_id in {', '.join(machine.zones)}, or another [cluster] instance_type",
        )
    fitting = offered.within(machine.zones, count=count, preferred_zones=first)
    if not fitting.subnets:
        most = max(subnet.free_addresses for subnet in offered.subnets)
        raise UsageError(
            f"no subnet has {count} addresses left; the emptiest has {most}",
            code="InsufficientFreeAddressesInSubnet",
            fix="launch fewer machines, or name a larger [aws] subnet_id",
        )
    return fitting


def _siblings(
    clients: client.Clients, settings: settings.Settings, image: Image, fits: Callable[[Collection[str]], Placement]
) -> list[tuple[InstanceType, Placement]]:
    """Return the other types that will do, each with the subnets that can take it.

    :param fits: returns the subnets for machines of a type that is offered in some zones.
    :raises UsageError: there is no such type, or it cannot boot the image.
    """
    found: list[tuple[InstanceType, Placement]] = []
    for name in _sibling_names(settings):
        machine = instance_types.find(clients, name)
        if image.architecture not in machine.architectures:
            raise UsageError(
                f"{name} cannot boot image {settings.cluster.image}, which is built for {image.architecture}",
                fix="leave it out of [cluster] fallback_instance_types",
            )
        found.append((machine, fits(machine.zones)))
    return found


def _sibling_names(settings: settings.Settings) -> list[str]:
    return settings.cluster.fallback_instance_types.replace(",", " ").split()


def _pools(
    book: price_table.Prices, settings: settings.Settings, machines: Sequence[tuple[InstanceType, Placement]]
) -> list[Pool]:
    """Return where machines will be asked for: the best pool first, and on demand only if the settings say so."""
    wanted = settings.cluster
    buy = [SPOT, *([ON_DEMAND] if wanted.spot_fallback else [])] if wanted.market == SPOT else [ON_DEMAND]
    pools = ranked([(machine, place.subnets) for machine, place in machines], buy)
    priced = {machine.name: book.per_hour(machine.name, settings.aws.region) for machine, _ in machines}
    found = [replace(pool, price=priced[pool.type_info.name]) for pool in pools]
    # A cap in dollars cannot be kept by a machine of unknown price; the first one's is checked with words of its own.
    return [pool for pool in found if pool.price or not wanted.max_dollars or pool.type_info is machines[0][0]]


def _names(cluster: str, count: int, taken: Collection[str]) -> tuple[str, ...]:
    """Return names for new machines; one that is still shutting down keeps its name until it is gone."""
    new = host_names.next_names(cluster, count, taken=taken)
    try:
        host_names.compress(new)
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
