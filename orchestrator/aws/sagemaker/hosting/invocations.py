"""Invocations of an endpoint: a request of any type, and the answer, at once or through S3."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.aws import errors
from orchestrator.aws.sagemaker import artifacts
from orchestrator.aws.sagemaker.hosting.requests import ASYNCHRONOUS, SERVERLESS
from orchestrator.core.clock import Backoff
from orchestrator.core.errors import StratusError, UsageError

if TYPE_CHECKING:
    from orchestrator.aws.client import Clients

# SageMaker ends a request after 60 s: https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpoint.html
READ_TIMEOUT_S = 70.0
MAX_BYTES, MAX_SERVERLESS_BYTES, MAX_ASYNC_BYTES = 6_291_456, 4 << 20, 1 << 30
ASYNC_BACKOFF = Backoff(first_s=0.2, longest_s=5.0)


class ModelFailed(StratusError):
    """The model's code failed on a request."""

    json_name = "ModelFailed"


@dataclass(frozen=True)
class Payload:
    """A request, or an answer.

    :param content_type: such as ``text/csv``.
    """

    body: bytes
    content_type: str


def check_size(size: int, mode: str) -> None:
    """Check the size of a request.

    :param size: bytes.
    :raises UsageError: it is too large for this kind of endpoint.
    """
    limit = {SERVERLESS: MAX_SERVERLESS_BYTES, ASYNCHRONOUS: MAX_ASYNC_BYTES}.get(mode, MAX_BYTES)
    if size > limit:
        article = "an" if mode == ASYNCHRONOUS else "a"
        text = f"the request has {size:,} bytes; {article} {mode} endpoint takes {limit:,}"
        larger = "" if mode == ASYNCHRONOUS else ", deploy with mode='asynchronous' (1 GB)"
        raise UsageError(text, fix=f"send fewer rows{larger}, or use BatchTransform")


def invoke(clients: Clients, endpoint: str, payload: Payload, accept: str = "") -> Payload:
    """Return the answer of an endpoint.

    :raises ModelFailed: the model's code failed on the request.
    :raises StratusError: the model refused the request, or SageMaker did.
    """
    client = clients.service("sagemaker-runtime", attempts=2, timeout_s=READ_TIMEOUT_S)
    options: dict[str, Any] = {"Accept": accept} if accept else {}
    with clients.translate_errors(f"asking the endpoint {endpoint}"):
        try:
            response = client.invoke_endpoint(
                EndpointName=endpoint, Body=payload.body, ContentType=payload.content_type, **options
            )
        except errors.error_types() as error:
            if errors.code_of(error) != "ModelError":
                raise
            raise _model_error(endpoint, getattr(error, "response", {})) from error
        return Payload(response["Body"].read(), response.get("ContentType", ""))


def _model_error(endpoint: str, response: Mapping[str, Any]) -> StratusError:
    status, message = response.get("OriginalStatusCode", 0), str(response.get("OriginalMessage", ""))
    if not status:
        # SageMaker gives up on a container after 60 s, or if it ends.
        reason = " ".join(str(response.get("Error", {}).get("Message", message)).split())[:300]
        fix = "deploy with mode='asynchronous' for answers that take up to 15 minutes"
        return StratusError(f"the model did not answer: {reason}", where=endpoint, fix=fix)
    first = next(iter(message.strip().splitlines()), "no message")[:300]
    text = f"the model answered {status}: {first}"
    return UsageError(text, where=endpoint) if 400 <= status < 500 else ModelFailed(text, where=endpoint)


def invoke_later(clients: Clients, endpoint: str, payload: Payload, url: str, accept: str = "") -> tuple[str, str]:
    """Upload a request and put it into the queue of an asynchronous endpoint; return the URLs of answer and failure.

    :param url: S3 URL of the request.
    :raises StratusError: S3 or SageMaker refused.
    """
    prefix, _, name = url.rpartition("/")
    artifacts.upload(clients, prefix, {name: payload.body})
    options: dict[str, Any] = {"Accept": accept} if accept else {}
    with clients.translate_errors(f"asking the endpoint {endpoint}"):
        response = clients.service("sagemaker-runtime").invoke_endpoint_async(
            EndpointName=endpoint, InputLocation=url, ContentType=payload.content_type, **options
        )
    return str(response["OutputLocation"]), str(response.get("FailureLocation", ""))


def wait_for_answer(clients: Clients, endpoint: str, urls: tuple[str, str], timeout_s: float) -> bytes:
    """Return the answer of an asynchronous endpoint once it is written.

    :param urls: of answer and failure.
    :raises StratusError: the request failed, or there is no answer in time.
    """
    output, failure = urls
    for _ in clients.clock.attempts(timeout_s, ASYNC_BACKOFF):
        if (content := artifacts.chunks(clients, output)) is not None:
            return b"".join(content)
        if failure and (content := artifacts.chunks(clients, failure)) is not None:
            text = " ".join(b"".join(content).decode("utf-8", "replace").split())
            raise StratusError(f"the request failed: {text[:400]}", where=endpoint)
    fix = f"the answer will be in {output}"
    raise StratusError(f"no answer within {timeout_s:.0f} s", where=endpoint, fix=fix)
