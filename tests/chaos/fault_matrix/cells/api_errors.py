"""Cells for API errors: throttling, server errors, lost and late answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.chaos.fault_matrix.cell import Cell
from tests.chaos.fault_matrix.cells.common import (
    CHANGE_CALLS,
    DONE,
    LAUNCH,
    REAL_LAUNCH,
    api_calls,
    first_call,
)


def _throttled() -> Iterator[Cell]:
    """F25: throttled for 20 s, at every API action; the call is repeated until it succeeds."""
    for action, command, setup, instances in api_calls():
        service = {"GetCallerIdentity": "sts", "GetParameter": "ssm"}.get(action, "ec2")
        fault = {"kind": "throttled", "action": action, "when": "until 20 s" if service != "sts" else "until 1 s"}
        yield Cell("F25", action, command, "R", 0, DONE[command], (fault,), setup=setup, instances=instances)
    permanent = {"kind": "error", "code": "RequestLimitExceeded", **REAL_LAUNCH}
    output = ("RequestLimitExceeded", "launching 2 x c7i.2xlarge", "try again")
    yield Cell(
        "F25", "RunInstances, permanently", LAUNCH, "R", 3, output, (permanent,), instances=0, next_command="terminate"
    )


def _lost_answers() -> Iterator[Cell]:
    """F26: AWS carries out the request, and answers with a server error, not at all, or too late."""
    kinds: tuple[tuple[str, dict[str, Any]], ...] = (
        ("error", {"kind": "error", "code": "InternalError", "applied": True}),
        ("no answer", {"kind": "dropped", "applied": True}),
        ("too late", {"kind": "slow", "seconds": "61 s"}),
    )
    for action, command, setup, instances in api_calls():
        for kind, fault in kinds if action in CHANGE_CALLS else kinds[1:2]:
            once = {**fault, "action": action, "when": f"from call {first_call(action)}", "times": 1}
            yield Cell(
                "F26", f"{action}, {kind}", command, "R", 0, DONE[command], (once,), setup=setup, instances=instances
            )
    permanent = {"kind": "error", "code": "InternalError", "applied": True, **REAL_LAUNCH}
    yield Cell(
        "F26",
        "RunInstances, permanently",
        LAUNCH,
        "R",
        0,
        DONE[LAUNCH],
        (permanent,),
        instances=2,
        next_command="terminate",
    )
    no_answer = {"kind": "dropped", "applied": False, **REAL_LAUNCH}
    output = ("it is unknown whether", "ml-0", "stratus terminate")
    yield Cell(
        "F26",
        "RunInstances, never answered",
        LAUNCH,
        "R",
        4,
        output,
        (no_answer,),
        instances=0,
        next_command="terminate",
    )


def cells() -> Iterator[Cell]:
    """Yield the cells."""
    yield from _throttled()
    yield from _lost_answers()
