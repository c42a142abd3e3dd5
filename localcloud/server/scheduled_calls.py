"""Calls of schedules, over the cloud's own endpoint."""

from __future__ import annotations

from typing import Any

from localcloud.aws.schedules import Caller, ScheduledCall
from localcloud.aws.wsgi import mark_as_platform


def http_caller(url: str) -> Caller:
    """Return a caller that sends calls to an endpoint.

    :param url: AWS_ENDPOINT_URL.
    """

    def call(due: ScheduledCall) -> None:
        import boto3
        from botocore import xform_name
        from botocore.config import Config

        session: Any = boto3.Session(
            due.credentials["AWS_ACCESS_KEY_ID"],
            due.credentials["AWS_SECRET_ACCESS_KEY"],
            due.credentials["AWS_SESSION_TOKEN"],
            region_name=due.region,
        )
        config = Config(proxies={}, retries={"total_max_attempts": 1})
        client = session.client(due.service, endpoint_url=url, config=config)
        client.meta.events.register("before-sign", mark_as_platform)
        getattr(client, xform_name(due.action))(**due.params)

    return call
