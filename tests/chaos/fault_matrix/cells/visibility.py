"""Cells for EC2's eventual consistency, and for launches that get fewer VMs."""

from __future__ import annotations

from collections.abc import Iterator

from tests.chaos.fault_matrix.cell import Cell
from tests.chaos.fault_matrix.cells.common import DONE, LAUNCH, UP
from tests.chaos.fault_matrix.cells.interruptions import ROLLED_BACK, STILL_LAUNCHING


def _not_visible_yet() -> Iterator[Cell]:
    """F28: instances that EC2 does not show yet count as launched."""
    hidden = {"kind": "invisible", "seconds": "60 s"}
    yield Cell(
        "F28", "while coming up", LAUNCH, "W", 0, ("2 of 2 ready",), (hidden,), instances=2, next_command="terminate"
    )
    ended = DONE["terminate"]
    yield Cell(
        "F28",
        "terminate right after",
        "terminate",
        "W",
        0,
        ended,
        (hidden,),
        setup=UP,
        faults_during_setup=True,
        instances=0,
    )
    for kind, phase, action in (
        ("ctrl-c", "after", "RunInstances"),
        ("ctrl-c", "before", "DescribeInstances"),
    ):
        yield Cell(
            "F28",
            f"Ctrl-C {phase} {action}",
            LAUNCH,
            "X",
            130,
            ROLLED_BACK if action[0] == "R" else STILL_LAUNCHING,
            (hidden,),
            instances=0 if action[0] == "R" else None,
            interruption=(kind, phase, action, 2 if action[0] == "R" else 3),
            next_command="terminate",
        )
    yield Cell(
        "F28",
        "crash after RunInstances",
        LAUNCH,
        "X",
        137,
        faults=(hidden,),
        instances=2,
        interruption=("crash", "after", "RunInstances", 2),
        next_command="terminate",
    )


def _fewer() -> Iterator[Cell]:
    """F29: all VMs or none, unless allow_partial = yes."""
    too_few = {"kind": "no-capacity", "machines": 1, "where": "us-west-2"}
    yield Cell(
        "F29",
        "all or none",
        LAUNCH,
        "F",
        3,
        ("InsufficientInstanceCapacity",),
        (too_few,),
        instances=0,
        next_command="terminate",
    )
    allow_partial = {"cluster.allow_partial": "yes"}
    output = ("1 of 2; next", "InsufficientInstanceCapacity", "launched 1 of 2 VMs", "allow_partial")
    yield Cell(
        "F29",
        "allow_partial = yes",
        LAUNCH,
        "F",
        0,
        output,
        (too_few,),
        allow_partial,
        instances=1,
        launch_requests=3,
        next_command="terminate",
    )
    one_zone = {"kind": "no-capacity", "machines": 1, "where": "us-west-2a"}
    next_zone = ("us-west-2a: 1 of 2; next c7i.2xlarge in us-west-2b", "2 of 2 ready")
    yield Cell(
        "F29",
        "the next zone provides the rest",
        LAUNCH,
        "F",
        0,
        next_zone,
        (one_zone,),
        allow_partial,
        instances=2,
        launch_requests=2,
    )
    lost_answer = {"kind": "dropped", "applied": False, "action": "RunInstances", "when": "from call 3"}
    unknown = ("it is unknown whether", "ml-0 (i-", "ml-1 (c7i.2xlarge, us-west-2b", "stratus terminate")
    yield Cell(
        "F29",
        "unknown outcome of the rest",
        LAUNCH,
        "R",
        4,
        unknown,
        (one_zone, lost_answer),
        allow_partial,
        instances=1,
        next_command="terminate",
    )


def cells() -> Iterator[Cell]:
    """Yield the cells."""
    yield from _not_visible_yet()
    yield from _fewer()
