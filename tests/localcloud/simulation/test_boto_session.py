"""boto3 session of the in-memory cloud: retries in virtual time, S3."""

from __future__ import annotations

from botocore.config import Config

from localcloud.scenarios.scenario import make_fault
from tests.support.localcloud.clients import error_code
from tests.support.localcloud.in_memory import OpenCloud


def test_retries_wait_in_virtual_time_and_every_attempt_is_recorded(open_cloud: OpenCloud) -> None:
    cloud = open_cloud(make_fault("error", code="RequestLimitExceeded", action="DescribeVpcs"))
    ec2 = cloud.session().client("ec2", config=Config(retries={"mode": "standard", "total_max_attempts": 8}))

    assert error_code(ec2.describe_vpcs) == "RequestLimitExceeded"
    assert [call.action for call in cloud.calls] == ["DescribeVpcs"] * 8
    assert cloud.clock.now() > 8


def test_s3_works_and_its_calls_have_names(open_cloud: OpenCloud) -> None:
    missing = make_fault("error", code="NoSuchKey", action="s3:HeadObject")
    cloud = open_cloud(missing, make_fault("denied", action="s3:PutObject", times=1))
    s3 = cloud.session().client("s3")
    s3.create_bucket(Bucket="scenes", CreateBucketConfiguration={"LocationConstraint": "us-west-2"})

    assert error_code(s3.put_object, Bucket="scenes", Key="a/b c", Body=b"seen") == "AccessDenied"
    s3.put_object(Bucket="scenes", Key="a/b c", Body=b"seen")
    assert s3.get_object(Bucket="scenes", Key="a/b c")["Body"].read() == b"seen"
    assert error_code(s3.head_object, Bucket="scenes", Key="a/b c") == "404"
