"""Waiters over a scripted EC2 and a simulated clock."""

from __future__ import annotations

import pytest

from orchestrator.aws.ec2 import waiters
from orchestrator.aws.ec2.instances import Instance
from orchestrator.core.errors import HostsFailed, LeftRunning
from tests.support.aws.values import instance
from tests.support.aws.wire import Time, Wire, clients, described


def gone(states: list[dict[str, str]], instances: list[Instance], time: Time) -> list[str]:
    left = list(states)
    wire = Wire(lambda _: described(left.pop(0) if len(left) > 1 else left[0]))
    found = waiters.wait_terminated(clients(wire, time), instances, deadline_s=30)
    return [each.id for each in found]


def test_instances_are_terminated_when_shown_so_or_removed() -> None:
    one, two, old = instance(1), instance(2), instance(3)
    states = [{one.id: "shutting-down", two.id: "shutting-down"}, {one.id: "terminated", two.id: "shutting-down"}, {}]

    assert gone(states, [one, two, old], Time()) == [old.id, one.id, two.id]


def test_a_recent_instance_that_is_not_shown_is_not_taken_for_removed() -> None:
    young = instance(1, age_s=2)

    assert gone([{}, {}, {young.id: "shutting-down"}, {young.id: "terminated"}], [young], Time()) == [young.id]


def test_instances_that_are_not_terminated_are_listed_at_the_deadline() -> None:
    time = Time()

    with pytest.raises(LeftRunning, match=rf"ml-1.*{instance(1).id}.*shutting-down|1 VMs are not terminated") as caught:
        gone([{instance(1).id: "shutting-down"}], [instance(1)], time)
    assert time.seconds == 30
    assert instance(1).id in str(caught.value)


def watched(states: list[dict[str, str]], ids: list[str], time: Time, until: str = "running") -> list[str]:
    left = list(states)
    wire = Wire(lambda _: described(left.pop(0) if len(left) > 1 else left[0]))
    seen: list[str] = []
    try:
        for each in waiters.wait_for_state(clients(wire, time), ids, state=until, deadline_s=60):
            seen.append(each.id)
    except HostsFailed as failure:
        seen += [f"{name}: {error}" for name, error in failure.errors.items()]
    return seen


def test_every_instance_is_yielded_once_as_it_reaches_the_state() -> None:
    states = [{}, {"i-1": "pending"}, {"i-1": "running", "i-2": "pending"}, {"i-2": "running"}]
    time = Time()

    assert watched(states, ["i-1", "i-2"], time) == ["i-1", "i-2"]
    assert time.seconds == pytest.approx(0.5 + 0.75 + 1.125)


def test_a_terminated_instance_is_reported_after_the_others_are_running() -> None:
    states = [{"i-1": "terminated", "i-2": "pending"}, {"i-2": "running"}]

    assert watched(states, ["i-1", "i-2"], Time()) == ["i-2", "i-1: i-1: is terminated instead"]


def test_the_error_tells_slow_instances_from_those_never_shown() -> None:
    time = Time()
    first, second = watched([{"i-1": "pending"}], ["i-1", "i-2"], time)

    assert "still pending after 60 s, not running" in first
    assert "EC2 has not shown it for 60 s" in second
    assert time.seconds == 60


def test_an_instance_that_was_just_started_may_be_shown_as_stopped() -> None:
    states = [{"i-1": "stopped"}, {"i-1": "pending"}, {"i-1": "running"}]

    assert watched(states, ["i-1"], Time()) == ["i-1"]
    assert "stopped instead" in watched([{"i-1": "pending"}, {"i-1": "stopped"}], ["i-1"], Time())[0]


def test_a_poll_of_100_instances_is_one_call_and_of_1000_five() -> None:
    for count, calls in ((100, 1), (1000, 5)):
        wire = Wire(
            lambda request: described(
                {value: "running" for key, value in request.arguments.items() if value.startswith("i-")}
            )
        )
        ids = [f"i-{number:017x}" for number in range(count)]

        assert len(list(waiters.wait_for_state(clients(wire), ids))) == count
        assert len(wire.requests) == calls
