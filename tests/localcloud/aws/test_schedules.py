"""Schedules of EventBridge Scheduler that are executed with their role."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.localcloud.clients import boto, error_of, wait_until
from tests.support.localcloud.in_memory import OpenCloud


def make_role(iam: Any, name: str, service: str, action: str, resource: str = "*") -> str:
    statement = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    trust = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    role: str = iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    allowed = {"Effect": "Allow", "Action": action, "Resource": resource}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    iam.put_role_policy(RoleName=name, PolicyName="all", PolicyDocument=policy)
    return role


def schedule(role: str, time: str, action: str, params: dict[str, Any]) -> dict[str, Any]:
    return {
        "Name": "end",
        "ScheduleExpression": f"at({time})",
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "ActionAfterCompletion": "DELETE",
        "Target": {"Arn": f"arn:aws:scheduler:::aws-sdk:{action}", "RoleArn": role, "Input": json.dumps(params)},
    }


@pytest.mark.slow
def test_a_schedule_calls_the_api_at_its_time_and_is_deleted(open_cloud: OpenCloud) -> None:
    cloud = open_cloud()
    session = cloud.session()
    ec2, scheduler = session.client("ec2"), session.client("scheduler")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    role = make_role(session.client("iam"), "ends", "scheduler.amazonaws.com", "ec2:*")
    scheduler.create_schedule(**schedule(role, "2026-11-20T10:00:00", "ec2:deleteVpc", {"VpcId": vpc}))
    calls = len(cloud.calls)
    cloud.clock.sleep(3600)
    assert len(ec2.describe_vpcs(VpcIds=[vpc])["Vpcs"]) == 1
    cloud.clock.sleep(3600)
    assert vpc not in [item["VpcId"] for item in ec2.describe_vpcs()["Vpcs"]]
    assert scheduler.list_schedules()["Schedules"] == []
    assert {call.action for call in cloud.calls[calls:]} == {"DescribeVpcs", "ListSchedules"}


@pytest.mark.slow
def test_a_schedule_may_do_what_its_role_allows_only(cloud: dict[str, str]) -> None:
    iam, ec2, scheduler = (boto(cloud, name) for name in ("iam", "ec2", "scheduler"))
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]

    def ids() -> list[str]:
        return [item["VpcId"] for item in ec2.describe_vpcs()["Vpcs"]]

    narrow = make_role(iam, "narrow", "scheduler.amazonaws.com", "ec2:DescribeVpcs")
    due = schedule(narrow, "2020-01-01T00:00:00", "ec2:deleteVpc", {"VpcId": vpc})
    scheduler.create_schedule(**due)
    wide = make_role(iam, "wide", "scheduler.amazonaws.com", "ec2:DeleteVpc")
    scheduler.create_schedule(**{**due, "Name": "other", "Target": {**due["Target"], "RoleArn": wide}})
    wait_until(lambda: vpc not in ids())
    wait_until(lambda: [item["Name"] for item in scheduler.list_schedules()["Schedules"]] == ["end"])
    scheduler.delete_schedule(Name="end")
    foreign = {**due, "Target": {**due["Target"], "RoleArn": "arn:aws:iam::123456789012:role/none"}}
    assert error_of(scheduler.create_schedule, **foreign)[0] == "ValidationException"


@pytest.mark.slow
def test_a_role_for_some_models_deletes_no_others(cloud: dict[str, str]) -> None:
    iam, sagemaker, scheduler = (boto(cloud, name) for name in ("iam", "sagemaker", "scheduler"))
    ours = "arn:aws:sagemaker:*:123456789012:model/ours-*"
    role = make_role(iam, "ours", "scheduler.amazonaws.com", "sagemaker:DeleteModel", ours)
    image = "123456789012.dkr.ecr.us-west-2.amazonaws.com/any:1"
    reader = make_role(iam, "reader", "sagemaker.amazonaws.com", "s3:GetObject")
    for name in ("Ours-a", "theirs-b"):
        sagemaker.create_model(ModelName=name, PrimaryContainer={"Image": image}, ExecutionRoleArn=reader)
        due = schedule(role, "2020-01-01T00:00:00", "sagemaker:deleteModel", {"ModelName": name})
        scheduler.create_schedule(**{**due, "Name": name})
    pair = {"Ours-a", "theirs-b"}
    wait_until(lambda: pair & {item["ModelName"] for item in sagemaker.list_models()["Models"]} == {"theirs-b"})
    wait_until(lambda: pair & {item["Name"] for item in scheduler.list_schedules()["Schedules"]} == {"theirs-b"})
    scheduler.delete_schedule(Name="theirs-b")
    sagemaker.delete_model(ModelName="theirs-b")
