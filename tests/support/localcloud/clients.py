"""Clients of the embedded cloud, descriptions and errors of its calls, and waits with a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytest
from botocore.exceptions import ClientError

UBUNTU = "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id"
TYPE = "c7i.2xlarge"


def boto(env: Mapping[str, str], service: str, **config: Any) -> Any:
    """Return a boto3 client of the cloud in ``env``; ``config`` goes into botocore's Config."""
    import boto3
    from botocore.config import Config

    session: Any = boto3.session.Session(
        aws_access_key_id=env["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
        region_name=env["AWS_DEFAULT_REGION"],
    )
    return session.client(service, endpoint_url=env["AWS_ENDPOINT_URL"], config=Config(**config))


def wait_until(fact: Callable[[], Any], *, seconds: float = 60.0) -> Any:
    """Return the first true value of ``fact``; fail if there was none in time."""
    deadline = time.monotonic() + seconds
    while not (value := fact()):
        assert time.monotonic() < deadline, f"{fact} not true within {seconds} s"
        time.sleep(0.03)
    return value


def image(env: Mapping[str, str], parameter: str = UBUNTU) -> str:
    """Return the AMI id that an SSM parameter names."""
    value: str = boto(env, "ssm").get_parameter(Name=parameter)["Parameter"]["Value"]
    return value


def instances(ec2: Any, ids: Iterable[str]) -> list[dict[str, Any]]:
    """Return the descriptions of instances, in the order of ``ids``."""
    ids = list(ids)
    reservations = ec2.describe_instances(InstanceIds=ids)["Reservations"]
    by_id = {instance["InstanceId"]: instance for page in reservations for instance in page["Instances"]}
    return [by_id[instance_id] for instance_id in ids]


def wait_for_state(ec2: Any, ids: Iterable[str], state: str) -> list[dict[str, Any]]:
    """Wait until every instance is in ``state``, and return their descriptions."""
    ids = list(ids)
    wait_until(lambda: {instance["State"]["Name"] for instance in instances(ec2, ids)} == {state})
    return instances(ec2, ids)


def error_of(call: Callable[..., Any], *counts: int, **arguments: Any) -> tuple[str, int, str]:
    """Return code, HTTP status and message of the error that a call raises."""
    with pytest.raises(ClientError) as caught:
        call(*counts, **arguments)
    response: Any = caught.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Message"]


def error_code(call: Callable[..., Any], *counts: int, **arguments: Any) -> str:
    """Return the code of the error that a call raises."""
    return error_of(call, *counts, **arguments)[0]
