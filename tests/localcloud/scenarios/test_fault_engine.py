"""Fault engine: schedules, numbers of triggers, chances, keys."""

from __future__ import annotations

from typing import Any

import pytest
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


def test_faults_without_effect_are_listed(open_cloud: OpenCloud) -> None:
    cloud = open_cloud(
        make_fault("error", title="struck", code="InternalError", action="DescribeVpcs", times=1),
        make_fault("error", title="elsewhere", code="InternalError", action="DescribeVpcs", where="eu-west-1"),
        make_fault("host-reboots", title="too late", when="3600 s after running"),
        make_fault("quota", title="quota", quota="L-1216C47A", vcpus=4),
    )
    with pytest.raises(ClientError):
        client_without_retries(cloud).describe_vpcs()

    assert cloud.unused_faults() == ["elsewhere", "too late", "quota"]
