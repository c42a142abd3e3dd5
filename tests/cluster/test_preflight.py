"""Checks before a launch: which results prevent it, and which only inform."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from localcloud.scenarios.scenario import make_fault
from orchestrator.aws.launch.plan import LaunchPlan
from orchestrator.cluster import preflight
from orchestrator.core.errors import CloudRefused, NotReady, StratusError, UsageError
from tests.support.simulated_project import SimulatedProject

Simulate = Callable[..., SimulatedProject]


def plan(project: SimulatedProject, checks: Mapping[str, Callable[[], Any]] | None = None) -> LaunchPlan:
    return preflight.plan(project.session().context, 2, checks or {})


def failing(error: Exception) -> Callable[[], Any]:
    """Return a check that raises an error."""

    def check() -> None:
        raise error

    return check


def test_a_plan_has_the_price_quota_and_ssh_sources_and_changes_nothing(simulate: Simulate) -> None:
    project = simulate()
    launch_plan = plan(project)

    assert launch_plan.names == ("ml-0", "ml-1")
    assert launch_plan.ssh_sources == ("203.0.113.7/32",)
    assert launch_plan.usd_per_hour is not None
    assert launch_plan.quota is not None
    assert launch_plan.quota.needed == 2 * launch_plan.vcpus
    assert launch_plan.warnings == ()
    assert project.cloud.live_instances() == []


def test_the_text_that_a_job_check_returns_is_a_warning(simulate: Simulate) -> None:
    launch_plan = plan(simulate(), {"job": lambda: "the data was not checked", "data": lambda: None})

    assert launch_plan.warnings == ("the data was not checked",)
    assert not launch_plan.is_job_ready
    assert plan(simulate(), {"job": lambda: "", "data": lambda: "not checked"}).is_job_ready


@pytest.mark.parametrize(
    "error",
    [
        UsageError("no such folder"),
        CloudRefused("no such bucket", code="NoSuchBucket"),
        StratusError("not there", fix="create it"),
    ],
)
def test_an_error_that_the_user_can_fix_prevents_the_launch(simulate: Simulate, error: StratusError) -> None:
    with pytest.raises(type(error), match=error.message):
        plan(simulate(), {"job": failing(error)})


@pytest.mark.parametrize(
    "error", [CloudRefused("slow down", code="RequestLimitExceeded"), StratusError("no answer from a mirror")]
)
def test_an_error_that_may_pass_does_not(simulate: Simulate, error: StratusError) -> None:
    assert plan(simulate(), {"job": failing(error)}).count == 2


def test_all_problems_are_raised_together(simulate: Simulate) -> None:
    project = simulate(make_fault("denied", action="RunInstances"))
    with pytest.raises(NotReady) as caught:
        plan(project, {"job": failing(UsageError("no such folder", fix="create it"))})

    assert len(caught.value.problems) == 2
    assert project.cloud.live_instances() == []


def test_a_bug_in_a_check_is_raised_as_it_is(simulate: Simulate) -> None:
    with pytest.raises(ZeroDivisionError):
        plan(simulate(), {"job": failing(ZeroDivisionError()), "data": failing(UsageError("no such folder"))})


def test_a_quota_that_is_too_small_prevents_the_launch(simulate: Simulate) -> None:
    project = simulate(make_fault("quota", quota="L-1216C47A", vcpus=8))

    with pytest.raises(CloudRefused, match="quota too small"):
        plan(project)


def test_a_spot_quota_that_is_too_small_is_ignored_if_on_demand_instances_may_be_launched(simulate: Simulate) -> None:
    small = make_fault("quota", quota="L-34B43A08", vcpus=8)
    with pytest.raises(CloudRefused, match="quota too small"):
        plan(simulate(small, cluster="market = spot"))

    launch_plan = plan(simulate(small, cluster="market = spot\nspot_fallback = yes"))
    assert launch_plan.market == "spot"
