"""HTTP endpoint: callers, large bodies, concurrency, unsupported calls."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.localcloud.clients import boto, error_code
from tests.support.localcloud.instances import Launch


def test_the_caller_is_a_user_of_the_account(cloud: dict[str, str]) -> None:
    assert boto(cloud, "sts").get_caller_identity()["Arn"] == "arn:aws:iam::123456789012:user/researcher"


@pytest.mark.slow
def test_large_objects_arrive_whole(cloud: dict[str, str]) -> None:
    s3 = boto(cloud, "s3")
    s3.create_bucket(Bucket="large", CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    s3.put_object(Bucket="large", Key="blob", Body=bytes(9_000_000))

    assert s3.head_object(Bucket="large", Key="blob")["ContentLength"] == 9_000_000


def test_an_unsupported_call_is_reported_as_not_implemented(ec2: Any, launch: Launch) -> None:
    # moto notices the unknown filter when it compares an instance with it.
    launch()

    assert error_code(ec2.describe_instances, Filters=[{"Name": "hypervisor", "Values": ["xen"]}]) == "NotImplemented"


def test_concurrent_calls_are_all_answered(cloud: dict[str, str]) -> None:
    ec2 = boto(cloud, "ec2", max_pool_connections=24)
    with ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(lambda _: len(ec2.describe_subnets()["Subnets"]), range(72)))

    assert len(answers) == 72
    assert len(set(answers)) == 1
