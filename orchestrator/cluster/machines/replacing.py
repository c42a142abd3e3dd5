"""Replacement of running instances on request, such as those with a bad GPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from orchestrator.aws.ec2 import host_names, state_changes, waiters
from orchestrator.cluster.meter import Meter
from orchestrator.cluster.replacement import TERMINATE_TIMEOUT_S
from orchestrator.core.errors import LeftRunning, UsageError
from orchestrator.core.next_step import NextStep

if TYPE_CHECKING:
    from orchestrator.aws.ec2.instances import Instance
    from orchestrator.aws.launch.plan import LaunchPlan
    from orchestrator.cluster.inventory import Inventory


def find(inventory: Inventory, names: Sequence[str]) -> list[Instance]:
    """Return the instances of some names.

    :raises UsageError: there is none of a name.
    """
    instances = {instance.name: instance for instance in inventory.instances()}
    if unknown := [name for name in names if name not in instances]:
        known = f"VMs: {', '.join(instances)}" if instances else NextStep("LaunchInstances") + " launches some"
        raise UsageError(f"{', '.join(unknown)}: no such VM", fix=known)
    return [instances[name] for name in dict.fromkeys(names)]


def as_replacement(plan: LaunchPlan, replaced: Sequence[Instance]) -> LaunchPlan:
    """Return a plan whose instances take the names of others, which are terminated before."""
    names = sorted((instance.name for instance in replaced), key=host_names.sort_key)
    gone = set(names)
    return replace(
        plan,
        names=tuple(names),
        existing_names=tuple(name for name in plan.existing_names if name not in gone),
        other_key_names=tuple(name for name in plan.other_key_names if name not in gone),
        stopped_names=tuple(name for name in plan.stopped_names if name not in gone),
        replaced_ids=tuple(instance.id for instance in replaced),
    )


def terminate(inventory: Inventory, names: Sequence[str]) -> list[str]:
    """Terminate instances, and wait until they are: their quota and their place are free then. Return their ids.

    :raises LeftRunning: one cannot be terminated, or is not in time.
    """
    context, instances = inventory.context, find(inventory, names)
    costs = Meter(context).costs(instances, context.clock.now())
    changes = state_changes.terminate(context.clients, instances, ownership=context.ownership)
    ended = [item for item in instances if changes[item.id].is_ok]
    for _ in waiters.wait_terminated(context.clients, ended, deadline_s=TERMINATE_TIMEOUT_S):
        pass
    Meter(context).record_ended(costs, ended)
    if left := [f"{item.id} {item.name}: {changes[item.id].error}" for item in instances if item not in ended]:
        raise LeftRunning("not terminated, and nothing was launched:", left=left, fix=NextStep("Status"))
    return [item.id for item in ended]
