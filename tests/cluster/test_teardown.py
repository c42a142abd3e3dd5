"""Teardown of a region: nothing is left only if no instance is shown, none is known from the journal, no request is
unconfirmed, and the security group could be deleted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from botocore.exceptions import EndpointConnectionError

from orchestrator.aws import identity
from orchestrator.aws.ec2 import instance_tags
from orchestrator.aws.ec2.instances import VISIBILITY_LAG_S
from orchestrator.aws.launch import launch_log
from orchestrator.cluster.teardown import KEPT, TIMEOUT_S
from orchestrator.core.errors import StratusError
from tests.support.aws.account import INSTANCE_ID, OURS, Account
from tests.support.aws.teardown_scene import Scene
from tests.support.aws.values import CLUSTER_ID
from tests.support.aws.wire import refusal


def test_an_unconfirmed_request_is_waited_for_without_a_group_in_use(tmp_path: Path) -> None:
    scene = Scene(tmp_path, Account(), appears_s=40.0)
    scene.record_request()
    teardown = scene.tear_down()

    assert scene.account.terminated == {INSTANCE_ID}
    assert (teardown.remaining, teardown.unconfirmed, teardown.group_state) == ([], [], "none")


def test_without_an_unconfirmed_request_there_is_no_wait(tmp_path: Path) -> None:
    scene = Scene(tmp_path, Account(), appears_s=40.0)
    teardown = scene.tear_down()

    assert scene.time.seconds == 0
    assert scene.account.terminated == set()
    assert (teardown.group_state, teardown.key_state) == ("none", "none")


@pytest.mark.parametrize("appears_s", [40.0, 300.0])
def test_a_group_in_use_is_waited_for_without_an_unconfirmed_request(tmp_path: Path, appears_s: float) -> None:
    """The launch was made from another computer, so the journal has no entry of it."""
    scene = Scene(tmp_path, Account(group=OURS, in_use=True), appears_s)
    teardown = scene.tear_down()

    assert scene.account.terminated == {INSTANCE_ID}
    assert (teardown.remaining, teardown.unconfirmed, teardown.group_state) == ([], [], "gone")


def test_an_instance_known_to_the_journal_only_is_terminated(tmp_path: Path) -> None:
    """EC2 does not show it yet, and there is neither a group nor an unconfirmed request."""
    scene = Scene(tmp_path, Account(), appears_s=float("inf"))
    entry = scene.record_request()
    scene.launch_log.journal.record_outcome(entry, ids=[INSTANCE_ID])
    scene.tear_down()

    assert scene.account.terminated == {INSTANCE_ID}
    assert scene.launch_log.recent() == {}


def test_a_request_whose_instances_are_all_terminated_is_waited_for_no_longer(tmp_path: Path) -> None:
    scene = Scene(tmp_path, Account(), appears_s=0.0)
    scene.record_request()
    teardown = scene.tear_down()

    assert (teardown.remaining, teardown.unconfirmed) == ([], [])
    assert scene.time.seconds < launch_log.REQUEST_LIFETIME_S


def test_an_instance_of_another_launch_is_not_that_of_the_request(tmp_path: Path) -> None:
    scene = Scene(tmp_path, Account(machines={"i-9": ("running", OURS | {instance_tags.LAUNCH: "other"})}), 40.0)
    scene.record_request()
    scene.tear_down()

    assert scene.account.terminated == {"i-9", INSTANCE_ID}


def test_a_group_that_stays_in_use_is_the_reason_why_it_remains(tmp_path: Path) -> None:
    teardown = Scene(tmp_path, Account(group=OURS, in_use=True), appears_s=float("inf")).tear_down()

    assert "DependencyViolation" in teardown.group_state
    assert teardown.key_state == KEPT


def test_the_group_and_the_key_pair_are_kept_for_instances_that_remain(tmp_path: Path) -> None:
    scene = Scene(tmp_path, Account({INSTANCE_ID: ("running", OURS)}, group=OURS), appears_s=float("inf"))
    scene.answers["TerminateInstances"] = refusal("OperationNotPermitted")
    teardown = scene.tear_down()

    assert [result.id for result in teardown.remaining] == [INSTANCE_ID]
    assert (teardown.group_state, teardown.key_state) == (KEPT, KEPT)
    assert scene.account.deleted == []


def test_a_lookup_that_aws_refuses_is_not_repeated(tmp_path: Path) -> None:
    scene = Scene(tmp_path, Account(), appears_s=0.0)
    scene.answers["DescribeInstances"] = refusal("UnauthorizedOperation")
    teardown = scene.tear_down()

    (problem,) = teardown.unconfirmed
    assert "UnauthorizedOperation" in str(problem)
    assert "; " in str(problem)  # what to do about it
    assert (teardown.group_state, teardown.key_state, scene.time.seconds) == (KEPT, KEPT, 0)


def test_a_lookup_that_aws_cannot_answer_now_is_repeated(tmp_path: Path) -> None:
    scene = Scene(tmp_path, Account(), appears_s=0.0)
    scene.answers["DescribeInstances"] = refusal("Unavailable", status=503)
    scene.answers_end_s = 250.0
    teardown = scene.tear_down()

    assert scene.account.terminated == {INSTANCE_ID}
    assert teardown.unconfirmed == []


def test_after_one_launch_a_group_in_use_is_waited_for_as_long_as_given(tmp_path: Path) -> None:
    scene = Scene(tmp_path, Account(group=OURS, in_use=True), appears_s=float("inf"))
    teardown = scene.new("key")
    teardown.delete_group_and_key(30.0)

    assert 30 <= scene.time.seconds < 40
    assert "DependencyViolation" in teardown.group_state
    assert teardown.key_state == KEPT


@pytest.mark.parametrize(
    ("group", "keys", "states"), [(OURS, ("key",), ("gone", "gone")), (None, (), ("none", "none"))]
)
def test_after_one_launch_the_journal_lists_nothing_of_the_cluster_any_more(
    tmp_path: Path, group: Mapping[str, str] | None, keys: Sequence[str], states: tuple[str, str]
) -> None:
    scene = Scene(tmp_path, Account(group=group), appears_s=float("inf"))
    entry = scene.record_request()
    scene.launch_log.journal.record_outcome(entry, ids=[INSTANCE_ID])
    teardown = scene.new(*keys)
    teardown.instances = dict(scene.launch_log.recent())
    teardown.delete_group_and_key(30.0)

    assert (teardown.group_state, teardown.key_state) == states
    assert scene.launch_log.recent() == {}


def test_an_instance_of_a_request_under_another_arn_is_found_by_its_token(tmp_path: Path) -> None:
    """As after a change of the session's name: its tags are those of the earlier session."""
    earlier = "arn:aws:sts::123456789012:assumed-role/Lab/monday"
    tags = OURS | {identity.TAG_OWNER: earlier}
    scene = Scene(tmp_path, Account({INSTANCE_ID: ("running", tags)}), appears_s=float("inf"))
    scene.record_request(owner=earlier)
    teardown = scene.tear_down()

    assert scene.account.terminated == {INSTANCE_ID}
    assert (teardown.remaining, teardown.unconfirmed) == ([], [])


def test_one_launch_ends_what_its_request_launched_whatever_the_tags(tmp_path: Path) -> None:
    tags = OURS | {identity.TAG_OWNER: "arn:aws:sts::123456789012:assumed-role/Lab/monday"}
    scene = Scene(tmp_path, Account({INSTANCE_ID: ("running", tags)}), appears_s=float("inf"))
    scene.record_request()
    teardown = scene.new()
    teardown.run_launch("r")

    assert scene.account.terminated == {INSTANCE_ID}
    assert teardown.remaining == []
    assert scene.launch_log.unconfirmed() == []


def test_the_key_pair_is_kept_while_an_instance_may_appear_whose_request_used_no_group_of_ours(tmp_path: Path) -> None:
    scene = Scene(tmp_path, Account(group=OURS), appears_s=float("inf"), answers_begin_s=0.5)
    scene.record_request(guarded="")
    scene.answers["DescribeInstances"] = refusal("UnauthorizedOperation")
    teardown = scene.tear_down()

    assert (teardown.remaining, teardown.group_state, teardown.key_state) == ([], "gone", KEPT)
    assert [str(line)[:8] for line in teardown.unconfirmed] == ["launch r", "cluster "]


def test_an_instance_of_the_journal_is_found_once_and_not_after_its_end(tmp_path: Path) -> None:
    scene = Scene(tmp_path, Account({INSTANCE_ID: ("running", OURS)}), appears_s=float("inf"))
    scene.launch_log.journal.record_outcome(scene.record_request(), ids=[INSTANCE_ID])
    teardown = scene.new()

    instances = teardown.find()
    assert [instance.id for instance in instances] == [INSTANCE_ID]
    teardown.terminate(instances)
    scene.shows_ids_only, scene.account.machines = True, {}
    assert teardown.find() == []


@pytest.mark.parametrize(("state", "count"), [("running", 1), ("terminated", 0)])
def test_an_instance_that_lookups_by_tags_do_not_show_is_looked_up_by_id(
    tmp_path: Path, state: str, count: int
) -> None:
    scene = Scene(tmp_path, Account({INSTANCE_ID: (state, {})}), appears_s=float("inf"), shows_ids_only=True)
    scene.launch_log.journal.record_outcome(scene.record_request(), ids=[INSTANCE_ID])

    assert [(item.state, item.name, item.cluster) for item in scene.new().find()] == [(state, "ml-0", "ml")] * count


def test_an_instance_begins_to_terminate_once_and_ends_with_the_seconds_that_it_took(tmp_path: Path) -> None:
    scene = Scene(tmp_path, Account({INSTANCE_ID: ("running", OURS)}), appears_s=float("inf"))
    scene.answers["TerminateInstances"] = refusal("OperationNotPermitted")
    teardown = scene.new()
    teardown.terminate(teardown.find())
    assert [(event.host, event.state) for event in scene.events] == [(INSTANCE_ID, "start")]
    assert teardown.ended == {}

    scene.answers.clear()
    scene.time.seconds = 100.0
    (instance,) = teardown.find()
    teardown.terminate([instance])
    # EC2 bills nothing more from the request on.
    assert teardown.ended == {INSTANCE_ID: (instance, scene.time.clock.now())}
    assert [(event.host, event.state, event.seconds) for event in scene.events[1:]] == [(INSTANCE_ID, "done", 0.0)]
    calls = len(scene.wire.requests)
    teardown.terminate([instance])
    assert len(scene.wire.requests) == calls


def test_a_group_that_may_not_be_deleted_is_not_tried_again(tmp_path: Path) -> None:
    scene = Scene(tmp_path, Account(group=OURS), appears_s=float("inf"))
    scene.answers["DeleteSecurityGroup"] = refusal("UnauthorizedOperation")
    teardown = scene.tear_down()

    assert "UnauthorizedOperation" in teardown.group_state
    assert (teardown.key_state, scene.time.seconds) == (KEPT, 0)


def test_a_deleted_group_proves_that_a_request_left_nothing(tmp_path: Path) -> None:
    scene = Scene(tmp_path, Account(group=OURS), appears_s=float("inf"))
    scene.record_request()
    teardown = scene.tear_down()

    assert (teardown.group_state, teardown.unconfirmed, scene.time.seconds) == ("gone", [], 0)


def test_it_proves_nothing_of_a_request_that_used_another_group(tmp_path: Path) -> None:
    scene = Scene(tmp_path, Account(group=OURS), appears_s=float("inf"))
    scene.record_request(guarded="")
    teardown = scene.tear_down()

    assert (teardown.group_state, teardown.unconfirmed) == ("gone", [])
    assert scene.time.seconds >= VISIBILITY_LAG_S


def test_a_request_of_long_ago_is_not_waited_for(tmp_path: Path) -> None:
    scene = Scene(tmp_path, Account(), appears_s=float("inf"))
    scene.record_request()
    scene.time.seconds = 1000.0
    teardown = scene.tear_down()

    assert (teardown.group_state, teardown.unconfirmed, scene.time.seconds) == ("none", [], 1000)


def test_a_request_without_a_number_was_for_one_instance(tmp_path: Path) -> None:
    """As in the journal of an earlier version."""
    scene = Scene(tmp_path, Account(), appears_s=0.0)
    scene.launch_log.journal.record_intent(launch_log.LAUNCH, run="r", token="t", **CLUSTER_ID.journal_fields)
    scene.tear_down()

    assert scene.account.terminated == {INSTANCE_ID}
    assert scene.time.seconds < launch_log.REQUEST_LIFETIME_S


def test_one_launch_ends_what_ec2_shows_of_it(tmp_path: Path) -> None:
    scene = Scene(tmp_path, Account({INSTANCE_ID: ("running", OURS)}), appears_s=float("inf"))
    scene.launch_log.journal.record_outcome(scene.record_request(), ids=[INSTANCE_ID])
    scene.time.seconds = 100_000.0
    scene.new().run_launch("r")

    assert scene.account.terminated == {INSTANCE_ID}


OTHER_ID = "i-00000000000000002"


@pytest.mark.parametrize(
    ("hosts", "others", "age_s", "lines"),
    [
        ("ml-[0-2]", {}, 0, ["launch r requested 3 VMs and EC2 shows 1: the others may still appear"]),
        ("ml-[0-2]", {OTHER_ID: "r"}, 0, ["launch r requested 3 VMs and EC2 shows 2: the others may still appear"]),
        ("ml-[0-1]", {OTHER_ID: "r"}, 0, []),
        ("ml-0", {}, 0, []),
        ("ml-[0-2]", {}, 1000, []),
    ],
)
def test_of_a_recent_launch_of_another_computer_more_may_appear_beside_what_remains(
    tmp_path: Path, hosts: str, others: Mapping[str, str], age_s: float, lines: Sequence[str]
) -> None:
    tags = OURS | {instance_tags.HOSTS: hosts}
    ended = {key: ("terminated", tags | {instance_tags.LAUNCH: launch}) for key, launch in others.items()}
    scene = Scene(tmp_path, Account({INSTANCE_ID: ("running", tags), **ended}), appears_s=float("inf"))
    scene.answers["TerminateInstances"] = refusal("OperationNotPermitted")
    scene.time.seconds = age_s
    teardown = scene.tear_down()

    assert [result.id for result in teardown.remaining] == [INSTANCE_ID]
    assert teardown.unconfirmed == lines


def test_a_key_pair_that_cannot_be_deleted_has_the_reason_as_its_state(tmp_path: Path) -> None:
    def refuse() -> list[str]:
        raise StratusError("no permission\n  more")

    scene = Scene(tmp_path, Account(), appears_s=float("inf"))
    teardown = scene.new()
    teardown.delete_key = refuse
    teardown.run()

    assert (teardown.group_state, teardown.key_state) == ("none", "no permission")


def test_without_a_network_the_lookups_end_before_those_of_hidden_instances_would(tmp_path: Path) -> None:
    scene = Scene(tmp_path, Account(), appears_s=float("inf"))
    scene.answers["DescribeInstances"] = EndpointConnectionError(endpoint_url="https://ec2.us-west-2.amazonaws.com")
    teardown = scene.tear_down()

    (problem,) = teardown.unconfirmed
    assert "cluster ml in us-west-2: " in str(problem)
    assert scene.time.seconds < TIMEOUT_S


def test_what_a_deleted_group_does_not_prove_may_still_appear(tmp_path: Path) -> None:
    machines = {INSTANCE_ID: ("running", OURS | {instance_tags.HOSTS: "ml-[0-2]"})}
    (tmp_path / "proof").mkdir()
    (tmp_path / "none").mkdir()
    proof = Scene(tmp_path / "proof", Account(machines, group=OURS), appears_s=float("inf"))
    assert proof.tear_down().unconfirmed == []

    none = Scene(tmp_path / "none", Account(machines, group=OURS), appears_s=float("inf"))
    none.answers |= {
        "DeleteSecurityGroup": refusal("UnauthorizedOperation"),
        f"tag:{instance_tags.LAUNCH}": refusal("UnauthorizedOperation"),
    }
    line = "launch r requested 3 VMs and EC2 shows 1: the others may still appear"
    assert line in none.tear_down().unconfirmed
