"""Translation of botocore's errors into StratusError and its subclasses."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from orchestrator.aws import connection_errors, error_codes
from orchestrator.aws.answers import UnexpectedAnswer
from orchestrator.core.errors import CloudRefused, StratusError
from orchestrator.core.next_step import as_message

if TYPE_CHECKING:
    from botocore.exceptions import ClientError


SERVICE = "SigningName"
"""Field of the metadata of an answer: the service, as requests to it are signed; see `note_service`."""

_IAM_PREFIXES = {"monitoring": "cloudwatch"}
"""Signing name of a service -> its prefix in policies, where they differ."""

_IAM_ACTIONS = {
    ("s3", operation): action
    for action, operations in {
        "ListBucket": ("ListObjects", "ListObjectsV2", "HeadBucket"),
        "GetObject": ("HeadObject",),
        "PutObject": ("CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"),
        "DeleteObject": ("DeleteObjects",),
        "ListMultipartUploadParts": ("ListParts",),
        "ListBucketMultipartUploads": ("ListMultipartUploads",),
    }.items()
    for operation in operations
}
"""Operation of a service -> the action that permits it, where they differ:
https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html"""


def note_service(model: Any, parsed: Any, **_: Any) -> None:
    """Note the service in an answer: an error of botocore has its operation only."""
    parsed.setdefault("ResponseMetadata", {})[SERVICE] = model.service_model.signing_name


@contextmanager
def translate_errors(action: str, *, profile: str = "") -> Iterator[None]:
    """Translate every AWS error raised inside.

    :param action: the action in progress, such as ``launching 2 x c7i.2xlarge``; begins the message.
    :param profile: named in messages; empty means the default profile.
    :raises StratusError: in place of any botocore error.
    """
    try:
        yield
    except error_types() as error:
        raise translate(error, action=action, profile=profile) from error


def error_types() -> tuple[type[Exception], ...]:
    """Return every class of error that a call to AWS can raise."""
    # Imported on use, here and below: botocore takes longer to load than the rest of the command line.
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    return (BotoCoreError, ClientError, ResponseParserError, UnexpectedAnswer)


def translate(error: Exception, *, action: str, profile: str = "", now: datetime | None = None) -> StratusError:
    """Return the StratusError for an error of botocore.

    :param action: the action that failed; begins the message.
    :param profile: named in messages; empty means the default profile.
    :param now: local time of the response; with it, a message about an expired signature names the clock difference.
    """
    from botocore.exceptions import ClientError

    profile = profile or os.environ.get("AWS_PROFILE", "") or "default"
    if isinstance(error, StratusError):
        return error
    if isinstance(error, ClientError):
        return _refusal(error, action, profile, now)
    return connection_errors.to_stratus_error(connection_errors.RequestFailure(error, action, profile))


def code_of(error: Exception) -> str:
    """Return the error code of AWS; empty if AWS did not answer."""
    return str(_details(error).get("Code", ""))


def message_of(error: Exception) -> str:
    """Return the error message of AWS; empty if AWS did not answer."""
    return str(_details(error).get("Message", ""))


def _details(error: Exception) -> dict[str, Any]:
    # Transport errors of botocore also have an attribute "response"; it is None.
    response: dict[str, Any] = getattr(error, "response", None) or {}
    return dict(response.get("Error", {}))


def reaction(error: Exception) -> error_codes.Reaction:
    """Return the reaction to an error of botocore.

    Without an answer it depends on whether AWS can have received the request: if no connection was made, it cannot.
    """
    from botocore import exceptions
    from botocore.parsers import ResponseParserError

    if isinstance(error, exceptions.ClientError):
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 400))
        return error_codes.look_up(code_of(error), message_of(error), status=status).reaction
    if isinstance(error, exceptions.EndpointConnectionError | exceptions.ConnectTimeoutError):
        return "retry"
    # The request was sent, and the answer was lost or unreadable.
    lost = exceptions.HTTPClientError | exceptions.IncompleteReadError | ResponseParserError | UnexpectedAnswer
    return "ambiguous" if isinstance(error, lost) else "user_error"


def _refusal(error: ClientError, action: str, profile: str, now: datetime | None) -> CloudRefused:
    code, message = code_of(error), message_of(error)
    row = error_codes.look_up(code, message)
    values = {
        "message": message,
        "profile": profile,
        "action": _iam_action(error, message),
        "skew": _clock_skew(error, now) if now else "",
        "instance": next(iter(re.findall(r"\bi-[0-9a-f]{8,}", message)), "ID"),
    }
    fix = as_message(row.fix).map_text(lambda text: text.format_map(values))
    return CloudRefused(f"{action}: {row.message.format_map(values)}", code=code, fix=fix)


def _iam_action(error: ClientError, message: str) -> str:
    # EC2's short message does not name the action; then it is the operation that failed.
    match = re.search(r"perform: ([a-z0-9-]+:\w+)", message)
    if match:
        return match[1]
    metadata: Mapping[str, Any] = error.response.get("ResponseMetadata", {})
    service, operation = str(metadata.get(SERVICE, "ec2")), error.operation_name
    return f"{_IAM_PREFIXES.get(service, service)}:{_IAM_ACTIONS.get((service, operation), operation)}"


def _clock_skew(error: ClientError, now: datetime) -> str:
    """Return the difference of the local clock from the Date header of the response, from 5 s on."""
    from email.utils import parsedate_to_datetime

    date = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date", "")
    try:
        seconds = (now - parsedate_to_datetime(date)).total_seconds()
    except (TypeError, ValueError):
        return ""
    direction = "ahead" if seconds > 0 else "behind"
    return f", and this computer's clock is {abs(seconds):.0f} s {direction}" if abs(seconds) >= 5 else ""
