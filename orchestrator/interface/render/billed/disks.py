"""Text of a launch plan on volumes and shared file systems: what is made, its price, and what becomes of it."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.aws.disks.file_systems import PlannedFileSystem
from orchestrator.aws.disks.mounts import EFS, LUSTRE
from orchestrator.aws.disks.volumes import PlannedVolume
from orchestrator.aws.launch.plan import LaunchPlan
from orchestrator.aws.pricing import price_table
from orchestrator.core.next_step import NextStep, Text
from orchestrator.interface.render import units

KINDS = {EFS: "EFS", LUSTRE: "Lustre"}


def volumes(plan: LaunchPlan) -> Iterator[Text]:
    """Yield a line for each disk of an instance besides its root disk."""
    for item in plan.volumes:
        place = f"{item.volume.name}: {item.disk.size} GiB {item.disk.type} at {item.volume.mount_point} on each VM"
        yield place + _fate(item)
    if plan.local_disks:
        yield f"{plan.local_disks.name}: the VM's own NVMe disks at {plan.local_disks.mount_point}; empty after a stop"


def _fate(item: PlannedVolume) -> Text:
    price = units.month_price(item.usd_per_hour)
    if item.volume.id:
        return f"; {item.volume.id}, which exists and is never deleted"
    if item.ids:
        return f"; kept before, attached again: {', '.join(item.ids)}"
    if item.volume.keep:
        end = NextStep("TerminateAll", kept=True)
        return f", kept when that ends: {price} each, on top, until " + end
    return f", deleted with it ({price} each, in the price above)"


def file_systems(plan: LaunchPlan) -> Iterator[Text]:
    """Yield a line for each shared file system."""
    for item in plan.file_systems:
        yield f"{item.settings.name}: {_shared(item)} at {item.settings.mount_point}{_state(item, plan)}"


def _shared(item: PlannedFileSystem) -> str:
    size = f" {item.settings.size} GiB" if item.settings.size else ""
    identifier = f" {item.existing.id}" if item.existing else ""
    return f"{KINDS[item.settings.kind]}{size}{identifier}"


def _state(item: PlannedFileSystem, plan: LaunchPlan) -> str:
    settings = item.settings
    if settings.id:
        return f", exists, never deleted; {_cross_zone('VMs in a zone without its mount target')}"
    after = "kept when the cluster ends" if settings.keep else "deleted with the cluster"
    verb = "there already" if item.existing else "made now"
    zone = f"; {_cross_zone(f'VMs outside {plan.subnet.zone}')}" if settings.kind == LUSTRE else ""
    return f", {verb}, {after}: {_price(item)}{zone}"


def _price(item: PlannedFileSystem) -> str:
    month = units.usd(item.usd_per_month)
    if item.settings.kind == EFS:
        read, written = price_table.EFS_USD_PER_GB_READ, price_table.EFS_USD_PER_GB_WRITTEN
        return f"{month} per GiB and month, ${read} per GB read, ${written} per GB written"
    return f"{month} a month"


def _cross_zone(whose: str) -> str:
    return f"{whose} pay ${price_table.CROSS_ZONE_USD_PER_GB} per GB in each direction"
