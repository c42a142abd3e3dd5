"""Tags of instances, as EC2 receives them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.aws import client
from orchestrator.aws.ec2 import instance_tags
from orchestrator.core.errors import CloudRefused
from tests.support.aws.wire import Request, Wire, clients, refusal

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def sent(change: Callable[[client.Clients], None]) -> list[tuple[list[str], str, str]]:
    """Return the ids, the key and the value of each CreateTags call of a change."""
    wire = Wire(lambda _: (200, "<CreateTagsResponse><return>true</return></CreateTagsResponse>"))
    change(clients(wire))
    assert {request.action for request in wire.requests} == {"CreateTags"}
    return [
        (_ids(request), request.arguments["Tag.1.Key"], request.arguments["Tag.1.Value"]) for request in wire.requests
    ]


def _ids(request: Request) -> list[str]:
    return [value for key, value in request.arguments.items() if key.startswith("ResourceId.")]


def test_a_call_tags_at_most_1000_instances() -> None:
    ids = [f"i-{number:017x}" for number in range(2001)]
    calls = sent(lambda clients: instance_tags.set_tag(clients, ids, "key", "value"))

    assert [len(batch) for batch, _, _ in calls] == [1000, 1000, 1]
    assert [instance_id for batch, _, _ in calls for instance_id in batch] == ids


def test_the_host_key_is_tagged_without_its_algorithm_and_the_boot_key_is_cleared() -> None:
    assert sent(lambda clients: instance_tags.tag_host_key(clients, "i-1", "ssh-ed25519 AAAAC3Nz ml-0")) == [
        (["i-1"], "stratus:hostkey", "AAAAC3Nz")
    ]
    # parse_qs() drops an empty value.
    wire = Wire(lambda _: (200, "<CreateTagsResponse/>"))
    instance_tags.clear_boot_key_tags(clients(wire), ["i-1", "i-2"])
    (request,) = wire.requests
    assert (_ids(request), request.arguments["Tag.1.Key"]) == (["i-1", "i-2"], "stratus:bootkey")
    assert request.arguments.get("Tag.1.Value", "") == ""


def test_instances_that_shut_down_in_the_same_minute_share_a_call() -> None:
    times = {"i-1": NOON + timedelta(seconds=1), "i-2": NOON + timedelta(seconds=60), "i-3": NOON}

    assert sent(lambda clients: instance_tags.tag_expiry(clients, times)) == [
        (["i-1", "i-2"], "stratus:expires", "2026-11-20T12:01:00+00:00"),
        (["i-3"], "stratus:expires", "2026-11-20T12:00:00+00:00"),
    ]


@pytest.mark.parametrize(
    ("time", "minute"),
    [
        (NOON, NOON),
        (NOON + timedelta(microseconds=1), NOON + timedelta(minutes=1)),
        (NOON + timedelta(seconds=1), NOON + timedelta(minutes=1)),
        (NOON + timedelta(seconds=59, microseconds=999_999), NOON + timedelta(minutes=1)),
    ],
)
def test_a_shutdown_time_is_rounded_up_to_the_minute(time: datetime, minute: datetime) -> None:
    assert instance_tags.round_up(time) == minute


def test_instances_with_the_same_billed_time_share_a_call() -> None:
    values = {"i-1": "60 1 2 3", "i-2": "90 1 2 3", "i-3": "60 1 2 3"}

    assert sent(lambda clients: instance_tags.tag_past_use(clients, values)) == [
        (["i-1", "i-3"], "stratus:billed", "60 1 2 3"),
        (["i-2"], "stratus:billed", "90 1 2 3"),
    ]


@pytest.mark.parametrize(
    ("change", "action"),
    [
        (lambda clients: instance_tags.tag_host_key(clients, "i-1", "a b"), "tagging i-1 with its new host key"),
        (lambda clients: instance_tags.clear_boot_key_tags(clients, ["i-1"]), "clearing the boot key tags"),
        (lambda clients: instance_tags.tag_expiry(clients, {"i-1": NOON}), "tagging VMs with their shutdown time"),
        (lambda clients: instance_tags.tag_past_use(clients, {"i-1": "60"}), "tagging VMs with the time billed so far"),
    ],
)
def test_a_refusal_names_what_was_tagged(change: Callable[[client.Clients], None], action: str) -> None:
    wire = Wire(lambda _: refusal("UnauthorizedOperation"))

    with pytest.raises(CloudRefused, match=action):
        change(clients(wire))
