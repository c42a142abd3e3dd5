"""Cells for instances that die, hang or cannot be reached."""

from __future__ import annotations

from collections.abc import Iterator

from tests.chaos.fault_matrix.cell import Cell
from tests.chaos.fault_matrix.cells.common import LAUNCH


def _dies_pending() -> Iterator[Cell]:
    """F30: an instance that dies while pending is replaced once."""
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
        "all die, replacements too",
        LAUNCH,
        "F",
        1,
        ("Server.InternalError", "did not come up"),
        (all_die,),
        instances=0,
        next_command="terminate",
    )


def _never_boots() -> Iterator[Cell]:
    """F31: an instance that does not boot is replaced once its status checks have failed for three minutes."""
    impaired = {"kind": "impaired", "where": "host 0", "when": "3 s after launch"}
    yield Cell("F31", "impaired from the start", LAUNCH, "W", 0, ("2 of 2 ready",), (impaired,), instances=2)
    hangs = {"kind": "boot-hangs", "where": "host 0"}
    output = ("ml-0 boot failed", "status checks have failed for 18", "console ml-0: [", "Kernel panic", "2 of 2 ready")
    for check in ("instance", "system"):
        yield Cell(
            "F31",
            f"never boots, {check} check impaired",
            LAUNCH,
            "F",
            0,
            output,
            (hangs, {**impaired, "check": check}),
            instances=2,
            launch_requests=2,
            max_s=300.0,
            next_command="terminate",
        )
    hang = {"kind": "boot-hangs"}
    yield Cell(
        "F31",
        "neither it nor its replacement boots",
        "launch -n 1 --yes",
        "F",
        1,
        ("status checks have failed", "Kernel panic", "did not come up", "stratus status", "stratus terminate"),
        (hang, {"kind": "impaired", "when": "3 s after launch"}),
        instances=1,
        launch_requests=2,
        next_command="terminate",
    )


def _unreachable() -> Iterator[Cell]:
    """F33: a host that SSH does not reach is replaced once."""
    for kind in ("dropped", "refused", "silent"):
        # Not the first host: as long as no host has answered, the network is to blame, and nothing is replaced.
        fault = {"kind": f"ssh-{kind}", "where": "host 1"}
        yield Cell("F33", f"{kind}: replaced once", LAUNCH, "F", 0, (kind, "2 of 2 ready"), (fault,), instances=2)
        every_host = {"kind": f"ssh-{kind}"}
        yield Cell(
            "F33",
            f"{kind}: all of them",
            LAUNCH,
            "F",
            1,
            (kind, "did not come up"),
            (every_host,),
            next_command="terminate",
        )
    dead = {"kind": "dies", "where": "host 1", "when": "19 s after launch"}
    yield Cell(
        "F33", "dies before SSH is up", LAUNCH, "F", 0, ("Server.InternalError", "2 of 2 ready"), (dead,), instances=2
    )


def cells() -> Iterator[Cell]:
    """Yield the cells."""
    yield from _dies_pending()
    yield from _never_boots()
    yield from _unreachable()
