"""Launches over a scripted EC2 that fails in every way: no second set of instances, no unrecorded instance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from botocore.exceptions import ConnectTimeoutError, ReadTimeoutError

from orchestrator.aws.ec2.instances import VISIBILITY_LAG_S
from orchestrator.aws.launch.run_instances import RETRY_TIMEOUT_S, check, launch
from orchestrator.core.clock import REAL_CLOCK
from orchestrator.core.errors import CloudRefused, LeftRunning, StratusError
from orchestrator.core.journal import Journal
from tests.support.aws.values import PLAN, RESOURCES
from tests.support.aws.wire import Request, Time, Wire, clients, described, launched, refusal, state_changes

BOTH = ("i-00000000000000001", "i-00000000000000002")
INTERNAL = refusal("InternalError", "An internal error has occurred", 500)
CAPACITY = refusal("InsufficientInstanceCapacity", "We currently do not have sufficient capacity", 500)
THROTTLED = refusal("RequestLimitExceeded", "Request limit exceeded.", 503)
EXPIRED = refusal("ExpiredToken", "The security token included in the request is expired")
TIMEOUT = ReadTimeoutError(endpoint_url="u")

Step = tuple[int, str] | BaseException


def script(*steps: Step) -> Callable[[Request], tuple[int, str]]:
    """Return a function that answers launches by these steps, then by the last one; DescribeInstances shows nothing."""
    left = list(steps)

    def answer(request: Request) -> tuple[int, str]:
        if request.action == "DescribeInstances" and EXPIRED not in steps:
            return described({})
        step = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(step, BaseException):
            raise step
        return step

    return answer


class Attempt:
    """One launch over a scripted EC2."""

    def __init__(self, folder: Path, *steps: Step) -> None:
        self.wire = Wire(script(*steps))
        self.time = Time()
        self.journal = Journal(folder, clock=self.time.clock)

    def go(self) -> Sequence[str]:
        found = launch(clients(self.wire, self.time), PLAN, resources=RESOURCES, journal=self.journal)
        return [each.id for each in found]

    @property
    def tokens(self) -> set[str]:
        requests = (request.arguments for request in self.wire.requests)
        return {arguments["ClientToken"] for arguments in requests if "ClientToken" in arguments}


def test_one_call_launches_all_instances_and_the_journal_has_their_ids(tmp_path: Path) -> None:
    attempt = Attempt(tmp_path, launched(*BOTH))

    assert attempt.go() == list(BOTH)
    assert [request.action for request in attempt.wire.requests] == ["RunInstances"]
    (entry,) = attempt.journal.entries()
    assert (entry.kind, entry.outcome) == ("launch", {"ids": list(BOTH)})
    assert attempt.tokens == {entry.facts["token"]}
    assert (entry.facts["run"], entry.facts["owner"]) == (PLAN.launch_id, PLAN.owner)


def test_the_token_is_on_disk_before_the_request(tmp_path: Path) -> None:
    on_disk: list[str] = []

    def answer(request: Request) -> tuple[int, str]:
        on_disk.extend(entry.facts["token"] for entry in Journal(tmp_path, REAL_CLOCK).open_entries())
        assert on_disk == [request.arguments["ClientToken"]]
        return launched(*BOTH)

    attempt = Attempt(tmp_path)
    attempt.wire.answer = answer

    assert attempt.go() == list(BOTH)


def test_without_a_journal_entry_nothing_is_launched(tmp_path: Path) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    attempt = Attempt(tmp_path, launched(*BOTH))
    attempt.journal = Journal(tmp_path, REAL_CLOCK, sync=full)

    with pytest.raises(StratusError, match="No space left"):
        attempt.go()
    assert attempt.wire.requests == []


def test_no_key_and_no_secret_goes_into_the_journal(tmp_path: Path) -> None:
    attempt = Attempt(tmp_path, launched(*BOTH))
    attempt.go()

    assert "BEGIN" not in attempt.journal.path.read_text()


@pytest.mark.parametrize(
    "trouble",
    [
        INTERNAL,
        TIMEOUT,
        (502, "<html>Bad gateway</html>"),
        (200, "<html>"),
        THROTTLED,
        ConnectTimeoutError(endpoint_url="u"),
    ],
    ids=str,
)
def test_an_ambiguous_answer_is_retried_with_the_same_token(tmp_path: Path, trouble: Step) -> None:
    attempt = Attempt(tmp_path, trouble, trouble, launched(*BOTH))

    assert attempt.go() == list(BOTH)
    assert len(attempt.wire.requests) == 3
    assert len(attempt.tokens) == 1
    assert attempt.journal.open_entries() == []


@pytest.mark.parametrize("code", ["InsufficientInstanceCapacity", "VcpuLimitExceeded", "Unsupported", "AuthFailure"])
def test_a_refusal_is_not_retried_and_recorded_in_the_journal(tmp_path: Path, code: str) -> None:
    attempt = Attempt(tmp_path, refusal(code, "no", 500 if code.startswith("Insufficient") else 400))

    with pytest.raises(CloudRefused) as caught:
        attempt.go()
    assert caught.value.code == code
    assert "launching 2 x c7i.2xlarge in us-west-2a" in str(caught.value)
    assert len(attempt.wire.requests) == 1
    assert [entry.outcome for entry in attempt.journal.entries()] == [{"refused": code, "ids": []}]


def test_a_capacity_error_after_a_lost_answer_counts_once_no_instance_can_appear(tmp_path: Path) -> None:
    attempt = Attempt(tmp_path, TIMEOUT, CAPACITY)

    with pytest.raises(CloudRefused, match="InsufficientInstanceCapacity"):
        attempt.go()
    assert attempt.journal.open_entries() == []
    assert attempt.time.seconds >= VISIBILITY_LAG_S


def test_instances_of_a_lost_answer_are_found_by_their_token(tmp_path: Path) -> None:
    attempt = Attempt(tmp_path)
    steps = script(TIMEOUT, CAPACITY)

    def answer(request: Request) -> tuple[int, str]:
        if request.action != "DescribeInstances":
            return steps(request)
        assert {request.arguments["Filter.1.Name"], request.arguments["Filter.1.Value.1"]} == {
            "client-token",
            *attempt.tokens,
        }
        return described(dict.fromkeys(BOTH, "pending") if attempt.time.seconds > 40 else {})

    attempt.wire.answer = answer
    assert attempt.go() == list(BOTH)
    assert [entry.outcome for entry in attempt.journal.entries()] == [{"ids": list(BOTH)}]


def test_an_incomplete_launch_is_rolled_back(tmp_path: Path) -> None:
    attempt = Attempt(tmp_path, launched(BOTH[0]), state_changes(BOTH[:1], "shutting-down"))

    with pytest.raises(CloudRefused, match="only 1 of 2 VMs were launched"):
        attempt.go()
    assert [request.action for request in attempt.wire.requests] == ["RunInstances", "TerminateInstances"]
    assert attempt.journal.open_entries() == []


def test_credentials_that_expire_after_a_lost_answer_leave_the_outcome_unknown(tmp_path: Path) -> None:
    attempt = Attempt(tmp_path, TIMEOUT, EXPIRED)

    with pytest.raises(LeftRunning) as caught:
        attempt.go()
    assert caught.value.exit_code == 4
    assert "it is unknown whether" in str(caught.value)
    assert "ExpiredToken" in str(caught.value)
    assert [str(line).split()[0] for line in caught.value.left] == ["ml-0", "ml-1"]
    assert [entry.facts["token"] for entry in attempt.journal.open_entries()] == [*attempt.tokens]


def test_retries_end_at_the_deadline_with_the_journal_entry_open(tmp_path: Path) -> None:
    attempt = Attempt(tmp_path, INTERNAL)

    with pytest.raises(LeftRunning, match="it is unknown whether"):
        attempt.go()
    assert attempt.time.seconds == RETRY_TIMEOUT_S + VISIBILITY_LAG_S
    assert sum(request.action == "RunInstances" for request in attempt.wire.requests) < 25
    assert len(attempt.tokens) == len(attempt.journal.open_entries()) == 1


def test_throttling_until_the_deadline_means_that_nothing_was_launched(tmp_path: Path) -> None:
    attempt = Attempt(tmp_path, THROTTLED)

    with pytest.raises(CloudRefused, match="RequestLimitExceeded"):
        attempt.go()
    assert attempt.time.seconds == RETRY_TIMEOUT_S
    assert attempt.journal.open_entries() == []


def test_a_new_group_that_ec2_does_not_know_yet_is_retried(tmp_path: Path) -> None:
    new = refusal("InvalidGroup.NotFound", "The security group 'sg-1' does not exist")

    assert Attempt(tmp_path, new, new, launched(*BOTH)).go() == list(BOTH)
    attempt = Attempt(tmp_path, new)
    with pytest.raises(CloudRefused, match=r"InvalidGroup\.NotFound"):
        attempt.go()
    assert attempt.time.seconds < 30


def test_ctrl_c_during_the_request_leaves_the_journal_entry_open(tmp_path: Path) -> None:
    attempt = Attempt(tmp_path, KeyboardInterrupt())

    with pytest.raises(KeyboardInterrupt):
        attempt.go()
    assert len(attempt.journal.open_entries()) == 1


def test_a_dry_run_finds_a_missing_permission_and_names_its_policy_statement() -> None:
    denied = refusal("UnauthorizedOperation", "You are not authorized to perform this operation.", 403)
    wire = Wire(script(denied))

    with pytest.raises(CloudRefused, match='"Action": "ec2:RunInstances"'):
        check(clients(wire), PLAN)
    assert [request.arguments["DryRun"] for request in wire.requests] == ["true"]


def test_a_dry_run_that_would_succeed_returns() -> None:
    yes = refusal("DryRunOperation", "Request would have succeeded, but DryRun flag is set.", 412)

    check(clients(Wire(script(yes))), PLAN)


def test_names_follow_the_launch_index_in_any_order_of_the_response(tmp_path: Path) -> None:
    status, text = launched(*BOTH)
    head, first, second = text.partition("<item>")[0], *text.split("<item>")[1:]
    second, tail = second.split("</instancesSet>")
    shuffled = f"{head}<item>{second}<item>{first}</instancesSet>{tail}"

    assert Attempt(tmp_path, (status, shuffled)).go() == list(BOTH)
