"""Identity of the caller and of a cluster."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.aws import identity
from tests.support.aws.values import CLUSTER_ID


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
    assert len({CLUSTER_ID.resource_name, *(other.resource_name for other in others)}) == 4


def test_a_resource_is_ours_only_with_both_tags() -> None:
    assert CLUSTER_ID.matches(CLUSTER_ID.tags)
    assert not CLUSTER_ID.matches(CLUSTER_ID.tags[:1])
    assert not CLUSTER_ID.matches(CLUSTER_ID.tags[1:])
    assert not CLUSTER_ID.matches(replace(CLUSTER_ID, owner="eve").tags)


def test_a_wildcard_in_an_owners_name_finds_that_owner_only() -> None:
    assert identity.tag_filter("stratus:owner", "lab*?")["Values"] == [r"lab\*\?"]
