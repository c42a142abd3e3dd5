"""Fault engine: schedules, numbers of triggers, chances, keys."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import ClientError

from localcloud.scenarios.fault_engine import ActiveFault, ApiCall
from localcloud.scenarios.scenario import make_fault
from tests.support.localcloud.in_memory import OpenCloud, client_without_retries


def test_a_schedule_a_number_of_times_and_a_chance_limit_a_fault(open_cloud: OpenCloud) -> None:
    def failures(**narrowed: Any) -> str:
        cloud = open_cloud(make_fault("error", code="InternalError", action="DescribeVpcs", **narrowed))
        ec2, seen = client_without_retries(cloud), ""
        for _ in range(12):
            try:
                ec2.describe_vpcs()
                seen += "."
            except ClientError:
                seen += "x"
            cloud.clock.sleep(1 - 0.05)
        return seen

    assert failures(when="from 3 s to 5 s") == "...xx......."
    assert failures(when="at calls 2 to 3") == ".xx........."
    assert failures(times=2) == "xx.........."
    assert failures(chance=0.5) == failures(chance=0.5)
    assert 2 < failures(chance=0.5).count("x") < 10


def test_a_fault_of_the_users_keys_does_not_affect_instance_keys() -> None:
    live = ActiveFault(make_fault("bad-keys"), "seed")

    assert live.matches(ApiCall("s3", "GET /x", "us-west-2", by_user=True))
    assert not live.matches(ApiCall("s3", "GET /x", "us-west-2", by_user=False))
