"""Shared file systems of a launch, made before its instances; disks of a launch that is rolled back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.aws.disks import file_systems, files_group, volumes
from orchestrator.aws.disks.mounts import Mount
from orchestrator.core.errors import StratusError, first_line
from orchestrator.core.events import Event

if TYPE_CHECKING:
    from orchestrator.aws.launch.plan import LaunchPlan
    from orchestrator.cluster.context import ClusterContext


def ensure(context: ClusterContext, plan: LaunchPlan) -> tuple[str, tuple[Mount, ...]]:
    """Make the shared file systems that a launch needs, unless they exist.

    :returns: the id of the group that they admit, empty without one, and their mounts.
    :raises StratusError: AWS refused.
    """
    _record_volumes(context, plan)
    if not plan.file_systems:
        return "", ()
    vpc_id, group_id = plan.placement.vpc_id, ""
    # Existing file systems have security groups of their own, which are never changed.
    if any(not item.settings.id for item in plan.file_systems):
        group_id = files_group.ensure(context.clients, plan.cluster_id, vpc_id, journal=context.journal)
    mounts = []
    for item in plan.file_systems:
        record = item.existing
        if record is None:
            context.on_event(Event("", "request", "progress", text=f"making {item.settings.kind} {item.settings.name}"))
            record = file_systems.make(
                context.clients,
                item.settings,
                plan.cluster_id,
                subnet=plan.subnet,
                group_id=group_id,
                launch_id=plan.launch_id,
                journal=context.journal,
            )
        mounts.append(file_systems.mount(record, item.settings))
    return group_id, tuple(mounts)


def _record_volumes(context: ClusterContext, plan: LaunchPlan) -> None:
    """Record that volumes are about to be created that outlive their instances: Status looks for them from now on."""
    volume_names = [item.volume.name for item in plan.volumes if item.volume.keep and not item.ids]
    if volume_names:
        context.journal.record_intent(
            volumes.JOURNAL_KIND,
            name=f"{' '.join(volume_names)} of launch {plan.launch_id}",
            **plan.cluster_id.journal_fields,
        )


def roll_back(context: ClusterContext, plan: LaunchPlan) -> str:
    """Delete the disks of a launch that was rolled back, which are empty; return why some remain, empty if none do."""
    clients = context.clients
    try:
        if any(item.volume.keep and not item.ids for item in plan.volumes):
            volumes.delete_of_launch(clients, plan.cluster_id, plan.launch_id)
        for kind in sorted({item.settings.kind for item in plan.file_systems if item.existing is None}):
            file_systems.delete_of_launch(clients, kind, plan.cluster_id, plan.launch_id)
    except StratusError as error:
        text = f"disks of it may remain: {first_line(error)}"
        context.on_event(Event("", "request", "warning", text=text))
        return text
    return ""
