"""Resources of others are never touched: EC2 filters by cluster, and the tags of its response are checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from orchestrator.aws import client, identity
from orchestrator.aws.ec2 import instances, key_pairs, security_groups
from orchestrator.aws.ec2.key_pairs import KeyPair
from orchestrator.aws.ec2.ownership import Ownership
from tests.support.aws.account import INSTANCE_ID, OURS, Account
from tests.support.aws.values import CLUSTER_ID
from tests.support.aws.wire import Wire, clients

THEIRS = {**OURS, identity.TAG_OWNER: "arn:aws:iam::123456789012:user/grace"}
OTHER_CLUSTER = {**OURS, identity.TAG_CLUSTER: "lm"}

LOOKUPS: dict[str, Callable[[client.Clients], object]] = {
    "all": lambda clients: instances.describe(clients, Ownership(CLUSTER_ID)),
    "a launch": lambda clients: instances.find_by_launch(clients, Ownership(CLUSTER_ID), "r"),
    "groups": lambda clients: security_groups.delete(clients, CLUSTER_ID),
    "keys": lambda clients: key_pairs.delete(
        clients, CLUSTER_ID, KeyPair(CLUSTER_ID.resource_name, Path("/nonexistent"), is_own=True)
    ),
}


@pytest.mark.parametrize("lookup", LOOKUPS)
def test_lookups_filter_by_cluster(lookup: str) -> None:
    wire = Wire(Account())
    LOOKUPS[lookup](clients(wire))
    arguments = wire.requests[0].arguments
    filters = {
        arguments[name]: arguments[name.replace("Name", "Value.1")] for name in arguments if name.endswith(".Name")
    }

    assert filters[f"tag:{identity.TAG_CLUSTER}"] == CLUSTER_ID.cluster


@pytest.mark.parametrize("tags", [THEIRS, OTHER_CLUSTER, {}], ids=["owner", "cluster", "none"])
@pytest.mark.parametrize("lookup", LOOKUPS)
def test_resources_of_others_are_ignored_even_if_ec2_returns_them(lookup: str, tags: Mapping[str, str]) -> None:
    account = Account({INSTANCE_ID: ("running", tags)}, group=tags or {"a": "b"}, key=tags or {"a": "b"})

    assert LOOKUPS[lookup](clients(Wire(account))) == []
    assert (account.terminated, account.deleted) == (set(), [])


@pytest.mark.parametrize("lookup", LOOKUPS)
def test_own_resources_are_found(lookup: str) -> None:
    """Without this test, the one above would pass for lookups that find nothing."""
    account = Account({INSTANCE_ID: ("running", OURS)}, group=OURS, key=OURS)

    assert LOOKUPS[lookup](clients(Wire(account)))
