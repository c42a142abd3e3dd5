"""Commands, API calls and expected output that cells share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.chaos.fault_matrix.cell import Cell

LAUNCH = "launch -n 2 --yes"
UP = (LAUNCH,)
STOPPED = (LAUNCH, "stop")
AT_ONCE_S = 5.0
KEYS = {
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
}

CREATE_CALLS = ("CreateSecurityGroup", "AuthorizeSecurityGroupIngress", "ImportKeyPair", "RunInstances")
READ_CALLS = (
    "GetCallerIdentity",
    "DescribeInstanceTypes",
    "DescribeInstanceTypeOfferings",
    "DescribeSubnets",
    "GetParameter",
    "DescribeImages",
    "DescribeSecurityGroups",
    "DescribeKeyPairs",
    "DescribeInstances",
)
DRY_RUN_FIRST = ("RunInstances", "CreateSecurityGroup", "ImportKeyPair")
"""Calls whose first request is a dry run, which changes nothing."""
REAL_LAUNCH: dict[str, Any] = {"action": "RunInstances", "when": "from call 2"}
"""The RunInstances requests after the dry run, as part of a fault."""
TERMINATE_CALLS = ("TerminateInstances", "DeleteSecurityGroup", "DeleteKeyPair")
DONE = {
    LAUNCH: ("2 of 2 ready",),
    "stop": ("ml-0 stopped", "ml-1 stopped", "billed: $12.00 a month", "they stay until terminated"),
    "start": ("ml-0 running", "ml-1 running"),
    "terminate": ("ml-0 terminated ml-1 terminated security group gone key pair gone", "0 VMs running"),
}
"""Command -> its output when it succeeds."""
CHANGE_CALLS = {*CREATE_CALLS, "CreateTags", "StopInstances", "StartInstances", *TERMINATE_CALLS}


def api_calls() -> Iterator[tuple[str, str, tuple[str, ...], int]]:
    """Yield every API action with the command that calls it, the commands before, and the VMs there are afterwards."""
    for action in (*READ_CALLS, *CREATE_CALLS, "CreateTags"):
        yield action, LAUNCH, (), 2
    yield "StopInstances", "stop", UP, 2
    yield "StartInstances", "start", STOPPED, 2
    for action in TERMINATE_CALLS:
        yield action, "terminate", UP, 0


def first_call(action: str) -> int:
    """Return the index of an action's first call that is no dry run."""
    return 2 if action in DRY_RUN_FIRST else 1


def reported_at_once(
    fault: str, phase: str, command: str, exit_code: int, output: tuple[str, ...], **options: Any
) -> Cell:
    """Return a cell for a fault that the user must fix: reported within 5 s, nothing changed."""
    verb = command.split()[0]
    promise: dict[str, Any] = {"changes": 0, "instances": 0, "max_s": AT_ONCE_S}
    return Cell(fault, f"{phase}, {verb}", command, "U", exit_code, output, **promise, **options)
