"""Placement group and security group rule of tightly coupled VMs, made before a launch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.aws.machines import coupling, placement_groups
from orchestrator.aws.managed.placement_groups import PlacementGroups
from orchestrator.core.errors import StratusError, first_line
from orchestrator.core.events import Event

if TYPE_CHECKING:
    from orchestrator.aws.launch.plan import LaunchPlan
    from orchestrator.cluster.context import ClusterContext


def ensure(context: ClusterContext, plan: LaunchPlan) -> str:
    """Return the name of the placement group that a launch needs, made unless it exists; empty if it needs none."""
    if not plan.is_clustered:
        return ""
    return placement_groups.ensure(context.clients, plan.cluster_id, journal=context.journal)


def ensure_rules(context: ClusterContext, plan: LaunchPlan, group_id: str) -> None:
    """Allow the traffic of EFA in the cluster's own security group, if a launch needs that."""
    if plan.has_efa and not context.settings.aws.security_group_id:
        coupling.ensure_egress(context.clients, group_id)


def delete_unused(context: ClusterContext) -> None:
    """Delete the placement group of a launch that was rolled back; an error is only reported."""
    was_created = any(entry.kind == placement_groups.JOURNAL_KIND for entry in context.journal.entries())
    if not was_created:
        return
    groups = PlacementGroups(context.clients, lambda: context.cluster_id)
    try:
        for group in groups.find():
            groups.end(group.name)
    except StratusError as error:
        context.on_event(Event("", "request", "warning", text=first_line(error)))
