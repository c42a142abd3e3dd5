"""Settings that help after a launch without capacity; another type, market or placement is the user's choice."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from orchestrator.aws import parallel
from orchestrator.aws.capacity import pools
from orchestrator.aws.launch import alternatives
from orchestrator.core.errors import CloudRefused
from orchestrator.core.next_step import NextStep, Text, join

if TYPE_CHECKING:
    from decimal import Decimal

    from orchestrator.aws.capacity.offerings import Offering
    from orchestrator.aws.launch.plan import LaunchPlan
    from orchestrator.cluster.context import ClusterContext

ALTERNATIVES_TIMEOUT_S = 8.0
"""For the lookup of other types: advice that the user waits for."""


def with_alternatives(context: ClusterContext, error: CloudRefused, plan: LaunchPlan) -> CloudRefused:
    """Return a capacity error with settings that would help."""
    fixes = [*_placement_fix(plan), *_on_demand_fix(context, plan), *_other_types_fix(context, plan), error.fix]
    return CloudRefused(error.message, where=error.where, code=error.code, fix=join("\n  or ", fixes))


def _placement_fix(plan: LaunchPlan) -> list[Text]:
    if not plan.is_clustered:
        return []
    apart = "without [vms] placement = cluster   any zone with room will do, and any place there"
    # https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/placement-strategies.html
    together = NextStep("TerminateAll") + "  then launch all VMs at once: AWS looks for room for all of them together"
    return [apart, *([together] if plan.existing_names else [])]


def _on_demand_fix(context: ClusterContext, plan: LaunchPlan) -> list[Text]:
    wanted = context.settings.cluster
    if wanted.market != pools.SPOT or wanted.spot_fallback:
        return []
    return [f"[cluster] spot_fallback = yes   launches them on demand{_prices([plan.usd_per_hour_each])}"]


def _other_types_fix(context: ClusterContext, plan: LaunchPlan) -> list[Text]:
    if context.settings.cluster.fallback_instance_types or not (offerings := _other_types(context, plan)):
        return []
    names = ", ".join(offering.type for offering in offerings)
    prices = _prices([offering.usd_per_hour for offering in offerings])
    return [f"[cluster] fallback_instance_types = {names}   tries these as well{prices}"]


def _other_types(context: ClusterContext, plan: LaunchPlan) -> list[Offering]:
    """Return types similar to the plan's, those with a known price if there are any."""
    calls = {"types": partial(alternatives.find, context.clients, context.prices, plan)}
    offerings = parallel.gather(context.clients, calls, timeout_s=ALTERNATIVES_TIMEOUT_S)["types"].value or []
    return [offering for offering in offerings if offering.usd_per_hour is not None] or offerings


def _prices(usd_per_hour: Sequence[Decimal | None]) -> str:
    return f" ({', '.join(f'${usd:.3f}/h' for usd in usd_per_hour if usd is not None)})" if any(usd_per_hour) else ""
