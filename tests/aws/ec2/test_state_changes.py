"""State changes over a scripted EC2: one outcome per instance, and instances of others are not touched."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.aws.ec2 import instances, state_changes
from orchestrator.aws.ec2.ownership import Ownership
from orchestrator.core.errors import CloudRefused
from tests.support.aws import wire as aws_wire
from tests.support.aws.values import CLUSTER_ID, instance
from tests.support.aws.wire import Request, Time, Wire, clients, refusal


class Cloud:
    """An EC2 that fails a whole call for one bad id; the message names some of the bad ids, or none if ``mute``."""

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


def terminate(
    cloud: Cloud, instances: list[instances.Instance], time: Time | None = None
) -> tuple[dict[str, state_changes.StateChange], Wire]:
    wire = Wire(cloud)
    return state_changes.terminate(clients(wire, time), instances, ownership=Ownership(CLUSTER_ID)), wire


def test_all_instances_are_terminated_in_one_call() -> None:
    instances = [instance(number) for number in range(100)]
    outcomes, wire = terminate(Cloud(), instances)

    assert {each.state for each in outcomes.values()} == {"shutting-down"}
    assert all(each.is_ok for each in outcomes.values())
    assert (len(outcomes), len(wire.requests)) == (100, 1)


def test_removed_instances_are_skipped_and_the_others_terminated() -> None:
    instances = [instance(number) for number in range(4)]
    outcomes, wire = terminate(Cloud(missing=[instances[1].id, instances[3].id]), instances)

    assert [outcomes[each.id].state for each in instances] == ["shutting-down", "gone", "shutting-down", "gone"]
    assert all(each.is_ok for each in outcomes.values())
    assert len(wire.requests) == 2


@pytest.mark.parametrize("mute", [False, True])
def test_a_protected_instance_is_reported_with_a_fix_and_the_others_terminated(mute: bool) -> None:
    instances = [instance(number) for number in range(5)]
    outcomes, _ = terminate(Cloud(protected=[instances[2].id, instances[4].id], mute=mute), instances)

    assert [each.name for each in outcomes.values() if not each.is_ok] == ["ml-2", "ml-4"]
    assert [outcomes[instances[number].id].state for number in (0, 1, 3)] == ["shutting-down"] * 3
    assert "protected" in outcomes[instances[2].id].error
    assert f"--instance-id {'ID' if mute else instances[2].id}" in outcomes[instances[2].id].error


def test_a_recent_instance_that_ec2_does_not_show_is_retried() -> None:
    time = Time()
    cloud = Cloud(missing=[instance(1).id])

    def appears(request: Request) -> tuple[int, str]:
        cloud.missing = set() if time.seconds > 10 else cloud.missing
        return cloud(request)

    wire = Wire(appears)
    outcomes = state_changes.terminate(
        clients(wire, time), [instance(0), instance(1, age_s=2)], ownership=Ownership(CLUSTER_ID)
    )

    assert [each.state for each in outcomes.values()] == ["shutting-down", "shutting-down"]
    assert time.seconds > 10


def test_a_recent_instance_that_never_shows_is_unknown_not_gone() -> None:
    time = Time()
    outcomes, _ = terminate(Cloud(missing=[instance(1).id]), [instance(1, age_s=2)], time)

    assert outcomes[instance(1).id].state == "unknown"
    assert "may still run" in outcomes[instance(1).id].error
    assert time.seconds == 60


def test_an_instance_that_was_stopped_and_no_longer_exists_is_an_error() -> None:
    gone = instance(1)
    wire = Wire(
        lambda request: (
            Cloud(missing=[gone.id])(request)
            if gone.id in request.ids
            else aws_wire.state_changes(request.ids, "stopping", request.action)
        )
    )
    outcomes = state_changes.stop(clients(wire), [instance(0), gone], ownership=Ownership(CLUSTER_ID))

    assert {request.action for request in wire.requests} == {"StopInstances"}
    assert [outcomes[instance(number).id].state for number in (0, 1)] == ["stopping", "gone"]
    assert [outcomes[instance(number).id].error for number in (0, 1)] == ["", "it no longer exists"]


def test_instances_of_others_are_in_no_call() -> None:
    foreign = [instance(1, owner="eve"), replace(instance(2), cluster="other")]
    outcomes, wire = terminate(Cloud(), [instance(0), *foreign])

    assert [request.ids for request in wire.requests] == [[instance(0).id]]
    assert [outcomes[each.id].is_ok for each in foreign] == [False, False]
    assert "not touched" in outcomes[foreign[0].id].error


def test_without_instances_there_is_no_call() -> None:
    assert terminate(Cloud(), [instance(1, owner="eve")])[1].requests == []
    assert terminate(Cloud(), [])[0] == {}


def test_a_refusal_that_concerns_no_instance_is_raised() -> None:
    wire = Wire(lambda _: refusal("ExpiredToken", "The security token included in the request is expired"))

    with pytest.raises(CloudRefused, match="terminating VMs: the session has expired"):
        state_changes.terminate(clients(wire), [instance(0)], ownership=Ownership(CLUSTER_ID))


def test_an_instance_in_the_wrong_state_to_start_is_reported() -> None:
    def answer(request: Request) -> tuple[int, str]:
        if request.action == "StartInstances" and instance(1).id in request.ids:
            return refusal(
                "IncorrectInstanceState",
                f"The instance '{instance(1).id}' is not in a state from which it can be started.",
            )
        return aws_wire.state_changes(request.ids, "pending", request.action)

    wire = Wire(answer)
    outcomes = state_changes.start(clients(wire), [instance(0), instance(1)], ownership=Ownership(CLUSTER_ID))

    assert [outcomes[instance(number).id].state for number in (0, 1)] == ["pending", "running"]
    assert "not in a state" in outcomes[instance(1).id].error
    assert wire.requests[-1].action == "CreateTags"
    assert wire.requests[-1].arguments["Tag.1.Value"] == "2026-11-20T22:13:00+00:00"
    assert wire.requests[-1].arguments["ResourceId.1"] == instance(0).id
    assert "ResourceId.2" not in wire.requests[-1].arguments


def test_an_instance_whose_hours_are_not_known_gets_no_new_time_of_shutdown() -> None:
    wire = Wire(lambda request: aws_wire.state_changes(request.ids, "pending", request.action))
    unknown, hour, time = replace(instance(0), max_hours=0.0), replace(instance(1), max_hours=1.0), Time()
    time.seconds = 0.5
    state_changes.start(clients(wire, time), [unknown, hour], ownership=Ownership(CLUSTER_ID))

    _, tagged = wire.requests
    assert (tagged.arguments["ResourceId.1"], "ResourceId.2" in tagged.arguments) == (hour.id, False)
    assert tagged.arguments["Tag.1.Value"] == "2026-11-20T15:13:00+00:00"


@pytest.mark.parametrize(("earlier_end_minutes", "hour"), [(30, "15:13"), (180, "17:13")])
def test_the_later_of_the_end_before_the_stop_and_of_max_hours_is_tagged(earlier_end_minutes: int, hour: str) -> None:
    wire = Wire(lambda request: aws_wire.state_changes(request.ids, "pending", request.action))
    time = Time()
    time.seconds = 0.5
    earlier_end = clients(wire, time).clock.now() + timedelta(minutes=earlier_end_minutes)
    stopped = replace(instance(1), max_hours=1.0, expires_at=earlier_end)
    state_changes.start(clients(wire, time), [stopped], ownership=Ownership(CLUSTER_ID))

    assert wire.requests[-1].arguments["Tag.1.Value"] == f"2026-11-20T{hour}:00+00:00"


def test_a_result_is_a_change_unless_noted() -> None:
    assert not state_changes.InstanceResult("ml-0", instance(0).id, "terminated").is_unchanged
