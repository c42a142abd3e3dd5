"""Text and JSON documents of transfers to and from S3, and of the role with which VMs use it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from orchestrator.aws.ec2.instance_roles import InstanceRoleDocuments
from orchestrator.aws.storage.unfinished import UnfinishedUpload
from orchestrator.core.errors import StratusError
from orchestrator.core.next_step import NextStep, Text, as_message
from orchestrator.hosts.transfer import HostTransfer
from orchestrator.install.sending import HostTransfers
from orchestrator.interface.render import units
from orchestrator.interface.render.registry import Document, Lines, document, lines
from orchestrator.interface.render.styles import Styled, failures, line
from orchestrator.services.instance_roles import InstanceRoleEnd, InstanceRolePlan
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
    return [*(f"  not received: {text}" for text in report.left_out), _transfer(report)]


def _transfer(report: HostTransfer) -> str:
    size, seconds = units.size(report.total_bytes), units.duration(report.seconds)
    here = f", {units.size(report.here_bytes)} of it were here" if report.here_bytes else ""
    return f"  {report.host}: {report.source} -> {report.target}, {size} in {seconds}{here}"


@document.register(HostTransfer)
def _(report: HostTransfer) -> Document:
    return {
        "host": report.host,
        "source": report.source,
        "target": report.target,
        "bytes": report.total_bytes,
        "bytes_here": report.here_bytes,
        "seconds": round(report.seconds, 3),
        "left_out": document(report.left_out),
    }


@lines.register(HostTransfers)
def _(report: HostTransfers, _now: datetime) -> Lines:
    # What was left out was a warning before anything was sent.
    return [*map(_transfer, report.transfers), *failures(report.failed)]


@document.register(HostTransfers)
def _(report: HostTransfers) -> Document:
    transfers = [document(transfer) for transfer in report.transfers]
    return {"source": report.source, "hosts": transfers, "failed": document(report.failed)}


@lines.register(InstanceRolePlan)
def _(plan: InstanceRolePlan, _now: datetime) -> Lines:
    heading = line(_heading("Role"), f"{plan.name}  ({_state(plan)})")
    if plan.role is None:
        return [heading]
    places = [line(_heading("May"), text) for text in _places(plan)]
    return [heading, line(_heading("Trust"), "EC2 alone"), *places, *_setting(plan)]


def _places(plan: InstanceRolePlan) -> Iterator[str]:
    yield from (f"read {url}" for url in plan.reads)
    yield from (f"read, write and delete what is below {url}/" for url in plan.writes)


def _state(plan: InstanceRolePlan) -> str:
    if plan.role is None:
        return "named in [aws] instance_profile, never changed"
    if plan.is_current:
        return "is there, with these permissions"
    return "its permissions change" if plan.arn else "new"


def _setting(plan: InstanceRolePlan) -> Lines:
    if not plan.is_current or plan.is_set or plan.ends:
        return []
    return [
        f"  Next: write  instance_profile = {plan.name}  under [aws] in the config file; VMs launched then have it."
    ]


def _heading(word: str) -> Styled:
    return Styled(f"  {word:<6} ", "heading")


@document.register(InstanceRolePlan)
def _(plan: InstanceRolePlan) -> Document:
    return {
        "name": plan.name,
        "arn": plan.arn,
        "current": plan.is_current,
        "set": plan.is_set,
        "reads": list(plan.reads),
        "writes": list(plan.writes),
        "role": document(plan.role),
    }


@document.register(InstanceRoleDocuments)
def _(role: InstanceRoleDocuments) -> Document:
    return {"name": role.name, "trust": role.trust, "permissions": role.permissions}


@lines.register(InstanceRoleEnd)
def _(end: InstanceRoleEnd, _now: datetime) -> Lines:
    setting = ["  Remove instance_profile from the config file: a launch would be refused."] if end.is_set else []
    return [f"  {end.name} deleted, with its instance profile. VMs that have it may use S3 no more.", *setting]


@document.register(InstanceRoleEnd)
def _(end: InstanceRoleEnd) -> Document:
    return {"name": end.name, "set": end.is_set}
