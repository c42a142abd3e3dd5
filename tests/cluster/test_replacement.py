"""Replacement of failed instances: which errors justify one, and that there is one at most."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from orchestrator.aws.ec2.instances import Instance
from orchestrator.aws.launch.plan import LaunchPlan
from orchestrator.cluster.replacement import Replacer, why_not_replaceable
from orchestrator.core.errors import ConnectError, HostError, LeftRunning, StratusError
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
        return replace(instance(9), name=plan.names[0])

    replacer = launched(project, launch_one)
    replacement = replacer.replace("ml-1", SILENT, others_ready=True)

    assert alive == [1]
    assert replacement is not None
    assert replacer.instances["ml-1"] is replacement
    assert replacer.replace("ml-1", SILENT, others_ready=True) is None
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
