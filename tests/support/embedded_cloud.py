"""What tests against the embedded cloud share: clients, and waits that have a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

UBUNTU = "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id"
TYPE = "c7i.2xlarge"


def boto(env: Mapping[str, str], service: str, **config: Any) -> Any:
    """A boto3 client of the cloud in ``env``; ``config`` goes into botocore's Config."""
    import boto3
    from botocore.config import Config

    session = boto3.session.Session(
        aws_access_key_id=env["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
        region_name=env["AWS_DEFAULT_REGION"],
    )
    return session.client(service, endpoint_url=env["AWS_ENDPOINT_URL"], config=Config(**config))


def wait_until(fact: Callable[[], Any], *, seconds: float = 60.0) -> Any:
    """The first true answer of ``fact``; fails when none came in time."""
    end = time.monotonic() + seconds
    while not (answer := fact()):
        assert time.monotonic() < end, f"{fact} did not come true within {seconds} s"
        time.sleep(0.03)
    return answer


def image(env: Mapping[str, str], parameter: str = UBUNTU) -> str:
    """The AMI id that an SSM parameter names."""
    value: str = boto(env, "ssm").get_parameter(Name=parameter)["Parameter"]["Value"]
    return value


def instances(ec2: Any, ids: Iterable[str]) -> list[dict[str, Any]]:
    """Descriptions of instances, in the order of ``ids``."""
    ids = list(ids)
    pages = ec2.describe_instances(InstanceIds=ids)["Reservations"]
    found = {one["InstanceId"]: one for page in pages for one in page["Instances"]}
    return [found[one] for one in ids]


def wait_for_state(ec2: Any, ids: Iterable[str], state: str) -> list[dict[str, Any]]:
    """Wait until every instance is in ``state``; their descriptions."""
    ids = list(ids)
    wait_until(lambda: {one["State"]["Name"] for one in instances(ec2, ids)} == {state})
    return instances(ec2, ids)
