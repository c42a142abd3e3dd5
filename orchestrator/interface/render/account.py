"""Records on time, money, quotas and access as text; pure, as :mod:`orchestrator.interface.render.cluster` is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from orchestrator.aws.capacity.offerings import Offering
from orchestrator.aws.capacity.quotas import Quota, QuotaIncrease, QuotaUsage
from orchestrator.cluster.lifetime import ExtendedHost, ExtendReport, IdleShutdownReport
from orchestrator.interface.render import units
from orchestrator.interface.render.failures import failures
from orchestrator.interface.render.registry import Document, document
from orchestrator.interface.render.units import columns
from orchestrator.services.account import AccessReport, Cost

Lines = list[str]

LISTED = 20
"""Of somebody else's machines, no more are named than these."""


def cost(cost: Cost, now: datetime) -> Lines:
    """Show what the cluster costs now, has cost, and can cost at most."""
    rows = [
        ["now", units.rate(cost.usd_per_hour)],
        ["so far", units.usd(cost.spent_usd)],
        [
            "at most",
            units.usd(cost.max_cost_usd) + (f", ends {units.ends(cost.expires_at, now)}" if cost.expires_at else ""),
        ],
    ]
    return columns(rows)


def extended(report: ExtendReport, now: datetime) -> Lines:
    """Show when each VM ends itself from now on, and what they can cost at most."""
    lines = columns([[host.name, f"ends {units.ends(host.expires_at, now)}"] for host in report.hosts])
    lines += failures(report.failed)
    if any(host.is_budget_limited for host in report.hosts):
        lines.append("  That is earlier than asked: the cap of their launch buys no more.")
        lines.append("    Raise [cluster] max_dollars in the config, then Extend() again.")
    return [*lines, f"  At most {units.usd(report.max_cost_usd)} from their start to their end."]


def idle(report: IdleShutdownReport) -> Lines:
    """Say after how long VMs that nobody uses end themselves."""
    who = " ".join(report.hosts) or "no VM"
    what = f"after {report.minutes} min without job, SSH session or GPU use" if report.minutes else "not for being idle"
    return [*failures(report.failed), f"  {who}  {'ends' if len(report.hosts) == 1 else 'end'} {what}."]


def requested(made: QuotaIncrease) -> Lines:
    """Say what AWS was asked for, or why it was not."""
    limit = made.usage
    have = f"{limit.needed:,} vCPU needed, limit {limit.limit:,}" if limit.limit is not None else "limit unknown"
    have += f" ({limit.in_use:,} in use)" if limit.in_use else ""
    if made.status == "not needed":
        return [f"  Nothing to ask for: {have} ({limit.quota})."]
    if made.is_existing:
        return [f"  AWS was asked already: {made.requested_limit:,} vCPU ({limit.quota}), {made.status}."]
    return [
        f"  AWS is asked for {made.requested_limit:,} vCPU ({limit.quota}): {have}.  "
        f"{made.status}, usually a working day."
    ]


def offers(found: Sequence[Offering]) -> Lines:
    """Show instance types that can be launched, one a line."""
    if not found:
        return ["  No type that fits can be launched: the quota has no room.  RequestLimitIncrease() asks for more."]
    lines = columns([_offer(each) for each in found])
    return [*lines, "  [cluster] instance_type in the config file chooses one."]


def _offer(each: Offering) -> Sequence[str]:
    gpus = f"{each.gpus} x {each.gpu}" if each.gpus else ""
    room = "quota unknown" if each.launchable is None else f"{each.launchable:,} at a time"
    price = units.unit_price(each.usd_per_hour)
    return [each.type, f"{each.vcpus} vCPU", f"{each.memory_gib:g} GiB", *([gpus] if gpus else []), price, room]


def access(report: AccessReport) -> Lines:
    """Say who may reach the machines now."""
    now = ", ".join(each.removesuffix("/32") for each in report.sources)
    before = ", ".join(each.removesuffix("/32") for each in report.previous_sources) or "nobody"
    if report.sources == report.previous_sources:
        return [f"  ssh is admitted from {now}, as it was."]
    return [f"  ssh is admitted from {now} (was: {before})."]


_SHOWS: dict[str, Callable[..., Lines]] = {
    "Cost": cost,
    "ExtendReport": extended,
    "IdleShutdownReport": idle,
    "Request": requested,
    "AccessReport": access,
}
_TIMELY = ("Cost", "ExtendReport")


def knows(kind: str) -> bool:
    """Tell whether a kind of record is shown here."""
    return kind in _SHOWS


def of(record: object, now: datetime) -> Lines:
    """Return a record as its verb shows it."""
    kind = type(record).__name__
    return _SHOWS[kind](record, now) if kind in _TIMELY else _SHOWS[kind](record)


def not_ours(foreign: Sequence[str]) -> Lines:
    """Say which machines in a cluster of this name are another owner's; nothing when there are none."""
    listed = ", ".join(foreign[:LISTED]) + (f" and {len(foreign) - LISTED} more" if len(foreign) > LISTED else "")
    return [f"  Not yours, never touched: {listed}."] if foreign else []


@document.register(Cost)
def _(cost: Cost) -> Document:
    return {
        "usd_per_hour": document(cost.usd_per_hour),
        "usd_spent": document(cost.spent_usd),
        "usd_at_most": document(cost.max_cost_usd),
        "expires": document(cost.expires_at),
    }


@document.register(ExtendReport)
def _(report: ExtendReport) -> Document:
    return {
        "hosts": document(report.hosts),
        "failed": document(report.failed),
        "usd_at_most": document(report.max_cost_usd),
        "max_dollars": report.max_dollars,
    }


@document.register(ExtendedHost)
def _(host: ExtendedHost) -> Document:
    return {
        "name": host.name,
        "before": document(host.previous_expiry),
        "expires": document(host.expires_at),
        "capped": host.is_budget_limited,
    }


@document.register(IdleShutdownReport)
def _(report: IdleShutdownReport) -> Document:
    return {
        "minutes": report.minutes,
        "hosts": document(report.hosts),
        "failed": document(report.failed),
    }


@document.register(QuotaIncrease)
def _(request: QuotaIncrease) -> Document:
    return {
        "limit": document(request.usage),
        "wanted": request.requested_limit,
        "status": request.status,
        "open": request.is_existing,
    }


@document.register(QuotaUsage)
def _(quota: QuotaUsage) -> Document:
    return {
        "quota": document(quota.quota),
        "needed": quota.needed,
        "limit": quota.limit,
        "in_use": quota.in_use,
    }


@document.register(Quota)
def _(quota: Quota) -> Document:
    return {
        "code": quota.code,
        "families": quota.families,
        "market": quota.market,
    }


@document.register(Offering)
def _(offer: Offering) -> Document:
    return {
        "type": offer.type,
        "vcpus": offer.vcpus,
        "memory_gib": offer.memory_gib,
        "gpus": offer.gpus,
        "gpu": offer.gpu,
        "usd_per_hour_each": document(offer.usd_per_hour),
        "room": offer.launchable,
    }


@document.register(AccessReport)
def _(report: AccessReport) -> Document:
    return {
        "before": document(report.previous_sources),
        "now": document(report.sources),
        "port": report.port,
    }
