"""Lookups and checks that turn settings into a launch plan, before anything is created or billed."""

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
from orchestrator.aws.disks import file_systems, volumes
from orchestrator.aws.disks.file_systems import PlannedFileSystem
from orchestrator.aws.disks.volumes import NO_VOLUMES, ExistingVolumes, PlannedVolume
from orchestrator.aws.ec2 import host_names, images, instance_types, network
from orchestrator.aws.ec2 import instances as ec2_instances
from orchestrator.aws.ec2.instances import Disk
from orchestrator.aws.ec2.ownership import Ownership
from orchestrator.aws.launch.plan import LaunchPlan
from orchestrator.aws.launch.price_ceiling import PriceCeiling
from orchestrator.aws.machines import baked_images, coupling
from orchestrator.aws.machines.placement_groups import CLUSTER
from orchestrator.core import cost
from orchestrator.core.clock import Clock
from orchestrator.core.errors import UsageError

if TYPE_CHECKING:
    from decimal import Decimal

    from orchestrator.aws.ec2.images import Image
    from orchestrator.aws.ec2.instance_types import InstanceType
    from orchestrator.aws.ec2.network import Placement
    from orchestrator.aws.launch.launch_log import LaunchLog
    from orchestrator.aws.machines.baked_images import BakedImage
    from orchestrator.aws.machines.reservations import Reservation
    from orchestrator.aws.pricing.price_table import Price, Prices
    from orchestrator.config import settings
    from orchestrator.config.disks.volumes import Volume


@dataclass(frozen=True)
class BakedChoice:
    """Baked images of the cluster, and the install that a launch is for.

    :param digest: of the install; empty if it is unknown.
    """

    images: tuple[BakedImage, ...] = ()
    digest: str = ""


@dataclass(frozen=True)
class LookupResults:
    """Results of the lookups for a plan."""

    cluster_id: aws_identity.ClusterId
    type_info: InstanceType
    image: Image
    placement: Placement
    instances: list[ec2_instances.Instance]
    volumes: ExistingVolumes = NO_VOLUMES
    file_systems: tuple[PlannedFileSystem, ...] = ()
    baked: BakedChoice = BakedChoice()
    reservation: Reservation | None = None


def lookups(clients: client.Clients, settings: settings.Settings, ownership: Ownership) -> dict[str, Callable[[], Any]]:
    """Return the independent lookups that a plan needs, by name, in the order of the fields of `LookupResults`."""
    cluster = settings.cluster
    # Guessed from the name, so that the image need not wait for the instance type.
    architecture = instance_types.guess_architecture(cluster.instance_type)
    return {
        "instance type": lambda: instance_types.find(clients, cluster.instance_type),
        "image": lambda: images.find(clients, cluster.image, architecture=architecture),
        "subnets": lambda: network.find(clients, settings.aws),
        "VMs": lambda: ec2_instances.describe(clients, ownership),
        "volumes": lambda: volumes.find_existing(clients, settings.volumes, ownership.cluster_id),
        "file systems": lambda: file_systems.plan(clients, settings.file_systems, ownership.cluster_id),
    }


def priced_types(settings: settings.Settings) -> tuple[list[str], list[str]]:
    """Return the instance types and disk types whose prices a plan needs."""
    disk_types = {settings.disk.type, *(volume.type for volume in settings.volumes if not volume.is_local)}
    return [settings.cluster.instance_type, *_fallback_types(settings)], sorted(disk_types)


def build_plan(
    clients: client.Clients,
    settings: settings.Settings,
    results: LookupResults,
    *,
    count: int,
    launch_log: LaunchLog | None,
    prices: Prices,
) -> LaunchPlan:
    """Return the plan of a launch.

    Makes API calls only for fallback types, and for an image whose architecture was guessed wrong.

    :param results: of :func:`lookups`.
    :param count: number of instances to add to the cluster.
    :param launch_log: knows names of instances that EC2 may not show yet; None for none.
    :raises UsageError: settings do not fit together, or name something that does not exist.
    """
    cluster_id, type_info = results.cluster_id, results.type_info
    image = _bootable_image(clients, settings, results)
    image = baked_images.choose(results.baked.images, results.baked.digest, image)
    existing = [instance for instance in results.instances if instance.is_alive]
    zones = sorted({instance.zone for instance in existing})
    planned_volumes = volumes.plan(
        settings.volumes,
        results.volumes,
        count=count,
        taken=[image.root_device, *image.further_disks],
        encrypted=settings.disk.encrypted,
    )
    candidates = _beside_volumes(results.placement, planned_volumes, results.volumes)
    candidates = coupling.in_one_zone(settings.vms, candidates, zones, [instance.name for instance in existing])
    placement = _placement(candidates, type_info, count=count, preferred_zones=zones)
    place = partial(candidates.within, count=count, preferred_zones=zones)
    choices = [(type_info, placement), *_fallbacks(clients, settings, image, place)]
    local_disks = next((volume for volume in settings.volumes if volume.is_local), None)
    _check_local_disks(local_disks, [candidate for candidate, _ in choices])
    coupling.check_types(clients, settings.vms, [candidate for candidate, _ in choices])
    ceiling = PriceCeiling.of(settings.vms)
    pools, warnings = ceiling.apply(_pools(prices, settings, choices), prices.spot_per_hour)
    if reservation := results.reservation:
        now = clients.clock.now()
        reservation.check(type_info.name, count, now, wait_hours=settings.vms.reservation_wait_hours)
        pools = _reserved(pools, reservation)
        warnings = (*warnings, *reservation.warnings(now, settings.cluster.max_hours))
    # The first type may be above: the plan is of what is launched first.
    type_info = pools[0].type_info
    # A name stays taken while its instance shuts down: two hosts of one name would share host keys.
    taken = {instance.name for instance in results.instances} | (launch_log.reserved_names() if launch_log else set())
    disk = _disk(settings, image)
    plan = LaunchPlan(
        cluster_id=cluster_id,
        launch_id=new_launch_id(clients.clock),
        names=_names(cluster_id.cluster, count, taken),
        type_info=type_info,
        image=image,
        placement=placement,
        subnet=pools[0].subnet,
        disk=disk,
        max_hours=settings.cluster.max_hours,
        user=_user(settings, image),
        address_type=settings.ssh.address,
        instance_profile=settings.aws.instance_profile,
        existing_names=tuple(instance.name for instance in existing),
        other_key_names=_with_another_key(existing, cluster_id),
        stopped_names=tuple(instance.name for instance in existing if instance.state in ("stopping", "stopped")),
        price=pools[0].price,
        volumes=tuple(
            replace(item, usd_per_hour=_disk_usd(prices, item.disk, cluster_id.region)) for item in planned_volumes
        ),
        local_disks=local_disks,
        file_systems=results.file_systems,
        is_clustered=settings.vms.placement == CLUSTER,
        has_efa=settings.vms.efa,
        pools=tuple(pools),
        market=pools[0].market,
        max_spot_price=ceiling.spot_limit,
        reservation=results.reservation,
        warnings=warnings,
        allow_partial=settings.cluster.allow_partial,
        max_dollars=settings.cluster.max_dollars,
        idle_minutes=settings.cluster.idle_minutes,
        ssh_port=settings.ssh.port,
    )
    plan = replace(plan, disk_price=_disk_price(prices, [disk, *plan.further_disks], cluster_id.region))
    if left_over := volumes.left_over(planned_volumes, results.volumes, count):
        plan = replace(plan, warnings=(*plan.warnings, left_over))
    if plan.market == SPOT:
        plan = replace(plan, spot_price=prices.spot_per_hour(type_info.name, pools[0].subnet.zone))
    plan.time_limits  # noqa: B018 - raises for a budget that cannot be enforced, before anything is launched
    return plan


def _check_local_disks(setting: Volume | None, candidates: Sequence[InstanceType]) -> None:
    """Check that every type has the local disks that a setting mounts.

    :raises UsageError: one has none; its VMs would be launched, and could not be used.
    """
    without = [candidate.name for candidate in candidates if not candidate.local_disk_gb]
    if setting and without:
        raise UsageError(
            f"[volumes] {setting.name} mounts local disks, and {without[0]} has none",
            fix="choose a type with NVMe disks (m6id, c6id, g5, g6, i4i ...), or remove the line from [volumes]",
        )


def _beside_volumes(placement: Placement, planned: Sequence[PlannedVolume], existing: ExistingVolumes) -> Placement:
    """Return the placement without the zones in which existing volumes cannot be attached."""
    zone = volumes.zone_of(planned, existing)
    if not zone:
        return placement
    within = placement.within([zone])
    if not within.subnets:
        ids = ", ".join(volume_id for item in planned for volume_id in item.ids)
        raise UsageError(
            f"{ids} is in {zone}, where no subnet is",
            fix=f"set an [aws] subnet_id in {zone}, or name a snapshot of it in [volumes]",
        )
    return within


def _with_another_key(
    existing: Sequence[ec2_instances.Instance], cluster_id: aws_identity.ClusterId
) -> tuple[str, ...]:
    """Return the names of instances with the key pair of an earlier session of the same owner, under another ARN."""
    return tuple(
        instance.name
        for instance in existing
        if instance.key_name != cluster_id.resource_name and cluster_id.is_resource_name(instance.key_name)
    )


def new_launch_id(clock: Clock) -> str:
    """Return a new id that sorts by time: ``20261120-141207-3f9c``."""
    return f"{clock.now().astimezone(UTC):%Y%m%d-%H%M%S}-{clock.new_id()[:4]}"


def _bootable_image(clients: client.Clients, settings: settings.Settings, results: LookupResults) -> Image:
    """Return the image in an architecture of the instance type; another lookup if the guess was wrong."""
    name, architectures = results.type_info.name, results.type_info.architectures
    if results.image.architecture in architectures:
        return results.image
    architecture = next((known for known in ("x86_64", "arm64") if known in architectures), architectures[0])
    image = images.find(clients, settings.cluster.image, architecture=architecture)
    if image.architecture not in architectures:
        raise UsageError(
            f"image {settings.cluster.image} is built for {image.architecture}, {name} is {' or '.join(architectures)}",
            fix="choose another [cluster] image or instance_type",
        )
    return image


def _placement(
    placement: Placement, type_info: InstanceType, *, count: int, preferred_zones: Sequence[str]
) -> Placement:
    """Return the subnets that can take all instances of a launch.

    :raises UsageError: none offers the type, or none has enough addresses.
    """
    offered = placement.within(type_info.zones)
    if not offered.subnets:
        raise UsageError(
            f"{type_info.name} is not offered in {', '.join(placement.zones)}, the zones of the subnets",
            code="Unsupported",
            fix=f"set an [aws] subnet_id in {', '.join(type_info.zones)}, or another [cluster] instance_type",
        )
    matches = offered.within(type_info.zones, count=count, preferred_zones=preferred_zones)
    if not matches.subnets:
        most = max(subnet.free_addresses for subnet in offered.subnets)
        raise UsageError(
            f"no subnet has {count} free IP addresses; the largest number is {most}",
            code="InsufficientFreeAddressesInSubnet",
            fix="launch fewer VMs, or set a larger [aws] subnet_id",
        )
    return matches


def _fallbacks(
    clients: client.Clients, settings: settings.Settings, image: Image, place: Callable[[Collection[str]], Placement]
) -> list[tuple[InstanceType, Placement]]:
    """Return the fallback instance types, each with the subnets that can take it.

    :param place: returns the subnets for instances of a type that is offered in some zones.
    :raises UsageError: there is no such type, or it cannot boot the image.
    """
    fallbacks: list[tuple[InstanceType, Placement]] = []
    for name in _fallback_types(settings):
        type_info = instance_types.find(clients, name)
        if image.architecture not in type_info.architectures:
            raise UsageError(
                f"{name} cannot boot image {settings.cluster.image}, which is built for {image.architecture}",
                fix="remove it from [cluster] fallback_instance_types",
            )
        fallbacks.append((type_info, place(type_info.zones)))
    return fallbacks


def _fallback_types(settings: settings.Settings) -> list[str]:
    return settings.cluster.fallback_instance_types.replace(",", " ").split()


def _pools(
    prices: Prices, settings: settings.Settings, candidates: Sequence[tuple[InstanceType, Placement]]
) -> list[Pool]:
    """Return the capacity pools to try, in order; after a spot market, on demand only if the settings allow it."""
    cluster = settings.cluster
    markets = [ON_DEMAND]
    if cluster.market == SPOT:
        markets = [SPOT, ON_DEMAND] if cluster.spot_fallback else [SPOT]
    # Another subnet before another type: a job is tuned to its type.
    pools = ranked([(type_info, placement.subnets) for type_info, placement in candidates], markets)
    price = {type_info.name: prices.per_hour(type_info.name, settings.aws.region) for type_info, _ in candidates}
    priced = [replace(pool, price=price[pool.type_info.name]) for pool in pools]
    # A budget cannot be enforced for a type of unknown price. The first type stays: the plan reports the problem.
    return [pool for pool in priced if pool.price or not cluster.max_dollars or pool.type_info is candidates[0][0]]


def _reserved(pools: Sequence[Pool], reservation: Reservation) -> list[Pool]:
    """Return the pools of a capacity reservation: a launch never falls back from it by itself.

    :raises UsageError: no subnet is in its zone.
    """
    zone = reservation.zone
    inside = [pool for pool in pools if (pool.type_info.name, pool.subnet.zone) == (reservation.type, zone)]
    if not inside:
        raise UsageError(
            f"capacity reservation {reservation.id} is in {zone}, where no subnet can take the VMs",
            fix=f"set an [aws] subnet_id in {zone}",
        )
    return inside


def _names(cluster: str, count: int, taken: Collection[str]) -> tuple[str, ...]:
    names = host_names.next_names(cluster, count, taken=taken)
    try:
        host_names.compress(names)
    except ValueError as error:
        raise UsageError(str(error), fix="launch fewer VMs at once, or terminate the cluster first") from error
    return names


def _disk(settings: settings.Settings, image: Image) -> Disk:
    disk = settings.disk
    if disk.type in ("io1", "io2") and not disk.iops:
        raise UsageError(f"[disk] type = {disk.type} needs iops", fix="set [disk] iops, or type = gp3")
    size = max(disk.size, math.ceil(image.size_gib))  # EC2 refuses a disk smaller than the snapshot of the image
    return Disk(disk.type, size, disk.iops, disk.throughput, disk.encrypted)


def _disk_price(prices: Prices, disks: Sequence[Disk], region: str) -> Price | None:
    """Return the price per hour of all disks of one instance; None if that of any is unknown."""
    parts = [prices.disk_per_hour(disk, region) for disk in disks]
    usd = cost.total(price.usd if price else None for price in parts)
    return replace(parts[0], usd=usd) if parts[0] and usd is not None else None


def _disk_usd(prices: Prices, disk: Disk, region: str) -> Decimal | None:
    price = prices.disk_per_hour(disk, region)
    return price.usd if price else None


def _user(settings: settings.Settings, image: Image) -> str:
    user = settings.ssh.user or image.user
    if not user:
        raise UsageError(
            f"the login name of image {image.id} ({image.name}) is unknown",
            fix="set [ssh] user in the config: often ubuntu, ec2-user or admin",
        )
    return user
