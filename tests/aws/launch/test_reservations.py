"""Capacity reservations: checked before a launch, waited for, used, and never left by a launch on its own."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from orchestrator.core.errors import StratusError, UsageError
from tests.support.simulated_project import SimulatedProject, simulate

__all__ = ["simulate"]

Simulate = Callable[..., SimulatedProject]


def reserve(project: SimulatedProject, **changes: Any) -> str:
    """Reserve capacity in the account, and name it in the project's config file."""
    ec2 = project.cloud.session().client("ec2")
    reservation = {"InstanceType": "c7i.2xlarge", "InstanceCount": 2, "AvailabilityZone": "us-west-2b"}
    answer = ec2.create_capacity_reservation(InstancePlatform="Linux/UNIX", **{**reservation, **changes})
    found: str = answer["CapacityReservation"]["CapacityReservationId"]
    project.config += f"[vms]\ncapacity_reservation = {found}\n"
    return found


def test_a_launch_takes_the_reserved_capacity_in_its_zone_and_no_other(simulate: Simulate) -> None:
    project = simulate(cluster="fallback_instance_types = m7i.2xlarge")
    reserved = reserve(project)
    session = project.session()
    plan = session.cluster.plan(2)

    assert {(pool.type_info.name, pool.subnet.zone) for pool in plan.pools} == {("c7i.2xlarge", "us-west-2b")}
    session.cluster.launch(plan)
    (shown,) = session.context.clients.ec2.describe_capacity_reservations()["CapacityReservations"]
    assert (shown["CapacityReservationId"], shown["AvailableInstanceCount"]) == (reserved, 0)
    with pytest.raises(UsageError, match="has room for 0 VMs of 2, not for 1"):
        session.cluster.plan(1)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"InstanceType": "m7i.2xlarge"}, "is for m7i.2xlarge, and .* is c7i.2xlarge"),
        ({"InstanceCount": 1}, "has room for 1 VMs of 1, not for 2"),
        ({"AvailabilityZone": "us-west-2d"}, "is in us-west-2d, where no subnet"),
    ],
)
def test_a_reservation_that_does_not_fit_is_refused_before_the_launch(
    simulate: Simulate, changes: dict[str, Any], problem: str
) -> None:
    project = simulate()
    reserve(project, **changes)

    with pytest.raises(UsageError, match=problem):
        project.session().cluster.plan(2)


def test_a_reservation_that_does_not_exist_or_has_ended_is_refused(simulate: Simulate) -> None:
    project = simulate()
    reserved = reserve(project)
    project.cloud.session().client("ec2").cancel_capacity_reservation(CapacityReservationId=reserved)
    with pytest.raises(UsageError, match=f"{reserved} is cancelled"):
        project.session().cluster.plan(1)
    project.config = project.config.replace(reserved, "cr-0123456789abcdef0")
    with pytest.raises(UsageError, match="there is no capacity reservation cr-0123456789abcdef0 in us-west-2"):
        project.session().cluster.plan(1)


def test_a_launch_waits_for_the_start_and_counts_down(simulate: Simulate) -> None:
    project = simulate()
    start = project.clock.now() + timedelta(hours=2)
    reserve(project, StartDate=start)
    session = project.session()
    session.cluster.launch(session.cluster.plan(2))

    assert project.our_states == ["running", "running"]
    assert project.clock.now() >= start
    texts = [event.text for event in project.events if "starts in" in event.text]
    assert texts[0].endswith("starts in 1 h 59 min")


def test_a_start_that_is_too_late_is_refused_at_once(simulate: Simulate) -> None:
    project = simulate()
    reserve(project, StartDate=project.clock.now() + timedelta(hours=30))

    with pytest.raises(UsageError, match=r"later than \[vms\] reservation_wait_hours = 24"):
        project.session().cluster.plan(1)


def test_a_reservation_that_is_taken_meanwhile_is_not_left_for_other_capacity(simulate: Simulate) -> None:
    project = simulate()
    reserved = reserve(project)
    session = project.session()
    plan = session.cluster.plan(2)
    session.cluster.launch(session.cluster.plan(1))

    with pytest.raises(StratusError, match=f"{reserved} does not have sufficient capacity"):
        session.cluster.launch(plan)
    assert project.our_states == ["running"]
