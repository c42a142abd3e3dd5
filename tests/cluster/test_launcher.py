"""Durations that a cluster keeps for the records of its runs."""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.cluster.launcher import LaunchReport, PhaseTimings
from orchestrator.cluster.readiness import HostStartup
from orchestrator.core import json_file
from tests.support.simulated_project import SimulatedProject


def test_a_launch_counts_by_its_slowest_host_and_installs_add_up(
    simulate: Callable[..., SimulatedProject],
) -> None:
    timings = PhaseTimings(simulate().session().context)
    startups = (HostStartup("ml-0", "a", 2.0, 30.0, 0.2), HostStartup("ml-1", "a", 3.0, 20.0, 0.1))
    assert timings.read("mine") == {}
    timings.record_install("mine", 4.0)
    timings.record_launch(LaunchReport("l", 0.5, startups, {}, 34.0))
    timings.record_install("mine", 5.0)
    timings.record_install("mine", 1.5)
    timings.record_install("other", 90.0)

    launch = {"api": 0.5, "pending": 3.0, "boot": 30.0, "ssh": 0.2, "launch": 32.7}
    assert timings.read("mine") == launch | {"install": 6.5}
    assert timings.read("third") == launch


def test_an_install_that_follows_on_each_host_is_not_part_of_the_launch(
    simulate: Callable[..., SimulatedProject],
) -> None:
    timings = PhaseTimings(simulate().session().context)
    timings.record_launch(LaunchReport("l", 0.5, (HostStartup("ml-0", "a", 2.0, 30.0, 0.2),), {}, 300.0))

    assert timings.read("mine")["launch"] == 32.7


def test_a_file_of_an_earlier_version_is_read_without_its_sum_over_all_jobs(
    simulate: Callable[..., SimulatedProject],
) -> None:
    context = simulate().session().context
    json_file.save(context.folder, "timings.json", {"launch": 30.0, "install": 95.0})

    assert PhaseTimings(context).read("mine") == {"launch": 30.0}


def test_a_disk_that_takes_no_more_fails_no_launch(simulate: Callable[..., SimulatedProject]) -> None:
    context = simulate().session().context
    context.home.write_text("not a folder")

    PhaseTimings(context).record_install("mine", 4.0)

    assert PhaseTimings(context).read("mine") == {}
