"""The fault matrix: what is promised for every fault in every phase where it can occur, as data.

`cell_runner` runs a cell; ``scripts/fault-matrix`` writes docs/faults.md from all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from tests.chaos.fault_matrix.cell_runner import Cell
from tests.chaos.fault_matrix.user_errors import USER

LAUNCH = "launch -n 2 --yes"
UP = (LAUNCH,)
STOPPED = (LAUNCH, "stop")

CREATING = ("CreateSecurityGroup", "AuthorizeSecurityGroupIngress", "ImportKeyPair", "RunInstances")
READING = (
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
ASKED_FIRST = ("RunInstances", "CreateSecurityGroup", "ImportKeyPair")
"""The first of these calls is a dry run, which changes nothing."""
ASKED: dict[str, Any] = {"action": "RunInstances", "when": "from call 2"}
ENDING = ("TerminateInstances", "DeleteSecurityGroup", "DeleteKeyPair")
DONE = {
    LAUNCH: ("2 of 2 ready",),
    "stop": ("ml-0 stopped", "ml-1 stopped", "billed: $12.00 a month", "nothing ends it"),
    "start": ("ml-0 running", "ml-1 running"),
    "terminate": ("ml-0 terminated ml-1 terminated security group gone key pair gone", "0 instances running"),
}
"""What is said when all went well in the end."""


def _phases() -> Iterator[tuple[str, str, tuple[str, ...], int]]:
    """Every API boundary: the action, what the user types, what was typed before, and what is alive in the end."""
    for action in (*READING, *CREATING, "CreateTags"):
        yield action, LAUNCH, (), 2
    yield "StopInstances", "stop", UP, 2
    yield "StartInstances", "start", STOPPED, 2
    for action in ENDING:
        yield action, "terminate", UP, 0


def _busy() -> Iterator[Cell]:
    """F25: throttled for half a minute, at every boundary; it is asked again until it is answered."""
    for action, typed, before, alive in _phases():
        service = {"GetCallerIdentity": "sts", "GetParameter": "ssm"}.get(action, "ec2")
        fault = {"kind": "throttled", "action": action, "when": "until 20 s" if service != "sts" else "until 1 s"}
        yield Cell("F25", action, typed, "R", 0, DONE[typed], (fault,), setup=before, instances=alive)
    stays = {"kind": "error", "code": "RequestLimitExceeded", **ASKED}
    says = ("RequestLimitExceeded", "launching 2 x c7i.2xlarge", "try again")
    yield Cell("F25", "RunInstances, for good", LAUNCH, "R", 3, says, (stays,), instances=0, next_command="terminate")


def _broken() -> Iterator[Cell]:
    """F26: AWS did it, and answers with an error of its own, not at all, or too late."""
    ways: tuple[tuple[str, dict[str, Any]], ...] = (
        ("error", {"kind": "error", "code": "InternalError", "applied": True}),
        ("no answer", {"kind": "dropped", "applied": True}),
        ("too late", {"kind": "slow", "seconds": "61 s"}),
    )
    changing = {*CREATING, "CreateTags", "StopInstances", "StartInstances", *ENDING}
    for action, typed, before, alive in _phases():
        for way, fault in ways if action in changing else ways[1:2]:
            once = {**fault, "action": action, "when": f"from call {_nth(action)}", "times": 1}
            yield Cell("F26", f"{action}, {way}", typed, "R", 0, DONE[typed], (once,), setup=before, instances=alive)
    stays = {"kind": "error", "code": "InternalError", "applied": True, **ASKED}
    yield Cell(
        "F26", "RunInstances, for good", LAUNCH, "R", 0, DONE[LAUNCH], (stays,), instances=2, next_command="terminate"
    )
    never = {"kind": "dropped", "applied": False, **ASKED}
    says = ("nobody can say", "ml-0", "stratus terminate")
    yield Cell(
        "F26", "RunInstances, never heard of", LAUNCH, "R", 4, says, (never,), instances=0, next_command="terminate"
    )


def _empty() -> Iterator[Cell]:
    """F13-F15, F20, F24: no machine there; another pool, each asked once, reasons told."""
    codes = (
        "InsufficientInstanceCapacity",
        "InsufficientHostCapacity",
        "InsufficientReservedInstanceCapacity",
        "ReservationCapacityExceeded",
        "UnfulfillableCapacity",
    )
    for code in codes:
        here = {"kind": "no-capacity", "code": code, "where": "us-west-2a"}
        yield Cell(
            "F14",
            f"{code} in one zone",
            LAUNCH,
            "F",
            0,
            ("us-west-2a", code, "us-west-2b"),
            (here,),
            instances=2,
            launch_requests=2,
        )
        region = {"kind": "no-capacity", "code": code, "where": "us-west-2"}
        yield Cell(
            "F14",
            f"{code} everywhere",
            LAUNCH,
            "F",
            3,
            (code, "us-west-2a", "us-west-2c", "[cluster] siblings = m7i.2xlarge asks for those as well ($0.403/h)"),
            (region,),
            instances=0,
            launch_requests=3,
            next_command="terminate",
        )
    type_: dict[str, Any] = {"kind": "no-capacity", "where": "c7i.2xlarge"}
    yield Cell(
        "F14",
        "next type",
        LAUNCH,
        "F",
        0,
        ("c7i.2xlarge", "InsufficientInstanceCapacity", "m7i.2xlarge"),
        (type_,),
        {"cluster.siblings": "m7i.2xlarge"},
        instances=2,
    )
    one = {"kind": "no-capacity", "where": "us-west-2a", "when": "until 5 s"}
    yield Cell(
        "F14",
        "the pool is remembered",
        LAUNCH,
        "F",
        0,
        ("us-west-2a", "passed over"),
        (one,),
        setup=("launch -n 1 --yes", "terminate"),
        faults_during_setup=True,
        instances=2,
        launch_requests=1,
    )
    full = {"kind": "no-addresses", "where": "us-west-2a"}
    yield Cell("F20", "in one subnet", LAUNCH, "F", 0, ("InsufficientFreeAddressesInSubnet",), (full,), instances=2)
    fulls = {"kind": "no-addresses", "where": "us-west-2"}
    yield Cell(
        "F20",
        "in all subnets",
        LAUNCH,
        "F",
        3,
        ("InsufficientFreeAddressesInSubnet", "subnet_id"),
        (fulls,),
        instances=0,
        next_command="terminate",
    )
    spot = {"cluster.market": "spot"}
    gone = {"kind": "no-capacity", "where": "spot"}
    says = ("InsufficientInstanceCapacity", "[cluster] spot_fallback = yes takes them on demand ($0.357/h)")
    yield Cell("F24", "no spot machine", LAUNCH, "F", 3, says, (gone,), spot, instances=0)
    yield Cell(
        "F24",
        "on demand when the config says so",
        LAUNCH,
        "F",
        0,
        ("InsufficientInstanceCapacity", "spot"),
        (gone,),
        {**spot, "cluster.spot_fallback": "yes"},
        instances=2,
    )
    for code, words in (
        ("SpotMaxPriceTooLow", "spot_fallback"),
        ("AuthFailure.ServiceLinkedRoleCreationNotPermitted", "create-service-linked-role"),
    ):
        refused = {"kind": "error", "code": code, "message": f"said AWS {code}", **ASKED}
        yield Cell("F24", code, LAUNCH, "F", 3, (code, words), (refused,), spot, instances=0, next_command="terminate")
    quota = {"kind": "quota", "quota": "L-1216C47A", "vcpus": 8}
    says = ("L-1216C47A", "16 vCPU needed", "limit 8", "stratus quota")
    yield Cell("F13", "standard quota", LAUNCH, "U", 3, says, (quota,), instances=0, changes=0, max_s=5.0)
    quota = {"kind": "quota", "quota": "L-34B43A08", "vcpus": 8}
    says = ("L-34B43A08", "16 vCPU needed", "limit 8", "stratus quota")
    yield Cell("F13", "spot quota", LAUNCH, "U", 3, says, (quota,), spot, instances=0, changes=0, max_s=5.0)
    for code in ("VcpuLimitExceeded", "InstanceLimitExceeded", "MaxSpotInstanceCountExceeded"):
        said = {"kind": "error", "code": code, "message": f"You have requested too many ({code}).", **ASKED}
        yield Cell(
            "F13",
            f"RunInstances: {code}",
            LAUNCH,
            "F",
            3,
            (code, "servicequotas"),
            (said,),
            spot if "Spot" in code else {},
            instances=0,
            launch_requests=1,
            next_command="terminate",
        )
    not_here = {"kind": "error", "code": "Unsupported", **ASKED, "times": 1}
    yield Cell(
        "F15",
        "RunInstances: Unsupported",
        LAUNCH,
        "F",
        0,
        ("Unsupported",),
        (not_here,),
        instances=2,
        launch_requests=2,
    )


def _late() -> Iterator[Cell]:
    """F28, F29: what EC2 does not show yet is there all the same; all or none."""
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
            BACK if action[0] == "R" else COMING,
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
    some = {"kind": "no-capacity", "machines": 1, "where": "us-west-2"}
    yield Cell(
        "F29",
        "all or none",
        LAUNCH,
        "F",
        3,
        ("InsufficientInstanceCapacity",),
        (some,),
        instances=0,
        next_command="terminate",
    )
    fewer = {"cluster.allow_partial": "yes"}
    says = ("1 of 2; next", "InsufficientInstanceCapacity", "1 of 2 machines have to do", "allow_partial")
    yield Cell(
        "F29",
        "fewer will do",
        LAUNCH,
        "F",
        0,
        says,
        (some,),
        fewer,
        instances=1,
        launch_requests=3,
        next_command="terminate",
    )
    here = {"kind": "no-capacity", "machines": 1, "where": "us-west-2a"}
    says = ("us-west-2a: 1 of 2; next c7i.2xlarge in us-west-2b", "2 of 2 ready")
    yield Cell(
        "F29", "the next zone brings the rest", LAUNCH, "F", 0, says, (here,), fewer, instances=2, launch_requests=2
    )
    lost = {"kind": "dropped", "applied": False, "action": "RunInstances", "when": "from call 3"}
    says = ("nobody can say", "ml-0 (i-", "ml-1 (c7i.2xlarge, us-west-2b", "stratus terminate")
    yield Cell(
        "F29",
        "nobody can say of the rest",
        LAUNCH,
        "R",
        4,
        says,
        (here, lost),
        fewer,
        instances=1,
        next_command="terminate",
    )


def _hosts() -> Iterator[Cell]:
    """F30, F31, F33: a host that dies or stays silent is replaced once, and holds up nobody."""
    dies = {"kind": "dies-pending", "where": "host 0"}
    yield Cell(
        "F30", "one dies while pending", LAUNCH, "F", 0, ("Server.InternalError", "2 of 2 ready"), (dies,), instances=2
    )
    volumes = {**dies, "code": "Client.VolumeLimitExceeded"}
    yield Cell("F30", "volume limit", LAUNCH, "F", 0, ("Client.VolumeLimitExceeded",), (volumes,), instances=2)
    kms = {**dies, "code": "Client.InternalError"}
    yield Cell("F30", "disk key", LAUNCH, "F", 0, ("Client.InternalError",), (kms,), instances=2)
    all_die = {"kind": "dies-pending"}
    yield Cell(
        "F30",
        "all die, again and again",
        LAUNCH,
        "F",
        1,
        ("Server.InternalError", "did not come up"),
        (all_die,),
        instances=0,
        next_command="terminate",
    )
    ill = {"kind": "impaired", "where": "host 0", "when": "3 s after launch"}
    yield Cell("F31", "impaired from the start", LAUNCH, "W", 0, ("2 of 2 ready",), (ill,), instances=2)
    hangs = {"kind": "boot-hangs", "where": "host 0"}
    says = ("ml-0 boot failed", "status checks have failed for 18", "console ml-0: [", "Kernel panic", "2 of 2 ready")
    for check in ("instance", "system"):
        yield Cell(
            "F31",
            f"never boots, {check} check impaired",
            LAUNCH,
            "F",
            0,
            says,
            (hangs, {**ill, "check": check}),
            instances=2,
            launch_requests=2,
            max_s=300.0,
            next_command="terminate",
        )
    hang = {"kind": "boot-hangs"}
    yield Cell(
        "F31",
        "never boots, nor does its replacement",
        "launch -n 1 --yes",
        "F",
        1,
        ("status checks have failed", "Kernel panic", "did not come up", "stratus status", "stratus terminate"),
        (hang, {"kind": "impaired", "when": "3 s after launch"}),
        instances=1,
        launch_requests=2,
        next_command="terminate",
    )
    for kind in ("dropped", "refused", "silent"):
        # The second host: what keeps packets from the first is the way there, as far as anybody knows then.
        fault = {"kind": f"ssh-{kind}", "where": "host 1"}
        yield Cell("F33", f"{kind}: replaced once", LAUNCH, "F", 0, (kind, "2 of 2 ready"), (fault,), instances=2)
        every = {"kind": f"ssh-{kind}"}
        yield Cell(
            "F33", f"{kind}: all of them", LAUNCH, "F", 1, (kind, "did not come up"), (every,), next_command="terminate"
        )
    dead = {"kind": "dies", "where": "host 1", "when": "19 s after launch"}
    yield Cell(
        "F33", "dies before SSH is up", LAUNCH, "F", 0, ("Server.InternalError", "2 of 2 ready"), (dead,), instances=2
    )


def _stays() -> Iterator[Cell]:
    """F06, F32, F48, F49: what stays is listed; what is somebody else's is left alone."""
    yield Cell(
        "F32",
        "group in use for a while",
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
        "group in use for long",
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
        # Another shell made it between our look and our call.
        fault = {"kind": "error", "code": code, "action": action, "applied": True, "times": 1}
        fault["when"] = f"from call {_nth(action)}"
        yield Cell("F32", f"{code}: another shell was quicker", LAUNCH, "W", 0, DONE[LAUNCH], (fault,), instances=2)
    kept = {"kind": "protected", "where": "host 0"}
    yield Cell(
        "F48",
        "one is protected",
        "terminate",
        "X",
        4,
        ("ml-0", "OperationNotPermitted", "disable-api-termination", "ml-1"),
        (kept,),
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
    for typed, before in (("terminate", UP), ("stop", UP), ("start", STOPPED)):
        expired = {"kind": "expired-keys", "when": "from 0.2 s to 300 s"}
        yield Cell(
            "F06",
            f"during {typed}",
            typed,
            "X",
            {"terminate": 4, "stop": 1, "start": 3}[typed],
            ("RequestExpired", "aws sso login"),
            (expired,),
            setup=before,
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
    early = {"kind": "expired-keys", "action": "ImportKeyPair", "when": "from call 2"}
    late = {"kind": "expired-keys", "action": "Delete*", "when": "until 300 s"}
    yield Cell(
        "F06",
        "before RunInstances",
        LAUNCH,
        "X",
        3,
        ("RequestExpired", "aws sso login"),
        (early, late),
        instances=0,
        next_command="terminate",
    )
    other = {
        "kind": "colleague",
        "machines": 2,
        "group": "stratus-ml-c0113a60",
        "key": "stratus-ml-c0113a60",
        "tags": {"Name": "ml-0", "stratus:cluster": "ml", "stratus:owner": "somebody else"},
    }
    for typed, before, alive in ((LAUNCH, (), 2), ("terminate", UP, 0), ("stop", UP, 2), ("status", UP, 2)):
        yield Cell(
            "F49",
            f"a colleague of the same name, {typed.split()[0]}",
            typed,
            "X",
            0,
            (*DONE.get(typed, ("2 up",)), *(THEIRS if typed in ("terminate", "status") else ())),
            (other,),
            setup=before,
            instances=alive,
        )


def _nth(action: str) -> int:
    return 2 if action in ASKED_FIRST else 1


BACK = ("Ctrl-C: what was asked for is taken back first; again leaves at once", "was taken back: nothing of it is left")
COMING = ("Interrupted. 2 machines are up or coming up: ml-0 (i-", "ml-1 (i-", "stratus terminate terminates them.")
THEIRS = ("Not yours, never touched: i-", "(running, somebody else)")


def _remains(action: str, typed: str) -> tuple[str, ...]:
    """What a Ctrl-C at a call says of what remains."""
    if action in CREATING:
        return BACK
    if typed == LAUNCH:
        return COMING if action == "CreateTags" else ("Interrupted. Nothing was launched.",)
    if typed == "terminate":
        return ("Interrupted. Some may still be up.", "stratus terminate ends the rest")
    return ("Interrupted. Some may have changed.", "stratus status shows which")


def _interrupted() -> Iterator[Cell]:
    """F47: Ctrl-C around every call; what was begun is taken back, or said."""
    for action, typed, before, _ in _phases():
        for phase in ("before", "after"):
            nothing = action in (*CREATING, *READING)
            yield Cell(
                "F47",
                f"{phase} {action}",
                typed,
                "X",
                130,
                _remains(action, typed),
                setup=before,
                instances=0 if nothing else None,
                open_entries=0 if nothing else None,
                changes=0 if action in READING else None,
                interruption=("ctrl-c", phase, action, _nth(action)),
                next_command="terminate",
            )
    for action in CREATING:
        yield Cell(
            "F47",
            f"twice after {action}",
            LAUNCH,
            "X",
            130,
            ("Interrupted. Launch ", "(2 x c7i.2xlarge) may have happened: stratus terminate terminates it."),
            open_entries=1 if action == "AuthorizeSecurityGroupIngress" else 2,
            interruption=("ctrl-c twice", "after", action, _nth(action)),
            next_command="terminate",
        )


def _crashed() -> Iterator[Cell]:
    """F50: the laptop dies around every call that changes something; the next start ends it all."""
    changing = {*CREATING, "CreateTags", "StopInstances", "StartInstances", *ENDING}
    for action, typed, before, _ in _phases():
        for phase in ("before", "after") if action in changing else ():
            yield Cell(
                "F50",
                f"{phase} {action}",
                typed,
                "X",
                137,
                setup=before,
                interruption=("crash", phase, action, _nth(action)),
                next_command="terminate",
                next_output=("0 instances running",),
            )
    offer = ("2 machines from launch ", "finish or terminate?", "ends at ", "stratus recover terminate")
    died = {"interruption": ("crash", "after", "RunInstances", 2), "instances": 2}
    yield Cell(
        "F50",
        "the next start lists it",
        LAUNCH,
        "X",
        137,
        **died,
        next_command="recover",
        next_output=offer,
        instances_after_next=2,
    )
    yield Cell(
        "F50",
        "and ends it",
        LAUNCH,
        "X",
        137,
        **died,
        next_command="recover terminate",
        next_output=("2 machines ended.",),
    )
    done = ("ml-0 ready", "ml-1 ready")
    yield Cell(
        "F50",
        "or finishes it",
        LAUNCH,
        "X",
        137,
        **died,
        next_command="recover finish",
        next_output=done,
        instances_after_next=2,
    )


def cells() -> list[Cell]:
    """Every cell, in the order of the faults."""
    makers = (_busy, _broken, _empty, _late, _hosts, _stays, _interrupted, _crashed)
    found = [*USER, *(cell for make in makers for cell in make())]
    return sorted((_known(cell) for cell in found), key=lambda cell: cell.fault)


GAPS: dict[str, str] = {}
"""Cells whose promise does not hold yet -> why."""


def _known(cell: Cell) -> Cell:
    return replace(cell, known_gap=cell.known_gap or GAPS.get(cell.name, ""))
