"""Text and JSON documents of transfers to and from S3."""

from __future__ import annotations

from datetime import UTC, datetime

from orchestrator.aws.storage.unfinished import UnfinishedUpload
from orchestrator.core.errors import StratusError
from orchestrator.core.next_step import NextStep, Text, as_message
from orchestrator.hosts.transfer import HostTransfer
from orchestrator.interface.render import units
from orchestrator.interface.render.registry import Document, Lines, document, lines
from orchestrator.services.storage import (
    AbortReport,
    DataListing,
    ListedObject,
    TransferReport,
)

FAILURES_SHOWN = 20


@lines.register(TransferReport)
def _(report: TransferReport, _now: datetime) -> Lines:
    failed = list(report.failed.items())
    more = [f"  and {len(failed) - FAILURES_SHOWN} more"] if len(failed) > FAILURES_SHOWN else []
    rate = f", {units.size(int(report.sent_bytes / report.seconds))}/s" if report.sent_bytes and report.seconds else ""
    unchanged = f", {report.unchanged} unchanged" if report.unchanged else ""
    size = f"{units.size(report.sent_bytes)} of {units.size(report.total_bytes)}"
    summary = (
        f"  {report.source} -> {report.target}: {units.count(report.files, 'file')}{unchanged}, {size} in "
        f"{units.duration(report.seconds)}{rate}"
    )
    return [*(_failure(name, error) for name, error in failed[:FAILURES_SHOWN]), *more, summary]


def _failure(name: str, error: Exception) -> Text:
    text = error.lines()[0] if isinstance(error, StratusError) else str(error)
    return f"  {name}: " + as_message(text)


@document.register(TransferReport)
def _(report: TransferReport) -> Document:
    return {
        "source": report.source,
        "target": report.target,
        "files": report.files,
        "unchanged": report.unchanged,
        "bytes": report.total_bytes,
        "bytes_sent": report.sent_bytes,
        "seconds": round(report.seconds, 3),
        "failed": document(report.failed),
    }


@lines.register(DataListing)
def _(listing: DataListing, _now: datetime) -> Lines:
    rows = [[folder, "", ""] for folder in listing.folders]
    rows += [[item.name, units.size(item.size), f"{_time(item):%Y-%m-%d %H:%M}"] for item in listing.objects]
    more = ["  only the first 1,000 are shown: name a folder"] if listing.is_truncated else []
    total = units.size(sum(item.size for item in listing.objects))
    summary = f"  {listing.url}: {units.count(len(listing.objects), 'object')}, {total}"
    return [*units.columns(rows), *more, summary, *_unfinished(listing)]


def _time(item: ListedObject) -> datetime:
    return datetime.fromtimestamp(item.modified_s, UTC)


def _unfinished(listing: DataListing) -> list[Text]:
    uploads: list[Text] = [f"  not complete, and billed: {upload.url}" for upload in listing.unfinished]
    return [*uploads, "  " + NextStep("AbortUploads", listing.url) + "  drops them"] if uploads else []


@document.register(DataListing)
def _(listing: DataListing) -> Document:
    return {
        "url": listing.url,
        "folders": document(listing.folders),
        "objects": document(listing.objects),
        "truncated": listing.is_truncated,
        "unfinished": document(listing.unfinished),
    }


@document.register(ListedObject)
def _(item: ListedObject) -> Document:
    return {"name": item.name, "bytes": item.size, "modified": document(_time(item))}


@document.register(UnfinishedUpload)
def _(upload: UnfinishedUpload) -> Document:
    return {"url": upload.url, "id": upload.upload_id}


@lines.register(AbortReport)
def _(report: AbortReport, _now: datetime) -> Lines:
    count = units.count(len(report.aborted), "upload")
    return [*(f"  aborted: {upload.url}" for upload in report.aborted), f"  {count} aborted"]


@document.register(AbortReport)
def _(report: AbortReport) -> Document:
    return {"aborted": document(report.aborted)}


@lines.register(HostTransfer)
def _(report: HostTransfer, _now: datetime) -> Lines:
    left_out = [f"  not received: {text}" for text in report.left_out]
    size, seconds = units.size(report.total_bytes), units.duration(report.seconds)
    return [*left_out, f"  {report.host}: {report.source} -> {report.target}, {size} in {seconds}"]


@document.register(HostTransfer)
def _(report: HostTransfer) -> Document:
    return {
        "host": report.host,
        "source": report.source,
        "target": report.target,
        "bytes": report.total_bytes,
        "seconds": round(report.seconds, 3),
        "left_out": document(report.left_out),
    }
