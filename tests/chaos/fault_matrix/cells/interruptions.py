"""Cells for Ctrl-C and crashes at every API call."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.chaos.fault_matrix.cell import Cell
from tests.chaos.fault_matrix.cells.common import (
    CHANGE_CALLS,
    CREATE_CALLS,
    LAUNCH,
    READ_CALLS,
    api_calls,
    first_call,
)

ROLLED_BACK = (
    "Ctrl-C: rolling back the launch; press Ctrl-C again to leave at once",
    "was rolled back: nothing of it is left",
)
STILL_LAUNCHING = (
    "Interrupted. 2 VMs are up or starting: ml-0 (i-",
    "ml-1 (i-",
    "stratus terminate terminates them.",
)


def _message_after_interrupt(action: str, command: str) -> tuple[str, ...]:
    """Return the output of a Ctrl-C at an API call."""
    if action in CREATE_CALLS:
        return ROLLED_BACK
    if command == LAUNCH:
        return STILL_LAUNCHING if action == "CreateTags" else ("Interrupted. Nothing was launched.",)
    if command == "terminate":
        return ("Interrupted. Some may still be up.", "stratus terminate terminates the rest")
    return ("Interrupted. Some may have changed.", "stratus status shows which")


def _ctrl_c() -> Iterator[Cell]:
    """F47: Ctrl-C around every API call; the launch is rolled back, or the output lists what is left."""
    for action, command, setup, _ in api_calls():
        for phase in ("before", "after"):
            rolled_back = action in (*CREATE_CALLS, *READ_CALLS)
            yield Cell(
                "F47",
                f"{phase} {action}",
                command,
                "X",
                130,
                _message_after_interrupt(action, command),
                setup=setup,
                instances=0 if rolled_back else None,
                open_entries=0 if rolled_back else None,
                changes=0 if action in READ_CALLS else None,
                interruption=("ctrl-c", phase, action, first_call(action)),
                next_command="terminate",
            )
    for action in CREATE_CALLS:
        yield Cell(
            "F47",
            f"twice after {action}",
            LAUNCH,
            "X",
            130,
            ("Interrupted. Launch ", "(2 x c7i.2xlarge) may have been carried out: stratus terminate terminates it."),
            open_entries=1 if action == "AuthorizeSecurityGroupIngress" else 2,
            interruption=("ctrl-c twice", "after", action, first_call(action)),
            next_command="terminate",
        )


def _crashes() -> Iterator[Cell]:
    """F50: a crash around every call that changes something; the next start can terminate everything."""
    for action, command, setup, _ in api_calls():
        for phase in ("before", "after") if action in CHANGE_CALLS else ():
            yield Cell(
                "F50",
                f"{phase} {action}",
                command,
                "X",
                137,
                setup=setup,
                interruption=("crash", phase, action, first_call(action)),
                next_command="terminate",
                next_output=("0 VMs running",),
            )
    offer = ("Unfinished launch ", "2 VMs since ", "shut down automatically ", "stratus recover terminate")
    crash: dict[str, Any] = {"interruption": ("crash", "after", "RunInstances", 2), "instances": 2}
    yield Cell(
        "F50",
        "the next start lists it",
        LAUNCH,
        "X",
        137,
        **crash,
        next_command="recover",
        next_output=offer,
        instances_after_next=2,
    )
    yield Cell(
        "F50",
        "the next start terminates it",
        LAUNCH,
        "X",
        137,
        **crash,
        next_command="recover terminate",
        next_output=("2 VMs terminated.",),
    )
    ready = ("ml-0 ready", "ml-1 ready")
    yield Cell(
        "F50",
        "the next start resumes it",
        LAUNCH,
        "X",
        137,
        **crash,
        next_command="recover finish",
        next_output=ready,
        instances_after_next=2,
    )


def cells() -> Iterator[Cell]:
    """Yield the cells."""
    yield from _ctrl_c()
    yield from _crashes()
