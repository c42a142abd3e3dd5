"""Text and JSON documents of cost, time limits, quotas and access."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from orchestrator.aws.capacity.offerings import Offering, Requirements
from orchestrator.aws.capacity.quotas import Quota, QuotaIncrease, QuotaUsage
from orchestrator.aws.ingress.access import PortRange
from orchestrator.aws.sagemaker.quotas import SageMakerQuota, SageMakerQuotaIncrease
from orchestrator.cluster.lifetime import ExtendedHost, ExtendReport, IdleShutdownReport
from orchestrator.core.next_step import NextStep
from orchestrator.interface.render import units
from orchestrator.interface.render.billed import managed
from orchestrator.interface.render.registry import Document, Lines, document, lines, rows
from orchestrator.interface.render.styles import failures, line
from orchestrator.interface.render.units import columns
from orchestrator.services.account import AccessReport, Cost


@lines.register(Cost)
def _(cost: Cost, now: datetime) -> Lines:
    if cost.is_empty:
        last = f" The VMs terminated last cost {units.amount(cost.last_spent)}." if cost.last_spent else ""
        return [f"  No VM of this cluster is running or stopped: nothing is billed.{last}"]
    now_row = ["now", units.rate(cost.usd_per_hour)]
    table = [now_row, *_instances(cost, now)] if cost.has_instances else [now_row]
    besides = managed.listed(cost.managed, now)
    if besides and cost.has_instances:
        besides = ["  Besides VMs, whose cost is what was spent so far and at most:", *besides]
    return [*columns(table), *besides, "  Data transfer is not included."]


def _instances(cost: Cost, now: datetime) -> list[list[str]]:
    end = f", shuts down automatically {units.ends(cost.expires_at, now)}" if cost.expires_at else ""
    end += f", or after {cost.idle_minutes} min without use" if cost.idle_minutes else ""
    # Stopped VMs have no timer, so that there is no upper bound on the cost of their disks.
    disks = f", and {units.rate(cost.stopped_usd_per_hour)} for disks of stopped VMs until they are terminated"
    return [
        ["so far", units.amount(cost.spent)],
        ["at most", units.usd(cost.max_cost_usd) + end + (disks if cost.stopped_usd_per_hour else "")],
    ]


@lines.register(ExtendReport)
def _(report: ExtendReport, now: datetime) -> Lines:
    table = columns([[host.name, f"shuts down {units.ends(host.expires_at, now)}"] for host in report.hosts])
    table += failures(report.failed)
    # The budget of a launch is enforced by the VMs' own timers, so a later end needs a new budget.
    if any(host.is_budget_limited for host in report.hosts):
        table.append("  Earlier than requested: the budget of their launch allows no more.")
        table.append("    Raise [cluster] max_dollars in the config, then extend again.")
    return [*table, f"  Maximum total cost: {units.usd(report.max_cost_usd)}."]


@lines.register(IdleShutdownReport)
def _(report: IdleShutdownReport, _now: datetime) -> Lines:
    return [*failures(report.failed), f"  {_idle(report)}"]


def _idle(report: IdleShutdownReport) -> str:
    if not report.hosts:
        return "No VM was changed."
    names = " ".join(report.hosts)
    if not report.minutes:
        return f"Idle shutdown is off for {names}."
    verb = "shuts" if len(report.hosts) == 1 else "shut"
    return f"{names}  {verb} down after {report.minutes} min without job, SSH session or GPU use."


@lines.register(QuotaIncrease)
def _(increase: QuotaIncrease, _now: datetime) -> Lines:
    usage = increase.usage
    # The quota itself is a permission of its own, and may be refused.
    have = f"{usage.needed:,} vCPU needed, quota {usage.limit:,}" if usage.limit is not None else "quota unknown"
    have += f" ({usage.in_use:,} in use)" if usage.in_use else ""
    if increase.status == "not needed":
        return [f"  No request needed: {have} ({usage.quota})."]
    wanted = f"{increase.requested_limit:,} vCPU ({usage.quota})"
    if increase.is_existing:
        return [f"  Already requested: {wanted}, {increase.status}."]
    return [f"  Requested {wanted}: {have}.  {increase.status}, usually a working day."]


@lines.register(SageMakerQuotaIncrease)
def _(increase: SageMakerQuotaIncrease, _now: datetime) -> Lines:
    quota = increase.quota
    have = f"quota {quota.limit:,}" if quota.limit is not None else "quota unknown"
    if increase.status == "not needed":
        return [f"  No request needed: {quota.needed:,} needed, {have} ({quota.name})."]
    wanted = f"{increase.requested_limit:,} ({quota.name}, {quota.code})"
    if increase.is_existing:
        return [f"  Already requested: {wanted}, {increase.status}."]
    return [f"  Requested {wanted}: {quota.needed:,} needed, {have}.  {increase.status}, usually a working day."]


@rows.register(Offering)
def _(_first: Offering, offers: Sequence[Offering], _now: datetime) -> Lines:
    return instance_types(offers)


def instance_types(offers: Sequence[Offering]) -> Lines:
    """Return instance types that can be launched, one a line."""
    if not offers:
        more = NextStep("RequestLimitIncrease")
        return [line("  No matching type can be launched: the quota is used up.  ", more, " requests more.")]
    table = columns([_offer(offer) for offer in offers])
    return [*table, "  [cluster] instance_type in the config file selects one."]


def no_such_type(requirements: Requirements) -> Lines:
    """Return that no instance type of the region, whatever the quota, meets some requirements."""
    less = NextStep("InstanceTypes", gpus=1) if requirements.gpus else NextStep("InstanceTypes")
    others = " lists other types." if requirements.family else " lists types with less."
    return [line(f"  No instance type in this region {requirements}.  ", less, others)]


def no_such_price(requirements: Requirements) -> Lines:
    """Return that no instance type that can be launched is known to cost so little."""
    price = units.unit_price(requirements.max_usd_per_hour)
    return [f"  No matching type that the quota allows is known to cost at most {price}: raise max_price."]


def _offer(offer: Offering) -> Sequence[str]:
    gpu = f"{offer.gpu} {offer.gpu_memory_gib:.0f} GiB" if offer.gpu_memory_gib else offer.gpu
    gpus = f"{offer.gpus} x {gpu}" if offer.gpus else ""
    # As above: launching may be allowed although the quota cannot be read.
    room = "quota unknown" if offer.launchable is None else f"{offer.launchable:,} at a time"
    price = units.unit_price(offer.usd_per_hour)
    spot = f"spot {units.unit_price(offer.spot_usd_per_hour)}" if offer.spot_usd_per_hour is not None else ""
    hardware = [offer.type, f"{offer.vcpus} vCPU", f"{offer.memory_gib:g} GiB", *([gpus] if gpus else [])]
    return [*hardware, price, spot, room]


@lines.register(AccessReport)
def _(report: AccessReport, _now: datetime) -> Lines:
    now = ", ".join(source.removesuffix("/32") for source in report.sources)
    before = ", ".join(source.removesuffix("/32") for source in report.previous_sources) or "none"
    ports = ", ".join(f"{item.first}-{item.last} from {item.network.removesuffix('/32')}" for item in report.open_ports)
    return [
        f"  SSH allowed from {now} ({'unchanged' if report.sources == report.previous_sources else f'was: {before}'}).",
        *([f"  Ports open: {ports}."] if ports else []),
    ]


@document.register(Cost)
def _(cost: Cost) -> Document:
    return {
        "usd_per_hour": document(cost.usd_per_hour),
        "usd_spent": document(cost.spent_usd),
        "usd_at_most": document(cost.max_cost_usd),
        "expires": document(cost.expires_at),
        "usd_per_hour_stopped": document(cost.stopped_usd_per_hour),
        "usd_spent_range": document(cost.spent),
        "idle_minutes": cost.idle_minutes,
        "managed": document(cost.managed),
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


@document.register(SageMakerQuotaIncrease)
def _(request: SageMakerQuotaIncrease) -> Document:
    return {
        "limit": document(request.quota),
        "wanted": request.requested_limit,
        "status": request.status,
        "open": request.is_existing,
    }


@document.register(SageMakerQuota)
def _(quota: SageMakerQuota) -> Document:
    return {
        "quota": {"code": quota.code, "name": quota.name},
        "needed": quota.needed,
        "limit": quota.limit,
        "in_use": quota.in_use,
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
        "gpu_memory_gib": offer.gpu_memory_gib,
        "usd_per_hour_spot": document(offer.spot_usd_per_hour),
        "network": offer.network,
        "zones": document(offer.zones),
    }


@document.register(AccessReport)
def _(report: AccessReport) -> Document:
    return {
        "before": document(report.previous_sources),
        "now": document(report.sources),
        "port": report.port,
        "open_ports": document(report.open_ports),
    }


@document.register(PortRange)
def _(ports: PortRange) -> Document:
    return {"first": ports.first, "last": ports.last, "from": ports.network}
