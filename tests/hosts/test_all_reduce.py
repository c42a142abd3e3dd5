"""Outcome of an all-reduce, from the output of its first host."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from orchestrator.cluster.machines.gpus import GpuReport
from orchestrator.core.errors import HostError, UsageError
from orchestrator.core.host import Host
from orchestrator.hosts import all_reduce
from orchestrator.hosts.all_reduce import AllReduce, Link, Reduction
from tests.support.interface.rendered import rendered
from tests.support.simulated_project import SimulatedProject, simulate

__all__ = ["simulate"]

NAMES = ["ml-0", "ml-1", "ml-2"]
GOOD = """stratus: 3 VMs connected in 0.3 s
@@no-nccl ml-2 torch is not installed
@@link ml-2 ml-0 2500000000 2.0
@@link ml-0 ml-1 1250000000 1.0
@@link ml-1 ml-2 1250000000 1.0
@@reduce TCP 1250000000 3 3.0 3
"""


def test_bandwidths_are_those_of_connections_and_of_the_bus() -> None:
    measured = all_reduce.parse(GOOD, NAMES)

    assert [link.gbit_per_s for link in measured.links] == [10.0, 10.0, 10.0]
    # Each sends two thirds of the data twice.
    assert measured.reductions == (Reduction("TCP", 1.25 * 8 * 4 / 3, 3, 3.0),)
    assert (measured.broken, measured.slow, measured.without_nccl) == ({}, (), {"ml-2": "torch is not installed"})


@pytest.mark.parametrize(
    ("speeds", "slow"),
    [
        ((10, 9, 5.1), ()),
        ((10, 4, 4), ("ml-2",)),  # both of its connections
        ((4, 10, 10), ("ml-0", "ml-1")),  # one connection has two ends
        ((1, 1, 1), ()),
    ],
)
def test_a_slow_host_is_one_without_a_fast_connection(speeds: Sequence[float], slow: Sequence[str]) -> None:
    lines = [
        f"@@link {source} {target} {gbit * 125e6} 1"
        for source, target, gbit in zip(NAMES, [*NAMES[1:], NAMES[0]], speeds, strict=True)
    ]

    assert all_reduce.parse("\n".join(lines), NAMES).slow == tuple(slow)


@pytest.mark.parametrize(
    ("line", "broken"),
    [
        (
            "stratus: continues without ml-2: [Errno 111] refused",
            {"ml-2": "[Errno 111] refused"},
        ),
        ("stratus: lost ml-1 (10.0.0.1): it was silent for 15 s", {"ml-1": "was silent for 15 s"}),
        ("@@broken ml-0 got wrong sums", {"ml-0": "got wrong sums"}),
        ("@@broken ml-1 \x1b]0;owned" + "x" * 999, {"ml-1": "?]0;owned" + "x" * 151}),
        ("@@broken ml-9 $(reboot)", {}),
        ("@@link ml-0 ml-9 1 1\n@@link ml-0 ml-1 nan 1e999\n@@reduce TCP x\n@@reduce SHM 1 1 1 1", {}),
    ],
)
def test_who_is_lost_is_named_and_a_forged_line_is_nothing(line: str, broken: dict[str, str]) -> None:
    assert all_reduce.parse(line, NAMES) == AllReduce(tuple(NAMES), broken=broken)


def test_a_host_that_does_not_take_part_is_named_and_the_others_are_measured(
    simulate: Callable[..., SimulatedProject],
) -> None:
    project = simulate()

    def stdout(host: Host, command: str) -> str:
        if "STRATUS_BUNDLE" in command or "all_reduce.sh agent ml-0" in command:
            raise HostError("no answer", where=host.name)
        return GOOD if "all_reduce.sh lead ml-1" in command else "@@no-driver\n" if "@@xid" in command else ""

    project.stdout = stdout
    session = project.session()
    session.cluster.launch(session.cluster.plan(3))
    report = session.cluster.check_gpus(all_reduce_s=4)

    assert report.all_reduce
    assert report.bad == ("ml-0",)
    assert rendered(report) == [
        "  ml-0  c7i.2xlarge  no NVIDIA GPU",
        "  ml-1  c7i.2xlarge  no NVIDIA GPU",
        "  ml-2  c7i.2xlarge  no NVIDIA GPU",
        "  all-reduce over 3 VMs with TCP: 13.3 Gbit/s bus bandwidth, 3 s",
        "    ml-2 -> ml-0  10 Gbit/s",
        "    ml-0 -> ml-1  10 Gbit/s",
        "    ml-1 -> ml-2  10 Gbit/s",
        "  ml-0: no answer",
        "  NCCL was not used: torch is not installed on ml-2. TCP says nothing on EFA or NVLink.",
    ]
    with pytest.raises(UsageError, match="an all-reduce needs 2 VMs or more"):
        session.cluster.check_gpus(["ml-1"], all_reduce_s=4)


def test_a_slow_connection_is_marked() -> None:
    links = (Link("ml-0", "ml-1", 1.0, True), Link("ml-1", "ml-0", 10.0))
    report = GpuReport((), {}, AllReduce(("ml-0", "ml-1"), links, slow=("ml-0", "ml-1")))
    assert rendered(report) == [
        "    ml-0 -> ml-1  1 Gbit/s   slow",
        "    ml-1 -> ml-0  10 Gbit/s",
        "  slow: ml-0 ml-1 (another connection is more than twice as fast)",
    ]
