"""Durations that a cluster keeps for the records of its runs."""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.cluster.launcher import LaunchReport
from orchestrator.cluster.readiness import HostStartup
from orchestrator.cluster.timings import PhaseTimings
from tests.support.simulated_project import SimulatedProject


def test_a_launch_counts_by_its_slowest_host_and_installs_add_up(
    simulate: Callable[..., SimulatedProject],
) -> None:
    timings = PhaseTimings(simulate().session().context)
    startups = (HostStartup("ml-0", "a", 2.0, 30.0, 0.2), HostStartup("ml-1", "a", 3.0, 20.0, 0.1))
    assert timings.read() == {}
    timings.record_install(4.0)
    timings.record_launch(LaunchReport("l", 0.5, startups, {}, 34.0))
    timings.record_install(5.0)
    timings.record_install(1.5)

    assert timings.read() == {"api": 0.5, "pending": 3.0, "boot": 30.0, "ssh": 0.2, "launch": 34.0, "install": 6.5}
