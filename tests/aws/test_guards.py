"""Guards that stand behind one another, each by itself: that one holds must not hide that another is gone.

Ours is only what carries our tags, and it is EC2 that filters *and* we who look again. Nothing is left only when no
machine is shown, none is known from the journal, no request is undecided *and* the group could be deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from orchestrator.aws import client, identity
from orchestrator.aws.ec2 import instance_tags, instances, key_pairs, security_groups
from orchestrator.aws.ec2.key_pairs import KeyPair
from orchestrator.aws.launch import launch_log
from orchestrator.cluster.teardown import RegionTeardown
from orchestrator.core.journal import Journal
from tests.support.aws_values import CLUSTER_ID
from tests.support.aws_wire import Request, Time, Wire, clients, refusal, state_changes

OURS = {identity.TAG_CLUSTER: CLUSTER_ID.cluster, identity.TAG_OWNER: CLUSTER_ID.owner, instance_tags.LAUNCH: "r"}
THEIRS = {**OURS, identity.TAG_OWNER: "arn:aws:iam::123456789012:user/grace"}
OTHER_CLUSTER = {**OURS, identity.TAG_CLUSTER: "lm"}
ONE = "i-00000000000000001"


@dataclass
class Account:
    """All that EC2 shows, whatever filters say: an EC2 that filters wrongly."""

    machines: Mapping[str, tuple[str, Mapping[str, str]]] = field(default_factory=dict)
    group: Mapping[str, str] | None = None
    key: Mapping[str, str] | None = None
    in_use: bool = False
    ended: set[str] = field(default_factory=set)
    deleted: list[str] = field(default_factory=list)

    def __call__(self, request: Request) -> tuple[int, str]:
        answers: dict[str, Callable[[Request], tuple[int, str]]] = {
            "TerminateInstances": self._terminate,
            "DeleteSecurityGroup": self._delete,
            "DeleteKeyPair": self._delete,
            "DescribeInstances": lambda _: self._instances(),
            "DescribeSecurityGroups": lambda _: self._groups(),
            "DescribeKeyPairs": lambda _: self._keys(),
        }
        return answers[request.action](request)

    def _instances(self) -> tuple[int, str]:
        items = "".join(
            f"<item><instanceId>{key}</instanceId><instanceType>c7i.2xlarge</instanceType><instanceState><code>0</code>"
            f"<name>{'terminated' if key in self.ended else state}</name></instanceState>"
            f"<launchTime>2026-11-20T14:12:07.000Z</launchTime><placement/>{_tags(tags)}</item>"
            for key, (state, tags) in self.machines.items()
        )
        sets = f"<item><instancesSet>{items}</instancesSet></item>" if items else ""
        return _said("DescribeInstances", f"<reservationSet>{sets}</reservationSet>")

    def _groups(self) -> tuple[int, str]:
        name, tags = CLUSTER_ID.resource_name, _tags(self.group or {})
        item = f"<item><groupId>sg-1</groupId><groupName>{name}</groupName>{tags}</item>"
        return _said("DescribeSecurityGroups", f"<securityGroupInfo>{item if self.group else ''}</securityGroupInfo>")

    def _keys(self) -> tuple[int, str]:
        name, tags = CLUSTER_ID.resource_name, _tags(self.key or {})
        item = f"<item><keyPairId>key-1</keyPairId><keyName>{name}</keyName>{tags}</item>"
        return _said("DescribeKeyPairs", f"<keySet>{item if self.key else ''}</keySet>")

    def _terminate(self, request: Request) -> tuple[int, str]:
        self.ended |= set(request.ids)
        return state_changes(request.ids, "shutting-down")

    def _delete(self, request: Request) -> tuple[int, str]:
        if self.in_use:
            return refusal("DependencyViolation", "resource sg-1 has a dependent object")
        self.deleted.append(request.action)
        self.group = None
        return _said(request.action, "<return>true</return>")


def _tags(tags: Mapping[str, str]) -> str:
    items = "".join(f"<item><key>{key}</key><value>{value}</value></item>" for key, value in tags.items())
    return f"<tagSet>{items}</tagSet>"


def _said(action: str, body: str) -> tuple[int, str]:
    return 200, f"<{action}Response>{body}</{action}Response>"


LOOKS: dict[str, Callable[[client.Clients], object]] = {
    "all": lambda clients: instances.describe(clients, cluster=CLUSTER_ID.cluster, owner=CLUSTER_ID.owner),
    "a launch": lambda clients: instances.find_by_launch(clients, CLUSTER_ID, "r"),
    "groups": lambda clients: security_groups.delete(clients, CLUSTER_ID),
    "keys": lambda clients: key_pairs.delete(
        clients, CLUSTER_ID, KeyPair(CLUSTER_ID.resource_name, Path("/nonexistent"), is_own=True)
    ),
}


@pytest.mark.parametrize("look", LOOKS)
def test_ec2_is_asked_for_our_cluster_and_our_owner_alone(look: str) -> None:
    wire = Wire(Account())
    LOOKS[look](clients(wire))
    asked = wire.requests[0].arguments
    filters = {asked[name]: asked[name.replace("Name", "Value.1")] for name in asked if name.endswith(".Name")}

    assert filters[f"tag:{identity.TAG_OWNER}"] == CLUSTER_ID.owner
    assert filters[f"tag:{identity.TAG_CLUSTER}"] == CLUSTER_ID.cluster


@pytest.mark.parametrize("tags", [THEIRS, OTHER_CLUSTER, {}], ids=["owner", "cluster", "none"])
@pytest.mark.parametrize("look", LOOKS)
def test_what_ec2_shows_all_the_same_is_not_taken_for_ours(look: str, tags: Mapping[str, str]) -> None:
    account = Account({ONE: ("running", tags)}, group=tags or {"a": "b"}, key=tags or {"a": "b"})

    assert LOOKS[look](clients(Wire(account))) == []
    assert (account.ended, account.deleted) == (set(), [])


@pytest.mark.parametrize("look", LOOKS)
def test_what_is_ours_is_found(look: str) -> None:
    """Without this the test above would hold for a tool that finds nothing."""
    account = Account({ONE: ("running", OURS)}, group=OURS, key=OURS)

    assert LOOKS[look](clients(Wire(account)))


@dataclass
class Desk:
    """A teardown over a scripted account, in time that only it moves.

    :param appears_s: when EC2 begins to show the machine.
    """

    folder: Path
    account: Account
    appears_s: float

    def __post_init__(self) -> None:
        self.time = Time()
        self.books = launch_log.LaunchLog(Journal(self.folder, clock=self.time.clock), CLUSTER_ID, self.time.clock)

    def ask_for_one(self) -> object:
        """Write down a request for one machine, of which nobody knows what became."""
        facts = {"run": "r", "token": "t", "zone": "us-west-2a", "count": 1, "type": "c7i.2xlarge", "hosts": "ml-0"}
        return self.books.journal.record_intent(launch_log.LAUNCH, **facts, **CLUSTER_ID.journal_fields)

    def end(self) -> RegionTeardown:
        work = RegionTeardown(clients(Wire(self._answer), self.time), self.books, delete_key=list)
        work.run()
        return work

    def _answer(self, request: Request) -> tuple[int, str]:
        if self.time.seconds >= self.appears_s:
            self.account.machines = {ONE: ("running", OURS)}
        if self.account.ended:
            self.account.in_use = False
        return self.account(request)


def test_an_undecided_request_is_waited_for_although_there_is_no_group_to_be_in_use(tmp_path: Path) -> None:
    desk = Desk(tmp_path, Account(), appears_s=40.0)
    desk.ask_for_one()
    work = desk.end()

    assert desk.account.ended == {ONE}
    assert (work.remaining, work.unconfirmed, work.group_state) == ([], [], "none")


def test_without_an_undecided_request_nothing_is_waited_for(tmp_path: Path) -> None:
    desk = Desk(tmp_path, Account(), appears_s=40.0)
    desk.end()

    assert desk.time.seconds == 0
    assert desk.account.ended == set()


def test_a_group_in_use_is_waited_for_although_no_request_is_undecided(tmp_path: Path) -> None:
    """A launch from another computer: the journal here knows nothing of it."""
    desk = Desk(tmp_path, Account(group=OURS, in_use=True), appears_s=40.0)
    work = desk.end()

    assert desk.account.ended == {ONE}
    assert (work.remaining, work.unconfirmed, work.group_state) == ([], [], "gone")


def test_a_machine_that_only_the_journal_knows_is_ended(tmp_path: Path) -> None:
    """EC2 shows it to nobody yet, and neither is there a group nor an undecided request."""
    desk = Desk(tmp_path, Account(), appears_s=float("inf"))
    entry = desk.ask_for_one()
    desk.books.journal.record_outcome(entry, ids=[ONE])  # type: ignore[arg-type]
    desk.end()

    assert desk.account.ended == {ONE}
