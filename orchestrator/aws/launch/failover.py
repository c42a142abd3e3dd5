"""Failover of a launch: try one capacity pool after another, each only once the outcome of the last one is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from orchestrator.aws.capacity import pools
from orchestrator.core.errors import CloudRefused, LeftRunning

if TYPE_CHECKING:
    from orchestrator.aws.capacity.pools import CapacityMemory, Pool
    from orchestrator.aws.ec2.instances import Instance
    from orchestrator.aws.launch.plan import LaunchPlan


def launch(
    plan: LaunchPlan,
    request_instances: Callable[[LaunchPlan], list[Instance]],
    *,
    memory: CapacityMemory,
    report: Callable[[str], None],
) -> list[Instance]:
    """Launch the instances of a plan in the first of its pools that has capacity.

    If the plan allows a partial launch, the instances that one pool lacks are requested from the next ones.

    :param request_instances: requests the instances of a plan from its pool; returns them, or raises.
    :param memory: pools that lacked capacity recently; they are skipped while there are others.
    :param report: called with a line about each pool that is skipped or refused, and the next one.
    :raises CloudRefused: no pool has capacity, or AWS refuses for a reason that is the same for all pools.
    :raises LeftRunning: the outcome of a request is unknown; no other pool is tried then.
    """
    left, skipped = memory.split(plan.pools or [_only_pool(plan)])
    for pool, code in skipped:
        report(f"{pool}: skipped, {code} a moment ago")
    refusals: list[tuple[Pool, CloudRefused]] = []
    launched: list[Instance] = []
    while left and len(launched) < plan.count:
        pool, missing = left[0], plan.remaining(len(launched))
        try:
            instances = request_instances(missing.with_pool(pool))
        except LeftRunning as error:
            raise _with_launched(launched, error) from error
        except CloudRefused as refusal:
            remaining = pools.remaining_after(left, refusal.code, refusal.message)
            if remaining is None and not launched:
                raise
            if pools.is_capacity_error(refusal.code):
                memory.record(pool, refusal.code)
            refusals.append((pool, refusal))
            left, outcome = remaining or [], refusal.code
        else:
            launched += instances
            # Fewer instances than requested are all there are; other subnets of the zone share that capacity.
            left = [other for other in left if other.capacity_key != pool.capacity_key]
            outcome = f"{len(instances)} of {missing.count}"
        if len(launched) < plan.count:
            report(f"{pool}: {outcome}; " + (f"next {left[0]}" if left else "no other pool is left"))
    if not launched:
        raise pools.combined_error(refusals) from refusals[-1][1]
    if len(launched) < plan.count:
        report(f"launched {len(launched)} of {plan.count} VMs: [cluster] allow_partial = yes")
    return launched


def _with_launched(launched: Sequence[Instance], error: LeftRunning) -> LeftRunning:
    """Return the error with the instances that other pools launched before."""
    lines = [f"{instance.name} ({instance.id}, {instance.type}, {instance.zone})" for instance in launched]
    return LeftRunning(error.message, left=[*lines, *error.left], fix=error.fix)


def _only_pool(plan: LaunchPlan) -> Pool:
    return pools.Pool(plan.type_info, plan.subnet, plan.market, plan.price)
