"""Faults of API calls, over HTTP and in virtual time."""

from __future__ import annotations

import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
from botocore.exceptions import ConnectionClosedError, ReadTimeoutError

import localcloud
from localcloud.scenarios.scenario import make_fault
from tests.support.localcloud.clients import TYPE, boto, error_of, image
from tests.support.localcloud.in_memory import OpenCloud, client_without_retries
from tests.support.localcloud.instances import Play


def test_an_error_is_injected_before_or_after_a_call_takes_effect(ec2: Any, play: Play) -> None:
    play(
        make_fault("error", code="InternalError", action="CreateKeyPair", when="at call 1"),
        make_fault("error", code="ServiceUnavailable", action="CreateKeyPair", when="at call 2", applied=True),
    )
    codes = [error_of(ec2.create_key_pair, KeyName=name)[:2] for name in ("before", "after")]

    assert codes == [("InternalError", 500), ("ServiceUnavailable", 503)]
    assert [pair["KeyName"] for pair in ec2.describe_key_pairs()["KeyPairs"]] == ["after"]
    ec2.delete_key_pair(KeyName="after")


def test_a_dropped_call_closes_the_connection_and_takes_effect(cloud: dict[str, str], ec2: Any, play: Play) -> None:
    play(make_fault("dropped", action="CreateKeyPair", times=1))
    with pytest.raises(ConnectionClosedError):
        ec2.create_key_pair(KeyName="unheard")

    assert [pair["KeyName"] for pair in ec2.describe_key_pairs()["KeyPairs"]] == ["unheard"]
    assert [call[1:] for call in localcloud.calls(cloud["LOCALCLOUD_HOME"])][-2:] == [
        ("CreateKeyPair", "dropped"),
        ("DescribeKeyPairs", "ok"),
    ]
    ec2.delete_key_pair(KeyName="unheard")


def test_calls_beyond_a_rate_are_throttled(ec2: Any, play: Play) -> None:
    play(make_fault("throttled", action="Describe*", burst=2, rate=0.5))
    ec2.describe_vpcs()
    ec2.describe_subnets()

    assert error_of(ec2.describe_vpcs)[:2] == ("RequestLimitExceeded", 503)


@pytest.mark.slow
def test_each_service_refuses_unknown_expired_and_skewed_keys_with_its_own_codes(
    cloud: dict[str, str], play: Play
) -> None:
    calls: dict[str, Callable[[], Any]] = {
        "ec2": boto(cloud, "ec2").describe_vpcs,
        "sts": boto(cloud, "sts").get_caller_identity,
        "ssm": lambda: boto(cloud, "ssm").get_parameter(Name="x"),
        "s3": boto(cloud, "s3").list_buckets,
    }

    def codes() -> list[tuple[str, int]]:
        return [error_of(call)[:2] for call in calls.values()]

    play(make_fault("bad-keys"))
    assert codes() == [
        ("AuthFailure", 401),
        ("InvalidClientTokenId", 403),
        ("UnrecognizedClientException", 400),
        ("InvalidAccessKeyId", 403),
    ]
    play(make_fault("expired-keys"))
    assert codes() == [
        ("RequestExpired", 400),
        ("ExpiredToken", 403),
        ("ExpiredTokenException", 400),
        ("ExpiredToken", 400),
    ]
    play(make_fault("clock-skew", seconds=900))
    assert codes() == [
        ("RequestExpired", 400),
        ("SignatureDoesNotMatch", 403),
        ("InvalidSignatureException", 400),
        ("RequestTimeTooSkewed", 403),
    ]


def test_a_small_clock_skew_shows_in_the_date_only(ec2: Any, play: Play) -> None:
    play(make_fault("clock-skew", seconds=-200))
    date = ec2.describe_vpcs()["ResponseMetadata"]["HTTPHeaders"]["date"]

    assert -203 < parsedate_to_datetime(date).timestamp() - time.time() < -198


def test_a_missing_permission_fails_a_dry_run_too(cloud: dict[str, str], ec2: Any, play: Play) -> None:
    order = {"ImageId": image(cloud), "InstanceType": TYPE, "MinCount": 1, "MaxCount": 1, "DryRun": True}
    play(make_fault("denied", action="RunInstances"), make_fault("denied", action="ssm:*", by="scp"))
    code, status, message = error_of(ec2.run_instances, **order)

    assert (code, status) == ("UnauthorizedOperation", 403)
    assert "researcher is not authorized to perform: ec2:RunInstances on resource" in message
    assert "no identity-based policy allows the ec2:RunInstances action" in message
    code, _, message = error_of(boto(cloud, "ssm").get_parameter, Name="x")
    assert (code, "with an explicit deny in a service control policy" in message) == ("AccessDeniedException", True)
    play()
    assert error_of(ec2.run_instances, **order)[:2] == ("DryRunOperation", 412)


def test_tagging_at_creation_requires_a_permission_of_its_own(cloud: dict[str, str], ec2: Any, play: Play) -> None:
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "a", "Value": "b"}]}]
    order = {"ImageId": image(cloud), "InstanceType": TYPE, "MinCount": 1, "MaxCount": 1, "TagSpecifications": tags}
    play(make_fault("denied", action="CreateTags"))
    for dry in (True, False):
        code, _, message = error_of(ec2.run_instances, **order, DryRun=dry)
        assert (code, "perform: ec2:CreateTags on" in message) == ("UnauthorizedOperation", True)

    del order["TagSpecifications"]
    assert error_of(ec2.run_instances, **order, DryRun=True)[:2] == ("DryRunOperation", 412)


def test_a_dropped_call_closes_the_connection_and_a_slow_one_times_out(open_cloud: OpenCloud) -> None:
    cloud = open_cloud(
        make_fault("dropped", action="CreateKeyPair"), make_fault("slow", action="DescribeVpcs", seconds=100)
    )
    ec2 = client_without_retries(cloud)
    with pytest.raises(ConnectionClosedError):
        ec2.create_key_pair(KeyName="unheard")
    before = cloud.clock.now()
    with pytest.raises(ReadTimeoutError):
        ec2.describe_vpcs()

    assert len(ec2.describe_key_pairs()["KeyPairs"]) == 1
    assert 60 < cloud.clock.now() - before < 61
