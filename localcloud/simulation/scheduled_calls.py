"""Calls of schedules within the process of a simulated cloud."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from localcloud.aws.schedules import Caller, ScheduledCall
from localcloud.aws.wsgi import annotate_call, mark_as_platform
from localcloud.core.clock import Clock

if TYPE_CHECKING:
    from botocore.awsrequest import AWSPreparedRequest

Send = Callable[[dict[str, Any], str, float], tuple[int, dict[str, str], bytes]]
"""Passes a WSGI environment to the cloud's application; takes its URL and a timeout, too."""


def in_process_caller(send: Send, clock: Clock) -> Caller:
    """Return a caller whose calls take no time and are none of the client's."""

    def transport(request: AWSPreparedRequest, timeout_s: float) -> tuple[int, dict[str, str], bytes]:
        from localcloud.simulation.boto_session import wsgi_environ

        environ, body = wsgi_environ(request)
        annotate_call(environ, body)
        return send(environ, request.url, timeout_s)

    def call(due: ScheduledCall) -> None:
        from botocore import xform_name
        from botocore.config import Config

        from localcloud.simulation.boto_session import InProcessSession

        keys = due.credentials["AWS_ACCESS_KEY_ID"], due.credentials["AWS_SECRET_ACCESS_KEY"]
        token = due.credentials["AWS_SESSION_TOKEN"]
        # No call is retried, so nothing is drawn.
        session = InProcessSession(transport, clock, random.Random(0), keys=keys, token=token)
        config = Config(retries={"total_max_attempts": 1})
        client = session.client(due.service, region_name=due.region, config=config)
        client.meta.events.register("before-sign", mark_as_platform)
        getattr(client, xform_name(due.action))(**due.params)

    return call
