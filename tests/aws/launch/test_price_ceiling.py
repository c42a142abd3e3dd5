"""Ceilings on the price of a VM: nothing above them is launched, however a launch comes to it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from localcloud.scenarios.scenario import make_fault
from orchestrator.core.errors import StratusError, UsageError
from tests.support.simulated_project import SimulatedProject, simulate

__all__ = ["simulate"]

Simulate = Callable[..., SimulatedProject]


def with_ceiling(project: SimulatedProject, text: str) -> SimulatedProject:
    project.config += f"[vms]\n{text}\n"
    return project


def test_a_type_above_the_ceiling_is_refused_before_the_launch(simulate: Simulate) -> None:
    project = with_ceiling(simulate(cluster="instance_type = g5.xlarge"), "max_price = 1")

    with pytest.raises(UsageError, match=r"g5.xlarge costs \$1.006/h, \[vms\] max_price = 1.0"):
        project.session().cluster.plan(1)
    assert project.count_calls("RunInstances") == 0


def test_a_fallback_above_the_ceiling_is_left_out_and_named(simulate: Simulate) -> None:
    project = with_ceiling(simulate(cluster="fallback_instance_types = g5.xlarge, m7i.2xlarge"), "max_price = 0.5")
    plan = project.session().cluster.plan(1)

    assert {pool.type_info.name for pool in plan.pools} == {"c7i.2xlarge", "m7i.2xlarge"}
    assert plan.warnings[0] == "not launched: g5.xlarge costs $1.006/h, [vms] max_price = 0.5"


def test_spot_does_not_fall_back_to_on_demand_above_its_ceiling(simulate: Simulate) -> None:
    full = make_fault("no-capacity", where="spot")
    cluster = "market = spot\nspot_fallback = yes\ninstance_type = g5.xlarge"
    project = with_ceiling(simulate(full, cluster=cluster), "max_price = 1\nmax_spot_price = 0.9")
    session = project.session()
    plan = session.cluster.plan(1)

    assert {pool.market for pool in plan.pools} == {"spot"}
    assert str(plan.usd_per_hour_each) == "0.9"
    with pytest.raises(StratusError):
        session.cluster.launch(plan)
    assert project.our_states == []


def test_the_ceiling_of_spot_is_sent_to_ec2(simulate: Simulate) -> None:
    project = with_ceiling(simulate(cluster="market = spot"), "max_spot_price = 0.3")
    session = project.session()
    session.cluster.launch(session.cluster.plan(1))

    assert session.cluster.plan(1).max_spot_price == "0.3"
    assert project.our_states == ["running"]


def test_a_spot_price_above_its_ceiling_is_refused_before_the_launch(simulate: Simulate) -> None:
    project = with_ceiling(simulate(cluster="market = spot"), "max_spot_price = 0.01")

    with pytest.raises(UsageError, match=r"c7i.2xlarge \(spot, us-west-2a\) costs"):
        project.session().cluster.plan(1)
