"""Cells for resources that cannot be removed, expired sessions and other owners' resources."""

from __future__ import annotations

from collections.abc import Iterator

from tests.chaos.fault_matrix.cell import Cell
from tests.chaos.fault_matrix.cells.common import DONE, LAUNCH, STOPPED, UP, first_call

THEIRS = ("Not yours, never touched: i-", "(running, another owner)")


def _in_use() -> Iterator[Cell]:
    """F32: a security group that is still in use, and resources that another shell creates at the same time."""
    yield Cell(
        "F32",
        "group in use for 30 s",
        "terminate",
        "W",
        0,
        DONE["terminate"],
        ({"kind": "group-in-use", "seconds": "30 s"},),
        setup=UP,
        instances=0,
    )
    yield Cell(
        "F32",
        "group in use for 15 minutes",
        "terminate",
        "W",
        4,
        ("DependencyViolation", "security group"),
        ({"kind": "group-in-use", "seconds": "900 s"},),
        setup=UP,
        instances=0,
        next_command="",
    )
    for code, action in (
        ("InvalidGroup.Duplicate", "CreateSecurityGroup"),
        ("InvalidPermission.Duplicate", "AuthorizeSecurityGroupIngress"),
        ("InvalidKeyPair.Duplicate", "ImportKeyPair"),
    ):
        # Another shell creates it between our Describe call and our Create call.
        fault = {"kind": "error", "code": code, "action": action, "applied": True, "times": 1}
        fault["when"] = f"from call {first_call(action)}"
        yield Cell(
            "F32", f"{code}: created by another shell first", LAUNCH, "W", 0, DONE[LAUNCH], (fault,), instances=2
        )


def _not_terminated() -> Iterator[Cell]:
    """F48: instances that cannot be terminated are listed."""
    protected = {"kind": "protected", "where": "host 0"}
    yield Cell(
        "F48",
        "one is protected",
        "terminate",
        "X",
        4,
        ("ml-0", "OperationNotPermitted", "disable-api-termination", "ml-1"),
        (protected,),
        setup=UP,
        faults_during_setup=True,
        instances=1,
    )
    unknown = {
        "kind": "error",
        "code": "InvalidInstanceID.NotFound",
        "action": "TerminateInstances",
        "times": 1,
        "message": "The instance ID 'i-0123456789abcdef0' does not exist",
    }
    yield Cell("F48", "one is unknown", "terminate", "X", 0, DONE["terminate"], (unknown,), setup=UP, instances=0)
    denied = {"kind": "denied", "action": "TerminateInstances"}
    yield Cell(
        "F48",
        "no permission",
        "terminate",
        "U",
        4,
        ("ml-0", "UnauthorizedOperation", "ec2:TerminateInstances"),
        (denied,),
        setup=UP,
        instances=2,
    )


def _expired() -> Iterator[Cell]:
    """F06: the session expires while a verb runs."""
    for command, setup in (("terminate", UP), ("stop", UP), ("start", STOPPED)):
        expired = {"kind": "expired-keys", "when": "from 0.2 s to 300 s"}
        yield Cell(
            "F06",
            f"during {command}",
            command,
            "X",
            {"terminate": 4, "stop": 1, "start": 3}[command],
            ("RequestExpired", "aws sso login"),
            (expired,),
            setup=setup,
            next_command="terminate",
        )
    expired = {"kind": "expired-keys", "when": "from 5 s to 300 s"}
    yield Cell(
        "F06",
        "while machines come up",
        LAUNCH,
        "X",
        1,
        ("RequestExpired", "aws sso login"),
        (expired,),
        instances=2,
        open_entries=1,
        next_command="terminate",
    )
    import_expired = {"kind": "expired-keys", "action": "ImportKeyPair", "when": "from call 2"}
    delete_expired = {"kind": "expired-keys", "action": "Delete*", "when": "until 300 s"}
    yield Cell(
        "F06",
        "before RunInstances",
        LAUNCH,
        "X",
        3,
        ("RequestExpired", "aws sso login"),
        (import_expired, delete_expired),
        instances=0,
        next_command="terminate",
    )


def _other_owners() -> Iterator[Cell]:
    """F49: another owner's cluster of the same name is never changed."""
    other_owner = {
        "kind": "colleague",
        "machines": 2,
        "group": "stratus-ml-c0113a60",
        "key": "stratus-ml-c0113a60",
        "tags": {"Name": "ml-0", "stratus:cluster": "ml", "stratus:owner": "another owner"},
    }
    for command, setup, instances in ((LAUNCH, (), 2), ("terminate", UP, 0), ("stop", UP, 2), ("status", UP, 2)):
        yield Cell(
            "F49",
            f"another owner's cluster of the same name, {command.split()[0]}",
            command,
            "X",
            0,
            (*DONE.get(command, ("2 up",)), *(THEIRS if command in ("terminate", "status") else ())),
            (other_owner,),
            setup=setup,
            instances=instances,
        )


def cells() -> Iterator[Cell]:
    """Yield the cells."""
    yield from _in_use()
    yield from _not_terminated()
    yield from _expired()
    yield from _other_owners()
