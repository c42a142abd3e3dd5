"""Replacement of failed instances: which errors justify one, and that there is one at most."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from localcloud.core.clock import VirtualClock
from localcloud.ec2.environment import StateDurations
from localcloud.scenarios.scenario import make_fault
from localcloud.simulation.cloud import InMemoryCloud
from orchestrator.aws.ec2.instances import Instance
from orchestrator.aws.launch.plan import LaunchPlan
from orchestrator.cluster.meter import Meter
from orchestrator.cluster.replacement import CONSOLE_LINES, Replacer, why_not_replaceable
from orchestrator.core.errors import ConnectError, HostError, LeftRunning, StratusError, first_line
from tests.support.aws.values import instance
from tests.support.simulated_project import OWNER, SimulatedProject

Simulate = Callable[..., SimulatedProject]

SILENT = ConnectError("silent", "ssh: no banner", where="ml-1")


@pytest.mark.parametrize(
    ("error", "others_ready", "obstacle"),
    [
        (SILENT, False, ""),
        (HostError("still pending after 300 s", where="ml-1"), False, ""),
        (ConnectError("dropped", "ssh: no answer"), True, ""),
        (ConnectError("dropped", "ssh: no answer"), False, "points to the network in between"),
        (ConnectError("no-route", "ssh: no route"), False, "points to the network in between"),
        (ConnectError("auth", "ssh: denied"), True, "would fail in the same way"),
        (ConnectError("host-key", "ssh: another key"), True, "would fail in the same way"),
        (ConnectError("key-file", "ssh: cannot read the key"), True, "would fail in the same way"),
    ],
)
def test_an_error_justifies_a_replacement_unless_another_instance_would_fail_too(
    error: Exception, others_ready: bool, obstacle: str
) -> None:
    answer = why_not_replaceable(error, instance(1), others_ready=others_ready)

    assert obstacle in answer
    assert bool(answer) == bool(obstacle)


@pytest.mark.parametrize(
    ("reason", "obstacle"),
    [
        ("Client.UserInitiatedShutdown: User initiated shutdown", "terminated on request"),
        ("User initiated (2026-11-20 14:12:07 GMT)", "terminated on request"),
        ("Server.SpotInstanceTermination: reclaimed", ""),
        ("Server.InternalError: Internal error on launch", ""),
    ],
)
def test_an_instance_terminated_on_request_is_not_replaced(reason: str, obstacle: str) -> None:
    dead = replace(instance(1), state="terminated", reason=reason)
    answer = why_not_replaceable(SILENT, dead, others_ready=False)

    assert obstacle in answer
    assert bool(answer) == bool(obstacle)


def launched(project: SimulatedProject, launch_one: Callable[[LaunchPlan], Instance]) -> Replacer:
    """Launch two instances and return what replaces them."""
    session = project.session()
    plan = session.cluster.plan(2)
    session.cluster.launch(plan)
    instances = {described.name: described for described in session.inventory.instances()}
    return Replacer(session.context, plan, instances, launch_one)


def test_a_failed_instance_is_terminated_before_its_replacement_is_launched_and_only_once(simulate: Simulate) -> None:
    project = simulate()
    alive: list[int] = []

    def launch_one(plan: LaunchPlan) -> Instance:
        alive.append(len(project.our_states))
        return replace(replacer.instances["ml-0"], name=plan.names[0])

    replacer = launched(project, launch_one)
    failed = replacer.instances["ml-1"]
    replacement = replacer.replace("ml-1", SILENT, others_ready=True)

    assert alive == [1]
    assert replacement is not None
    steps = [(event.host, event.state, event.text) for event in project.events if event.phase == "replace"]
    assert steps == [
        ("ml-1", "start", first_line(SILENT)),
        ("ml-1", "done", f"{replacement.id} replaces {failed.id}"),
    ]
    assert replacer.instances["ml-1"] is replacement
    assert replacer.replace("ml-1", SILENT, others_ready=True) is None
    assert (alive, project.our_states) == ([1], ["running"])
    assert project.cloud.max_live_instances(OWNER) == 2


def test_a_failed_replacement_is_reported_and_an_unknown_one_is_raised(simulate: Simulate) -> None:
    project = simulate()
    errors = [StratusError("no capacity"), LeftRunning("unknown", left=["ml-1"])]

    def launch_one(_: LaunchPlan) -> Instance:
        raise errors.pop(0)

    replacer = launched(project, launch_one)

    assert replacer.replace("ml-0", SILENT, others_ready=True) is None
    assert "not replaced: no capacity" in project.warnings
    with pytest.raises(LeftRunning):
        replacer.replace("ml-1", SILENT, others_ready=True)


def test_nothing_is_replaced_after_a_stop(simulate: Simulate) -> None:
    project = simulate()
    replacer = launched(project, lambda plan: pytest.fail("nothing may be launched"))
    replacer.stop()

    assert replacer.replace("ml-1", SILENT, others_ready=True) is None
    assert len(project.our_states) == 2


def test_the_end_of_the_console_output_of_a_running_instance_is_reported(simulate: Simulate) -> None:
    project = simulate(make_fault("boot-hangs", where="host 1", times=1))
    session = project.session()
    session.cluster.launch(session.cluster.plan(2))

    lines = [event.text for event in project.events if event.phase == "console"]
    assert len(lines) == CONSOLE_LINES == 3
    assert lines[0].startswith("ml-1: [    1.398215] VFS: Cannot open root device")
    assert lines[-1].endswith("]---")
    # The console may be denied: the replacement does not depend on it.
    denied = simulate(
        make_fault("boot-hangs", where="host 1", times=1), make_fault("denied", action="GetConsoleOutput")
    )
    session = denied.session()
    report = session.cluster.launch(session.cluster.plan(2))
    assert [event for event in denied.events if event.phase == "console"] == []
    assert len(report.ready) == 2


def test_what_the_failed_instance_cost_is_in_the_plan_and_after_a_failure_in_the_journal(simulate: Simulate) -> None:
    project = simulate(cluster="max_hours = 700")
    plans: list[LaunchPlan] = []

    def launch_one(plan: LaunchPlan) -> Instance:
        plans.append(plan)
        raise StratusError("no capacity")

    replacer = launched(project, launch_one)
    failed, log = replacer.instances["ml-0"], replacer.context.launch_log
    project.cloud.clock.sleep(3600)
    replacer.replace("ml-0", SILENT, others_ready=True)

    (plan,) = plans
    hourly = Meter(replacer.context).usd_per_hour(failed)
    assert hourly is not None
    assert plan.names == ("ml-0",)
    assert plan.replaced.exact is not None
    assert hourly < plan.replaced.exact < hourly * Decimal("1.1")
    assert {key: ended.cost for key, ended in log.ended().items()} == {failed.id: plan.replaced}


def test_an_instance_terminated_outside_stratus_is_neither_terminated_nor_replaced(simulate: Simulate) -> None:
    project = simulate()
    replacer = launched(project, lambda plan: pytest.fail("nothing may be launched"))
    gone = replacer.instances["ml-1"]
    project.cloud.session().client("ec2").terminate_instances(InstanceIds=[gone.id])
    before = project.count_calls("TerminateInstances")

    assert replacer.replace("ml-1", SILENT, others_ready=True) is None
    assert project.count_calls("TerminateInstances") == before
    assert "not replaced: it was terminated on request" in project.warnings


def test_an_instance_that_cannot_be_terminated_is_not_replaced(simulate: Simulate) -> None:
    project = simulate(make_fault("protected", where="host 1"))
    replacer = launched(project, lambda plan: pytest.fail("nothing may be launched"))

    assert replacer.replace("ml-1", SILENT, others_ready=True) is None
    (warning,) = [text for text in project.warnings if text.startswith("not replaced: ")]
    assert "protected" in warning
    assert "\n" not in warning


def test_a_replacement_is_given_up_if_the_failed_instance_does_not_terminate_in_three_minutes(tmp_path: Path) -> None:
    durations = replace(StateDurations.real(), shutting_down_s=240.0)
    with InMemoryCloud(7, clock=VirtualClock(), durations=durations) as cloud:
        replacer = launched(SimulatedProject(cloud, tmp_path), lambda plan: pytest.fail("nothing may be launched"))

        with pytest.raises(LeftRunning, match="1 VMs are not terminated after 180 s"):
            replacer.replace("ml-1", SILENT, others_ready=True)


def test_the_console_of_an_instance_that_has_ended_is_not_read(simulate: Simulate) -> None:
    project = simulate(make_fault("dies", where="host 0", when="19 s after launch"))
    session = project.session()
    session.cluster.launch(session.cluster.plan(2))

    assert any("replaces" in text for text in project.warnings)
    assert project.count_calls("GetConsoleOutput") == 0
