"""AWS clients without a network: real botocore, whose requests a function answers, and a simulated clock."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from orchestrator.aws.client import Clients
from orchestrator.core.clock import Clock

if TYPE_CHECKING:
    import boto3

Answer = Callable[["Request"], "tuple[int, str]"]


@dataclass(frozen=True)
class Request:
    """An EC2 request as botocore sent it, with flattened arguments."""

    action: str
    arguments: Mapping[str, str]

    @property
    def ids(self) -> list[str]:
        """Values of InstanceId.1, InstanceId.2..."""
        return [value for key, value in self.arguments.items() if key.startswith("InstanceId.")]


@dataclass
class Wire:
    """Records every request, and has ``answer`` answer it."""

    answer: Answer
    requests: list[Request] = field(default_factory=list)

    def __call__(self, request: Any, **_: Any) -> Any:
        """Handle botocore's event before-send: the returned response replaces that of the network."""
        from botocore.awsrequest import AWSResponse

        body = request.body.decode() if isinstance(request.body, bytes) else request.body
        arguments = {key: values[0] for key, values in parse_qs(body).items()}
        received = Request(arguments["Action"], arguments)
        self.requests.append(received)
        status, text = self.answer(received)
        headers: Any = {"date": "Fri, 20 Nov 2026 14:12:00 GMT"}
        return AWSResponse(request.url, status, headers, RawBody(text))


class RawBody:
    """Body of a response, as urllib3 provides it."""

    def __init__(self, text: str) -> None:
        self._text = text

    def stream(self) -> Iterator[bytes]:
        """Yield the body."""
        yield self._text.encode()


@cache
def loader() -> Any:
    """Return one loader of service descriptions for all tests: reading EC2's takes a quarter of a second."""
    from botocore.loaders import create_loader

    return create_loader()


def session(key: str, secret: str) -> boto3.Session:
    """Return a session in us-west-2 with these credentials."""
    import boto3
    import botocore.session

    inner = botocore.session.Session()
    inner.register_component("data_loader", loader())
    return boto3.Session(key, secret, region_name="us-west-2", botocore_session=inner)


def clients(wire: Wire, time: Time | None = None, *, sequential: bool = False) -> Clients:
    """Return clients whose requests ``wire`` answers, with a simulated clock.

    :param sequential: True for repeated requests in simulated time, too.
    """
    boto = session("a", "b")
    boto.events.register("before-send", wire)
    return Clients(boto, region="us-west-2", clock=(time or Time()).clock, sequential=sequential)


def refusal(code: str, message: str = "said AWS", status: int = 400) -> tuple[int, str]:
    """Return the response of a refused request."""
    errors = f"<Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors>"
    return status, f"<Response>{errors}<RequestID>r</RequestID></Response>"


def launched(*ids: str) -> tuple[int, str]:
    """Return the response of RunInstances."""
    items = "".join(_item(instance_id, index) for index, instance_id in enumerate(ids))
    return 200, f"<RunInstancesResponse><instancesSet>{items}</instancesSet></RunInstancesResponse>"


def state_changes(ids: Iterable[str], state: str, action: str = "TerminateInstances") -> tuple[int, str]:
    """Return the response of TerminateInstances, StopInstances or StartInstances."""
    items = "".join(
        f"<item><instanceId>{instance_id}</instanceId><currentState><code>32</code><name>{state}</name></currentState>"
        "</item>"
        for instance_id in ids
    )
    return 200, f"<{action}Response><instancesSet>{items}</instancesSet></{action}Response>"


def described(states: Mapping[str, str]) -> tuple[int, str]:
    """Return the response of DescribeInstances for some instance ids with their states."""
    items = "".join(
        f"<item><instanceId>{instance_id}</instanceId><instanceType>c7i.2xlarge</instanceType><instanceState>"
        f"<code>0</code><name>{state}</name></instanceState><launchTime>2026-11-20T14:12:07.000Z</launchTime>"
        "<placement/></item>"
        for instance_id, state in states.items()
    )
    reservations = f"<item><instancesSet>{items}</instancesSet></item>" if items else ""
    action = "DescribeInstances"
    return 200, f"<{action}Response><reservationSet>{reservations}</reservationSet></{action}Response>"


def _item(instance_id: str, index: int) -> str:
    return (
        f"<item><instanceId>{instance_id}</instanceId><imageId>ami-1</imageId><amiLaunchIndex>{index}</amiLaunchIndex>"
        "<instanceState><code>0</code><name>pending</name></instanceState><instanceType>c7i.2xlarge</instanceType>"
        "<launchTime>2026-11-20T14:12:07.000Z</launchTime><placement><availabilityZone>us-west-2a</availabilityZone>"
        "</placement><privateIpAddress>10.0.0.4</privateIpAddress></item>"
    )


class Time:
    """A simulated clock, which moves only by the pauses of its users."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.clock = Clock(monotonic=lambda: self.seconds, sleep=self._sleep, random=lambda: 1.0, now=self._now)

    def _sleep(self, seconds: float) -> None:
        self.seconds += seconds

    def _now(self) -> datetime:
        return datetime(2026, 11, 20, 14, 12, 7, tzinfo=UTC) + timedelta(seconds=self.seconds)
