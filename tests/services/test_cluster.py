"""Use cases on a cluster, as far as they add to the components they call."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from localcloud.scenarios.scenario import make_fault
from orchestrator.core.next_step import advice_of
from orchestrator.services.cluster import HOST_NAMES_TTL_S
from tests.support.simulated_project import SimulatedProject, simulate

__all__ = ["simulate"]

Simulate = Callable[..., SimulatedProject]


def test_host_names_are_looked_up_once_in_half_a_minute(simulate: Simulate) -> None:
    project = simulate()
    session = project.session()
    session.cluster.launch(session.cluster.plan(2))
    before = project.count_calls("DescribeInstances")

    for _ in range(5):
        assert session.cluster.host_names() == ["ml-0", "ml-1"]
    assert project.count_calls("DescribeInstances") == before + 1
    project.cloud.clock.sleep(HOST_NAMES_TTL_S + 1)
    session.cluster.host_names()
    assert project.count_calls("DescribeInstances") == before + 2


def test_an_interrupted_plan_says_that_nothing_was_launched(simulate: Simulate) -> None:
    project = simulate()

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    project.cloud.on_call_boundary = interrupt
    with pytest.raises(KeyboardInterrupt) as caught:
        project.session().cluster.plan(2)
    assert advice_of(caught.value) == ["Nothing was launched."]


def test_a_launch_is_recorded_with_its_timings(simulate: Simulate) -> None:
    session = simulate().session()
    report = session.cluster.launch(session.cluster.plan(1))

    assert session.cluster.timings.read()["launch"] == report.seconds


def test_terminated_instances_are_removed_from_the_known_hosts(simulate: Simulate) -> None:
    session = simulate().session()
    session.cluster.launch(session.cluster.plan(1))
    (instance,) = session.inventory.instances()
    session.context.known_hosts.add(instance.id, "ssh-ed25519 AAAA")
    session.cluster.terminate()

    assert session.context.known_hosts.get(instance.id) == ""


def test_an_experiment_that_fails_terminates_and_adds_what_remains_to_its_error(simulate: Simulate) -> None:
    project = simulate(make_fault("protected", where="host 1"))
    session = project.session()
    session.cluster.launch(session.cluster.plan(2))

    def interrupt_once(*_: object) -> None:
        project.cloud.on_call_boundary = lambda *_: None
        raise KeyboardInterrupt

    project.cloud.on_call_boundary = interrupt_once
    with pytest.raises(KeyboardInterrupt) as caught:
        session.experiment(multi=False, count=1)

    assert len(project.our_states) == 1
    (remaining,) = [str(line) for line in advice_of(caught.value) if str(line).startswith("left: ")]
    assert "ml-1" in remaining
