"""Identity of the caller and of a cluster."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.aws import identity
from orchestrator.aws.identity import ClusterId
from orchestrator.config.settings import ClusterSettings, Settings
from orchestrator.core.errors import StratusError
from tests.support.aws.values import CLUSTER_ID
from tests.support.aws.wire import Request, Time, Wire, clients, refusal

ROLE = "arn:aws:sts::1:assumed-role/Lab"
CALLER = (
    f"<GetCallerIdentityResponse><GetCallerIdentityResult><Account>1</Account><Arn>{ROLE}/ada</Arn><UserId>u</UserId>"
    "</GetCallerIdentityResult></GetCallerIdentityResponse>"
)
SSO = "arn:aws:sts::1:assumed-role/AWSReservedSSO_Lab_0123456789abcdef"


@pytest.mark.parametrize(
    ("arn", "owner"),
    [
        ("arn:aws:iam::1:user/ada", "arn:aws:iam::1:user/ada"),
        ("arn:aws:sts::1:assumed-role/Lab/ada@example.org", "arn:aws:sts::1:assumed-role/Lab/ada@example.org"),
        ("arn:aws:sts::1:assumed-role/Lab/botocore-session-1763648000", "arn:aws:sts::1:assumed-role/Lab"),
    ],
)
def test_the_owner_stays_the_same_from_one_session_to_the_next(arn: str, owner: str) -> None:
    assert identity.Identity("1", arn).owner == owner


def test_resource_names_differ_by_owner_account_and_cluster() -> None:
    others = [replace(CLUSTER_ID, owner="eve"), replace(CLUSTER_ID, account="2"), replace(CLUSTER_ID, cluster="mm")]

    assert CLUSTER_ID.resource_name == replace(CLUSTER_ID).resource_name
    assert CLUSTER_ID.resource_name.startswith("stratus-ml-")
    assert CLUSTER_ID.is_resource_name(CLUSTER_ID.resource_name)
    assert not CLUSTER_ID.is_resource_name("stratus-mm-01234567")
    assert len({CLUSTER_ID.resource_name, *(other.resource_name for other in others)}) == 4


def test_a_resource_is_ours_only_with_both_tags() -> None:
    assert CLUSTER_ID.matches(CLUSTER_ID.tags)
    assert not CLUSTER_ID.matches(CLUSTER_ID.tags[:1])
    assert not CLUSTER_ID.matches(CLUSTER_ID.tags[1:])
    assert not CLUSTER_ID.matches(replace(CLUSTER_ID, owner="eve").tags)
    assert CLUSTER_ID.filters == [{"Name": "tag:stratus:cluster", "Values": ["ml"]}]


def test_a_wildcard_in_an_owners_name_finds_that_owner_only() -> None:
    assert identity.tag_filter("stratus:owner", "lab*?")["Values"] == [r"lab\*\?"]


# -- people behind one role


@pytest.mark.parametrize(
    ("owner", "role"),
    [
        (f"{ROLE}/ada", ROLE),
        (ROLE, ROLE),
        (f"{SSO}/ada@example.org", ""),  # AWS names the person
        (SSO, SSO),
        ("arn:aws:iam::1:user/ada", ""),
        ("team", ""),
    ],
)
def test_a_role_stands_for_several_people_unless_its_session_names_one(owner: str, role: str) -> None:
    assert identity.role_of(owner) == role


def of_role(owner_id: str, *, is_caller: bool = True) -> ClusterId:
    return ClusterId("ml", ROLE, "1", "us-west-2", owner_id, is_caller=is_caller)


def test_a_role_owns_what_has_its_owner_id() -> None:
    assert of_role("ada").owns("arn:aws:sts::1:assumed-role/Office", "ada") is True
    assert of_role("ada").owns(ROLE, "eve") is False
    assert of_role("ada").owns(ROLE, "") is False  # whichever person launched it
    assert of_role("", is_caller=False).owns(ROLE, "") is True  # the role itself was named
    assert of_role("", is_caller=False).owns(ROLE, "eve") is False
    assert CLUSTER_ID.owns(CLUSTER_ID.owner, "") is True
    assert CLUSTER_ID.owns("", "") is False


def test_resources_of_a_role_are_named_and_tagged_by_the_owner_id() -> None:
    ada = of_role("ada")
    later_session = replace(ada, owner=f"{ROLE}/later")

    assert ada.resource_name == later_session.resource_name
    assert ada.resource_name not in (of_role("eve").resource_name, of_role("").resource_name)
    # One session more or less is the same person only with an id.
    assert of_role("").resource_name != replace(of_role(""), owner=f"{ROLE}/later").resource_name
    # An IAM user is named alike on all computers.
    assert replace(CLUSTER_ID, owner_id="ada").resource_name == CLUSTER_ID.resource_name
    assert {"Key": "stratus:ownerid", "Value": "ada"} in ada.tags
    assert [tag["Key"] for tag in of_role("").tags] == ["stratus:cluster", "stratus:owner"]


# -- the journal


def test_the_journal_holds_the_whole_identity() -> None:
    for cluster_id in (of_role("ada"), CLUSTER_ID, ClusterId("ml", "team", "1", "us-west-2")):
        assert identity.recorded_cluster_id(cluster_id.journal_fields) == cluster_id
    assert "owner_id" not in CLUSTER_ID.journal_fields
    assert identity.recorded_cluster_id(CLUSTER_ID.journal_fields).is_caller
    assert not identity.recorded_cluster_id(ClusterId("ml", "team", "1", "us-west-2").journal_fields).is_caller


def test_equal_clusters_are_equal_however_the_owner_became_known() -> None:
    assert of_role("ada") == of_role("ada", is_caller=False)
    assert not ClusterId("ml", "team", "1", "us-west-2").is_caller


def test_an_entry_of_this_computer_is_about_its_cluster_whatever_the_arn_was() -> None:
    ada, before = of_role("ada"), replace(CLUSTER_ID, account="1", is_caller=True)
    team = replace(before, owner="team", is_caller=False)

    assert ada.covers(before) is True
    assert ada.covers(team) is False
    assert team.covers(before) is False
    assert team.covers(team) is True
    for other in (replace(ada, cluster="lm"), replace(ada, account="2"), replace(ada, region="eu-west-1")):
        assert ada.covers(other) is False


# -- the caller and the settings


def test_the_caller_is_looked_up_and_a_refusal_names_the_action() -> None:
    wire = Wire(lambda _: (200, CALLER))

    assert identity.caller_identity(clients(wire)) == identity.Identity("1", f"{ROLE}/ada")
    with pytest.raises(StratusError, match="looking up the AWS identity"):
        identity.caller_identity(clients(Wire(lambda _: refusal("AccessDenied"))))


def test_the_first_call_of_a_session_is_tried_three_times() -> None:
    def answer(_: Request) -> tuple[int, str]:
        return refusal("InternalError", status=500)

    wire = Wire(answer)
    with pytest.raises(StratusError):
        identity.caller_identity(clients(wire, sequential=True))

    assert len(wire.requests) == 3


@pytest.mark.parametrize(
    ("arn", "settings", "expected"),
    [
        (ROLE, ClusterSettings(), of_role("kept")),
        (ROLE, ClusterSettings(owner_id="ci"), of_role("ci")),
        (ROLE, ClusterSettings(owner="team"), ClusterId("ml", "team", "1", "us-west-2")),
        ("arn:aws:iam::1:user/ada", ClusterSettings(), ClusterId("ml", "arn:aws:iam::1:user/ada", "1", "us-west-2")),
    ],
)
def test_the_settings_name_the_owner_and_the_caller_is_the_default(
    arn: str, settings: ClusterSettings, expected: ClusterId
) -> None:
    wire = Wire(lambda _: refusal("Unexpected"))
    cluster_id = identity.cluster_id(
        clients(wire), Settings(cluster=settings), identity.Identity("1", arn), lambda: "kept"
    )

    assert cluster_id == expected
    assert cluster_id.is_caller == (not settings.owner)


@pytest.mark.parametrize(("owner", "owner_id"), [("ada", "ada"), (ROLE, "")])
def test_another_owner_is_named_by_id_or_arn(owner: str, owner_id: str) -> None:
    named = identity.named_cluster_id(of_role("mine"), owner)

    assert named == ClusterId("ml", owner, "1", "us-west-2", owner_id)
    assert not named.is_caller


def test_an_access_key_is_looked_up_once_and_again_after_hours(tmp_path: Path) -> None:
    time, wire = Time(), Wire(lambda _: (200, CALLER))

    def look_up(folder: Path = tmp_path) -> int:
        assert identity.known_identity(clients(wire, time), folder) == identity.Identity("1", f"{ROLE}/ada")
        return len(wire.requests)

    assert (look_up(), look_up()) == (1, 1)
    time.seconds += identity.IDENTITY_TTL_S + 1
    assert (look_up(), look_up()) == (2, 2)

    # Damaged, or no folder that can be written.
    (tmp_path / identity.IDENTITIES).write_text('{"x": 1}')
    assert look_up() == 3
    assert look_up(tmp_path / identity.IDENTITIES) == 4
