"""Text and JSON documents of baked images."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from orchestrator.aws.machines import baked_images
from orchestrator.core.next_step import NextStep
from orchestrator.interface.render import units
from orchestrator.interface.render.registry import Document, Lines, document, lines
from orchestrator.interface.render.styles import Styled, line
from orchestrator.interface.render.units import columns, duration
from orchestrator.services.machines.baked_images import (
    STALE,
    BakePlan,
    BakeReport,
    ImageDeletion,
    ImageDeletions,
    ImageList,
    ListedImage,
)


def plan(plan: BakePlan) -> Lines:
    """Return what an image will hold and cost."""
    text = f"  Image of {plan.host.name}: {plan.contents.job} installed on {plan.contents.base_name}, "
    price = line(text, f"disk {plan.size_gib} GiB; ", _price(plan.max_usd_per_month))
    return [price, *([line("  ", Styled(plan.warning, "bad"))] if plan.warning else [])]


def _price(usd: Decimal | None) -> str:
    """Return a price per month: by what is written on the disk, which is at most all of it."""
    return "price unknown" if usd is None else f"at most {units.usd(usd)} a month"


@lines.register(BakeReport)
def _(report: BakeReport, _now: datetime) -> Lines:
    text = f"  {report.id} of {report.host}: {report.job} installed; {_price(report.max_usd_per_month)}."
    if report.state != baked_images.AVAILABLE:
        return [text, line("  AWS still copies the disk. ", NextStep("Images"), " shows when it is available.")]
    return [
        f"{text}  {duration(report.seconds)}",
        line("  The next launch uses it. ", NextStep("Images"), " lists all; they cost until they are deleted."),
    ]


@document.register(BakeReport)
def _(report: BakeReport) -> Document:
    return {
        "image": report.id,
        "name": report.name,
        "host": report.host,
        "job": report.job,
        "state": report.state,
        "size_gib": report.size_gib,
        "max_usd_per_month": document(report.max_usd_per_month),
        "seconds": report.seconds,
    }


@lines.register(ImageList)
def _(listed: ImageList, now: datetime) -> Lines:
    if not listed.images:
        return [line("  No baked images. ", NextStep("BakeImage"), " makes one of an installed VM.")]
    table = columns([_row(item, now) for item in listed.images])
    total = sum((item.max_usd_per_month or Decimal(0) for item in listed.images), Decimal(0))
    summary = f"  {units.count(len(listed.images), 'image')}, {_price(total)}."
    if any(item.use == STALE for item in listed.images):
        return [*table, line(summary, "  ", NextStep("DeleteImages", stale=True), " deletes the stale ones.")]
    return [*table, summary]


def _row(image: ListedImage, now: datetime) -> list[str]:
    age = f"{duration((now - image.created_at).total_seconds())} old" if image.created_at else ""
    facts = [image.job, image.base_name, f"{image.size_gib} GiB", _price(image.max_usd_per_month), age]
    return [image.id, *facts, image.state if image.state != baked_images.AVAILABLE else image.use]


@document.register(ImageList)
def _(listed: ImageList) -> Document:
    return {"images": [document(image) for image in listed.images]}


@document.register(ListedImage)
def _(image: ListedImage) -> Document:
    return {
        "image": image.id,
        "name": image.name,
        "state": image.state,
        "use": image.use,
        "job": image.job,
        "base": image.base_id,
        "size_gib": image.size_gib,
        "max_usd_per_month": document(image.max_usd_per_month),
        "created_at": document(image.created_at),
        "snapshots": list(image.snapshot_ids),
    }


@lines.register(ImageDeletions)
def _(report: ImageDeletions, _now: datetime) -> Lines:
    gone = [item.id for item in report.deletions if not item.error]
    return [f"  {units.count(len(gone), 'image')} deleted, with the snapshots.  {' '.join(gone)}".rstrip()]


@document.register(ImageDeletions)
def _(report: ImageDeletions) -> Document:
    return {"images": [document(item) for item in report.deletions]}


@document.register(ImageDeletion)
def _(item: ImageDeletion) -> Document:
    return {"image": item.id, "error": item.error}
