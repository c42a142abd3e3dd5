"""Launching where there is room: pool after pool, one request each, never a second one before the first is decided."""

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
    """Launch the machines of a plan in the first of its pools that has them.

    Where fewer will do, what one pool lacks is asked of the next ones, until all are there or no pool is left.

    :param ask: asks EC2 for a plan's machines in its one pool; returns them, or raises.
    :param memory: of pools that were empty lately: they are passed over while others are left.
    :param tell: hears why a pool is left behind, and which comes next.
    :raises CloudRefused: no pool has any, or AWS refuses for a reason that is the same everywhere.
    :raises LeftRunning: nobody can say whether one of them has launched: no other is asked then.
    """
    left, passed = memory.split(plan.pools or [_only(plan)])
    for pool, why in passed:
        report(f"{pool}: passed over, {why} a moment ago")
    tried: list[tuple[Pool, CloudRefused]] = []
    found: list[Instance] = []
    while left and len(found) < plan.count:
        here, wanted = left[0], plan.remaining(len(found))
        try:
            came = request_instances(wanted.with_pool(here))
        except LeftRunning as error:
            raise _besides(found, error) from error
        except CloudRefused as refusal:
            rest = pools.remaining_after(left, refusal.code, refusal.message)
            if rest is None and not found:
                raise
            if pools.is_capacity_error(refusal.code):
                memory.record(here, refusal.code)
            tried.append((here, refusal))
            left, why = rest or [], refusal.code
        else:
            found += came
            # It has no more: its other subnets draw on the same machines.
            left, why = (
                [pool for pool in left if pool.capacity_key != here.capacity_key],
                f"{len(came)} of {wanted.count}",
            )
            if len(found) == plan.count:
                break
        report(f"{here}: {why}; " + (f"next {left[0]}" if left else "no other pool is left"))
    if not found:
        raise pools.combined_error(tried) from tried[-1][1]
    if len(found) < plan.count:
        report(f"{len(found)} of {plan.count} machines have to do: [cluster] allow_partial = yes")
    return found


def _besides(found: Sequence[Instance], error: LeftRunning) -> LeftRunning:
    """Return the error with the machines that other pools brought before."""
    there = [f"{each.name} ({each.id}, {each.type}, {each.zone})" for each in found]
    return LeftRunning(error.message, left=[*there, *error.left], fix=error.fix)


def _only(plan: LaunchPlan) -> Pool:
    return pools.Pool(plan.type_info, plan.subnet, plan.market, plan.price)
