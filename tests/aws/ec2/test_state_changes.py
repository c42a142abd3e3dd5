"""Ending machines: each gets its own outcome, one that cannot be ended keeps no other alive, foreign ones are left."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.aws.ec2 import instances, state_changes, waiters
from orchestrator.core.errors import CloudRefused, HostsFailed, LeftRunning
from tests.aws.launch.test_planner import MINE
from tests.support.aws_wire import Request, Time, Wire, clients, refusal

NOW = datetime(2026, 11, 20, 14, 12, 7, tzinfo=UTC)


def machine(number: int, *, owner: str = MINE.owner, age_s: float = 3600) -> instances.Instance:
    return instances.Instance(
        id=f"i-{number:017x}",
        name=f"ml-{number}",
        cluster="ml",
        launch_id="r",
        owner=owner,
        type="c7i.2xlarge",
        state="running",
        reason="",
        zone="us-west-2a",
        public_address="",
        private_address="",
        host_key="",
        key_name="",
        launched_at=NOW - timedelta(seconds=age_s),
        expires_at=None,
        max_hours=8.0,
        image_id="ami-1",
        group_ids=(),
    )


def changed(ids: Iterable[str], state: str, action: str = "TerminateInstances") -> tuple[int, str]:
    items = "".join(
        f"<item><instanceId>{each}</instanceId><currentState><code>32</code><name>{state}</name></currentState></item>"
        for each in ids
    )
    return 200, f"<{action}Response><instancesSet>{items}</instancesSet></{action}Response>"


def shown(states: dict[str, str]) -> tuple[int, str]:
    items = "".join(
        f"<item><instanceId>{each}</instanceId><instanceType>c7i.2xlarge</instanceType><instanceState><code>0</code>"
        f"<name>{state}</name></instanceState><launchTime>2026-11-20T14:12:07.000Z</launchTime><placement/></item>"
        for each, state in states.items()
    )
    reservations = f"<item><instancesSet>{items}</instancesSet></item>" if items else ""
    return (
        200,
        f"<DescribeInstancesResponse><reservationSet>{reservations}</reservationSet></DescribeInstancesResponse>",
    )


class Cloud:
    """Answers as EC2 does: one bad id fails the whole call, and the message names some of the bad ones."""

    def __init__(self, *, missing: Iterable[str] = (), protected: Iterable[str] = (), mute: bool = False) -> None:
        self.missing, self.protected, self.mute = set(missing), set(protected), mute

    def __call__(self, request: Request) -> tuple[int, str]:
        if gone := sorted(self.missing & set(request.ids)):
            return refusal("InvalidInstanceID.NotFound", f"The instance IDs '{', '.join(gone)}' do not exist")
        if held := sorted(self.protected & set(request.ids)):
            which = "An instance" if self.mute else f"The instance '{held[0]}'"
            return refusal(
                "OperationNotPermitted", f"{which} may not be terminated. Modify its 'disableApiTermination'"
            )
        return changed(request.ids, "shutting-down")


def ended(
    cloud: Cloud, instances: list[instances.Instance], time: Time | None = None
) -> tuple[dict[str, state_changes.StateChange], Wire]:
    wire = Wire(cloud)
    return state_changes.terminate(clients(wire, time), instances, cluster_id=MINE), wire


def test_all_machines_end_in_one_call() -> None:
    machines = [machine(number) for number in range(100)]
    outcomes, wire = ended(Cloud(), machines)

    assert {each.state for each in outcomes.values()} == {"shutting-down"}
    assert all(each.is_ok for each in outcomes.values())
    assert (len(outcomes), len(wire.requests)) == (100, 1)


def test_machines_that_are_gone_are_dropped_and_the_others_end() -> None:
    machines = [machine(number) for number in range(4)]
    outcomes, wire = ended(Cloud(missing=[machines[1].id, machines[3].id]), machines)

    assert [outcomes[each.id].state for each in machines] == ["shutting-down", "gone", "shutting-down", "gone"]
    assert all(each.is_ok for each in outcomes.values())
    assert len(wire.requests) == 2


@pytest.mark.parametrize("mute", [False, True])
def test_a_protected_machine_is_named_with_the_way_to_lift_it_and_the_others_end(mute: bool) -> None:
    machines = [machine(number) for number in range(5)]
    outcomes, _ = ended(Cloud(protected=[machines[2].id, machines[4].id], mute=mute), machines)

    assert [each.name for each in outcomes.values() if not each.is_ok] == ["ml-2", "ml-4"]
    assert [outcomes[machines[number].id].state for number in (0, 1, 3)] == ["shutting-down"] * 3
    assert "protected" in outcomes[machines[2].id].error
    assert f"--instance-id {'ID' if mute else machines[2].id}" in outcomes[machines[2].id].error


def test_a_machine_of_the_last_minutes_that_ec2_does_not_show_yet_is_asked_for_again() -> None:
    time = Time()
    cloud = Cloud(missing=[machine(1).id])

    def appears(request: Request) -> tuple[int, str]:
        cloud.missing = set() if time.seconds > 10 else cloud.missing
        return cloud(request)

    wire = Wire(appears)
    outcomes = state_changes.terminate(clients(wire, time), [machine(0), machine(1, age_s=2)], cluster_id=MINE)

    assert [each.state for each in outcomes.values()] == ["shutting-down", "shutting-down"]
    assert time.seconds > 10


def test_a_young_machine_that_never_shows_is_never_called_gone() -> None:
    time = Time()
    outcomes, _ = ended(Cloud(missing=[machine(1).id]), [machine(1, age_s=2)], time)

    assert outcomes[machine(1).id].state == "unknown"
    assert "may still run" in outcomes[machine(1).id].error
    assert time.seconds == 60


def test_foreign_machines_are_never_in_a_call() -> None:
    foreign = [machine(1, owner="eve"), replace(machine(2), cluster="other")]
    outcomes, wire = ended(Cloud(), [machine(0), *foreign])

    assert [request.ids for request in wire.requests] == [[machine(0).id]]
    assert [outcomes[each.id].is_ok for each in foreign] == [False, False]
    assert "not touched" in outcomes[foreign[0].id].error


def test_nothing_to_end_asks_for_nothing() -> None:
    assert ended(Cloud(), [machine(1, owner="eve")])[1].requests == []
    assert ended(Cloud(), [])[0] == {}


def test_a_refusal_that_is_about_no_machine_is_raised() -> None:
    wire = Wire(lambda _: refusal("ExpiredToken", "The security token included in the request is expired"))

    with pytest.raises(CloudRefused, match="terminating VMs: the session has expired"):
        state_changes.terminate(clients(wire), [machine(0)], cluster_id=MINE)


def test_a_machine_in_the_wrong_state_to_start_is_named() -> None:
    def answer(request: Request) -> tuple[int, str]:
        if request.action == "StartInstances" and machine(1).id in request.ids:
            return refusal(
                "IncorrectInstanceState",
                f"The instance '{machine(1).id}' is not in a state from which it can be started.",
            )
        return changed(request.ids, "pending", request.action)

    wire = Wire(answer)
    outcomes = state_changes.start(clients(wire), [machine(0), machine(1)], cluster_id=MINE)

    assert [outcomes[machine(number).id].state for number in (0, 1)] == ["pending", "running"]
    assert "not in a state" in outcomes[machine(1).id].error
    assert wire.requests[-1].action == "CreateTags"
    assert wire.requests[-1].arguments["Tag.1.Value"] == "2026-11-20T22:12:07+00:00"
    assert wire.requests[-1].arguments["ResourceId.1"] == machine(0).id
    assert "ResourceId.2" not in wire.requests[-1].arguments


# -- waiting for the end, and for the beginning


def gone(states: list[dict[str, str]], instances: list[instances.Instance], time: Time) -> list[str]:
    left = list(states)
    wire = Wire(lambda _: shown(left.pop(0) if len(left) > 1 else left[0]))
    found = waiters.wait_terminated(clients(wire, time), instances, deadline_s=30)
    return [each.id for each in found]


def test_machines_count_as_gone_when_terminated_or_when_ec2_forgets_them() -> None:
    one, two, old = machine(1), machine(2), machine(3)
    states = [{one.id: "shutting-down", two.id: "shutting-down"}, {one.id: "terminated", two.id: "shutting-down"}, {}]

    assert gone(states, [one, two, old], Time()) == [old.id, one.id, two.id]


def test_a_young_machine_that_ec2_does_not_show_is_not_taken_for_gone() -> None:
    young = machine(1, age_s=2)

    assert gone([{}, {}, {young.id: "shutting-down"}, {young.id: "terminated"}], [young], Time()) == [young.id]


def test_machines_that_do_not_go_are_listed_at_the_deadline() -> None:
    time = Time()

    with pytest.raises(LeftRunning, match=rf"ml-1.*{machine(1).id}.*shutting-down|1 VMs are not terminated") as caught:
        gone([{machine(1).id: "shutting-down"}], [machine(1)], time)
    assert time.seconds == 30
    assert machine(1).id in str(caught.value)


def watched(states: list[dict[str, str]], ids: list[str], time: Time, until: str = "running") -> list[str]:
    left = list(states)
    wire = Wire(lambda _: shown(left.pop(0) if len(left) > 1 else left[0]))
    seen: list[str] = []
    try:
        for each in waiters.wait_for_state(clients(wire, time), ids, state=until, deadline_s=60):
            seen.append(each.id)
    except HostsFailed as failure:
        seen += [f"{name}: {error}" for name, error in failure.errors.items()]
    return seen


def test_every_machine_is_yielded_once_as_it_gets_there() -> None:
    states = [{}, {"i-1": "pending"}, {"i-1": "running", "i-2": "pending"}, {"i-2": "running"}]
    time = Time()

    assert watched(states, ["i-1", "i-2"], time) == ["i-1", "i-2"]
    assert time.seconds == pytest.approx(0.5 + 0.75 + 1.125)


def test_a_machine_that_dies_is_told_after_the_others_got_there() -> None:
    states = [{"i-1": "terminated", "i-2": "pending"}, {"i-2": "running"}]

    assert watched(states, ["i-1", "i-2"], Time()) == ["i-2", "i-1: i-1: is terminated instead"]


def test_machines_that_are_too_slow_or_never_shown_are_told_apart_at_the_deadline() -> None:
    time = Time()
    first, second = watched([{"i-1": "pending"}], ["i-1", "i-2"], time)

    assert "still pending after 60 s, not running" in first
    assert "EC2 has not shown it for 60 s" in second
    assert time.seconds == 60


def test_a_machine_just_started_may_be_shown_as_stopped_for_a_moment() -> None:
    states = [{"i-1": "stopped"}, {"i-1": "pending"}, {"i-1": "running"}]

    assert watched(states, ["i-1"], Time()) == ["i-1"]
    assert "stopped instead" in watched([{"i-1": "pending"}, {"i-1": "stopped"}], ["i-1"], Time())[0]


def test_a_hundred_machines_cost_one_call_per_look_and_a_thousand_cost_five() -> None:
    for count, calls in ((100, 1), (1000, 5)):
        wire = Wire(
            lambda request: shown(
                {value: "running" for key, value in request.arguments.items() if value.startswith("i-")}
            )
        )
        ids = [f"i-{number:017x}" for number in range(count)]

        assert len(list(waiters.wait_for_state(clients(wire), ids))) == count
        assert len(wire.requests) == calls
