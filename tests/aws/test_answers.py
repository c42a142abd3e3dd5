"""Answers of AWS that lack fields, or have other values in them: one error that names the field."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from localcloud.scenarios.scenario import Fault, Scenario, make_fault
from orchestrator.aws.answers import UnexpectedAnswer
from orchestrator.core.errors import StratusError
from tests.support.simulated_project import SimulatedProject, simulate

__all__ = ["simulate"]

Simulate = Callable[..., SimulatedProject]


def altered(action: str, field: str, value: str = "", when: str = "always") -> Fault:
    """Return the fault of an altered answer."""
    return make_fault("altered", action=action, field=field, value=value, when=when)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (altered("DescribeInstances", "instanceId"), "Reservations.Instances.InstanceId is missing"),
        (altered("DescribeInstances", "launchTime"), "Reservations.Instances.LaunchTime is missing"),
        (altered("DescribeInstances", "reservationSet"), "Reservations is missing"),
        (altered("DescribeInstances", "launchTime", "soon"), "cannot be parsed"),
        (altered("GetCallerIdentity", "Account"), "Account is missing"),
    ],
)
def test_a_field_that_is_missing_or_damaged_is_one_error(simulate: Simulate, fault: Fault, message: str) -> None:
    project = simulate()
    with project.session() as session:
        session.cluster.launch(session.cluster.plan(1))
    project.cloud.play(Scenario(7, (fault,)))

    # Another computer: this one knows who the caller is.
    with project.session("desktop") as session, pytest.raises(StratusError) as error:
        session.cluster.status()

    assert message in str(error.value)
    assert f"AWS's answer to {fault['action'][0]}" in str(error.value)


@pytest.mark.slow
@pytest.mark.parametrize("field", ["amiLaunchIndex", "instancesSet", "instanceState", "launchTime"])
def test_instances_of_an_unusable_answer_to_a_launch_are_found_by_its_token(simulate: Simulate, field: str) -> None:
    project = simulate(altered("RunInstances", field))
    with project.session() as session:
        session.cluster.launch(session.cluster.plan(2))

    assert project.our_states == ["running", "running"]


def test_null_is_no_value_and_an_empty_list_has_no_first_item(simulate: Simulate) -> None:
    project = simulate(altered("GetServiceQuota", "Value", "null"), altered("DescribeInstanceTypes", "item"))
    with project.session() as session, pytest.raises(UnexpectedAnswer, match=r"InstanceTypes is (missing|empty)"):
        session.cluster.plan(1)


def test_a_field_of_another_type_matters_only_where_it_is_read(simulate: Simulate) -> None:
    """A service may change fields that Stratus does not use."""
    project = simulate(altered("DescribeInstances", "monitoring", "on"))
    with project.session() as session:
        session.cluster.launch(session.cluster.plan(1))
        names = [instance.name for instance in session.cluster.status().instances]

    assert names == ["ml-0"]
