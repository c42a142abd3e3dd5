"""AWS clients whose wire is a function: real botocore on this side of it, canned answers on the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
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
    """What botocore sent: an EC2 call with its flattened arguments."""

    action: str
    arguments: Mapping[str, str]

    @property
    def ids(self) -> list[str]:
        """Values of InstanceId.1, InstanceId.2..."""
        return [value for key, value in self.arguments.items() if key.startswith("InstanceId.")]


@dataclass
class Wire:
    """Keeps every request and answers it by ``answer``."""

    answer: Answer
    requests: list[Request] = field(default_factory=list)

    def __call__(self, request: Any, **_: Any) -> Any:
        """The handler of botocore's before-send event: its answer goes in place of the network's."""
        from botocore.awsrequest import AWSResponse

        body = request.body.decode() if isinstance(request.body, bytes) else request.body
        arguments = {key: values[0] for key, values in parse_qs(body).items()}
        asked = Request(arguments["Action"], arguments)
        self.requests.append(asked)
        status, text = self.answer(asked)
        headers: Any = {"date": "Fri, 20 Nov 2026 14:12:00 GMT"}
        return AWSResponse(request.url, status, headers, _Raw(text))


class _Raw:
    def __init__(self, text: str) -> None:
        self._text = text

    def stream(self) -> Iterator[bytes]:
        yield self._text.encode()


@cache
def loader() -> Any:
    """Reads the descriptions of AWS's services once for all tests: EC2's alone takes a quarter of a second."""
    from botocore.loaders import create_loader

    return create_loader()


def session(key: str, secret: str) -> boto3.Session:
    """A session in us-west-2 with these credentials."""
    import boto3
    import botocore.session

    inner = botocore.session.Session()
    inner.register_component("data_loader", loader())
    return boto3.Session(key, secret, region_name="us-west-2", botocore_session=inner)


def clients(wire: Wire, time: Time | None = None) -> Clients:
    """Return clients whose requests ``wire`` answers, with a simulated clock."""
    made = session("a", "b")
    made.events.register("before-send", wire)
    return Clients(made, region="us-west-2", clock=(time or Time()).clock)


def refusal(code: str, message: str = "said AWS", status: int = 400) -> tuple[int, str]:
    """EC2's answer when it refuses."""
    errors = f"<Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors>"
    return status, f"<Response>{errors}<RequestID>r</RequestID></Response>"


def launched(*ids: str) -> tuple[int, str]:
    """EC2's answer when it launches."""
    items = "".join(_item(each, index) for index, each in enumerate(ids))
    return 200, f"<RunInstancesResponse><instancesSet>{items}</instancesSet></RunInstancesResponse>"


def _item(instance_id: str, index: int) -> str:
    return (
        f"<item><instanceId>{instance_id}</instanceId><imageId>ami-1</imageId><amiLaunchIndex>{index}</amiLaunchIndex>"
        "<instanceState><code>0</code><name>pending</name></instanceState><instanceType>c7i.2xlarge</instanceType>"
        "<launchTime>2026-11-20T14:12:07.000Z</launchTime><placement><availabilityZone>us-west-2a</availabilityZone>"
        "</placement><privateIpAddress>10.0.0.4</privateIpAddress></item>"
    )


class Time:
    """A clock that only moves when somebody sleeps."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.clock = Clock(monotonic=lambda: self.seconds, sleep=self._sleep, random=lambda: 1.0, now=self._now)

    def _sleep(self, seconds: float) -> None:
        self.seconds += seconds

    def _now(self) -> datetime:
        return datetime(2026, 11, 20, 14, 12, 7, tzinfo=UTC) + timedelta(seconds=self.seconds)
