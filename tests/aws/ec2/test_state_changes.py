"""Ending machines: each gets its own outcome, one that cannot be ended keeps no other alive, foreign ones are left."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from orchestrator.aws.ec2 import instances, state_changes
from orchestrator.core.errors import CloudRefused
from tests.support import aws_wire
from tests.support.aws_values import CLUSTER_ID, instance
from tests.support.aws_wire import Request, Time, Wire, clients, refusal


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
        return aws_wire.state_changes(request.ids, "shutting-down")


def ended(
    cloud: Cloud, instances: list[instances.Instance], time: Time | None = None
) -> tuple[dict[str, state_changes.StateChange], Wire]:
    wire = Wire(cloud)
    return state_changes.terminate(clients(wire, time), instances, cluster_id=CLUSTER_ID), wire


def test_all_machines_end_in_one_call() -> None:
    machines = [instance(number) for number in range(100)]
    outcomes, wire = ended(Cloud(), machines)

    assert {each.state for each in outcomes.values()} == {"shutting-down"}
    assert all(each.is_ok for each in outcomes.values())
    assert (len(outcomes), len(wire.requests)) == (100, 1)


def test_machines_that_are_gone_are_dropped_and_the_others_end() -> None:
    machines = [instance(number) for number in range(4)]
    outcomes, wire = ended(Cloud(missing=[machines[1].id, machines[3].id]), machines)

    assert [outcomes[each.id].state for each in machines] == ["shutting-down", "gone", "shutting-down", "gone"]
    assert all(each.is_ok for each in outcomes.values())
    assert len(wire.requests) == 2


@pytest.mark.parametrize("mute", [False, True])
def test_a_protected_machine_is_named_with_the_way_to_lift_it_and_the_others_end(mute: bool) -> None:
    machines = [instance(number) for number in range(5)]
    outcomes, _ = ended(Cloud(protected=[machines[2].id, machines[4].id], mute=mute), machines)

    assert [each.name for each in outcomes.values() if not each.is_ok] == ["ml-2", "ml-4"]
    assert [outcomes[machines[number].id].state for number in (0, 1, 3)] == ["shutting-down"] * 3
    assert "protected" in outcomes[machines[2].id].error
    assert f"--instance-id {'ID' if mute else machines[2].id}" in outcomes[machines[2].id].error


def test_a_machine_of_the_last_minutes_that_ec2_does_not_show_yet_is_asked_for_again() -> None:
    time = Time()
    cloud = Cloud(missing=[instance(1).id])

    def appears(request: Request) -> tuple[int, str]:
        cloud.missing = set() if time.seconds > 10 else cloud.missing
        return cloud(request)

    wire = Wire(appears)
    outcomes = state_changes.terminate(clients(wire, time), [instance(0), instance(1, age_s=2)], cluster_id=CLUSTER_ID)

    assert [each.state for each in outcomes.values()] == ["shutting-down", "shutting-down"]
    assert time.seconds > 10


def test_a_young_machine_that_never_shows_is_never_called_gone() -> None:
    time = Time()
    outcomes, _ = ended(Cloud(missing=[instance(1).id]), [instance(1, age_s=2)], time)

    assert outcomes[instance(1).id].state == "unknown"
    assert "may still run" in outcomes[instance(1).id].error
    assert time.seconds == 60


def test_foreign_machines_are_never_in_a_call() -> None:
    foreign = [instance(1, owner="eve"), replace(instance(2), cluster="other")]
    outcomes, wire = ended(Cloud(), [instance(0), *foreign])

    assert [request.ids for request in wire.requests] == [[instance(0).id]]
    assert [outcomes[each.id].is_ok for each in foreign] == [False, False]
    assert "not touched" in outcomes[foreign[0].id].error


def test_nothing_to_end_asks_for_nothing() -> None:
    assert ended(Cloud(), [instance(1, owner="eve")])[1].requests == []
    assert ended(Cloud(), [])[0] == {}


def test_a_refusal_that_is_about_no_machine_is_raised() -> None:
    wire = Wire(lambda _: refusal("ExpiredToken", "The security token included in the request is expired"))

    with pytest.raises(CloudRefused, match="terminating VMs: the session has expired"):
        state_changes.terminate(clients(wire), [instance(0)], cluster_id=CLUSTER_ID)


def test_a_machine_in_the_wrong_state_to_start_is_named() -> None:
    def answer(request: Request) -> tuple[int, str]:
        if request.action == "StartInstances" and instance(1).id in request.ids:
            return refusal(
                "IncorrectInstanceState",
                f"The instance '{instance(1).id}' is not in a state from which it can be started.",
            )
        return aws_wire.state_changes(request.ids, "pending", request.action)

    wire = Wire(answer)
    outcomes = state_changes.start(clients(wire), [instance(0), instance(1)], cluster_id=CLUSTER_ID)

    assert [outcomes[instance(number).id].state for number in (0, 1)] == ["pending", "running"]
    assert "not in a state" in outcomes[instance(1).id].error
    assert wire.requests[-1].action == "CreateTags"
    assert wire.requests[-1].arguments["Tag.1.Value"] == "2026-11-20T22:12:07+00:00"
    assert wire.requests[-1].arguments["ResourceId.1"] == instance(0).id
    assert "ResourceId.2" not in wire.requests[-1].arguments
