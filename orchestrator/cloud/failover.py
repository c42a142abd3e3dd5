"""Launching where there is room: pool after pool, one request each, never a second one before the first is decided."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from orchestrator.cloud import pools
from orchestrator.errors import CloudRefused

if TYPE_CHECKING:
    from orchestrator.cloud.ec2 import Instance
    from orchestrator.cloud.planning import Plan
    from orchestrator.cloud.pools import Memory, Pool


def launch(
    plan: Plan, ask: Callable[[Plan], list[Instance]], *, memory: Memory, tell: Callable[[str], None]
) -> list[Instance]:
    """Launch the machines of a plan in the first of its pools that has them.

    :param ask: asks EC2 for a plan's machines in its one pool; returns them, or raises.
    :param memory: of pools that were empty lately: they are passed over while others are left.
    :param tell: hears why a pool is left behind, and which comes next.
    :raises CloudRefused: no pool has them, or AWS refuses for a reason that is the same everywhere.
    :raises LeftRunning: nobody can say whether one of them has launched: no other is asked then.
    """
    left, passed = memory.split(plan.pools or [_only(plan)])
    for pool, why in passed:
        tell(f"{pool}: passed over, {why} a moment ago")
    tried: list[tuple[Pool, CloudRefused]] = []
    while left:
        here = left[0]
        try:
            return ask(plan.at(here))
        except CloudRefused as refusal:
            rest = pools.after(left, refusal.code, refusal.what)
            if rest is None:
                raise
            if pools.is_empty(refusal.code):
                memory.note(here, refusal.code)
            tried.append((here, refusal))
            left = rest
            tell(f"{here}: {refusal.code}; " + (f"next {left[0]}" if left else "no other pool is left"))
    raise pools.failed(tried) from tried[-1][1]


def _only(plan: Plan) -> Pool:
    return pools.Pool(plan.machine, plan.subnet, plan.market, plan.price)
