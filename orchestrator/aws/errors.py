"""Translation of botocore's errors into Stratus's own, in one place."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from orchestrator.aws import connection_errors, error_codes
from orchestrator.core.errors import CloudRefused, StratusError
from orchestrator.core.next_step import as_message

if TYPE_CHECKING:
    from botocore.exceptions import ClientError


@contextmanager
def translate_errors(action: str, *, profile: str = "") -> Iterator[None]:
    """Translate every AWS error raised inside.

    :param doing: what we were doing, such as ``launching 2 x c7i.2xlarge``.
    :param profile: named in messages; empty means the default one.
    :raises StratusError: in place of any botocore error.
    """
    try:
        yield
    except error_types() as error:
        raise translate(error, action=action, profile=profile) from error


def error_types() -> tuple[type[Exception], ...]:
    """Return every class of error that a call to AWS can raise."""
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    return (BotoCoreError, ClientError, ResponseParserError)


def translate(error: Exception, *, action: str, profile: str = "", now: datetime | None = None) -> StratusError:
    """Return one of our errors for one of botocore's.

    :param doing: what we were doing when it came.
    :param profile: named in messages; empty means the default one.
    :param now: this computer's time, for the message about a clock that is off.
    """
    from botocore.exceptions import ClientError

    profile = profile or os.environ.get("AWS_PROFILE", "") or "default"
    if isinstance(error, StratusError):
        return error
    if isinstance(error, ClientError):
        return _refused(error, action, profile, now or datetime.now(UTC))
    return connection_errors.to_stratus_error(connection_errors.RequestFailure(error, action, profile))


def code_of(error: Exception) -> str:
    """Return AWS's own error code; empty when AWS did not answer."""
    return str(_told(error).get("Code", ""))


def message_of(error: Exception) -> str:
    """Return AWS's own text; empty when AWS did not answer."""
    return str(_told(error).get("Message", ""))


def _told(error: Exception) -> dict[str, Any]:
    # Errors of the transport have a response, too: None.
    response: dict[str, Any] = getattr(error, "response", None) or {}
    return dict(response.get("Error", {}))


def reaction(error: Exception) -> error_codes.Reaction:
    """Return how to react to an error of botocore's; without an answer the question is whether AWS got the request."""
    from botocore import exceptions
    from botocore.parsers import ResponseParserError

    if isinstance(error, exceptions.ClientError):
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 400))
        return error_codes.look_up(code_of(error), message_of(error), status=status).reaction
    if isinstance(error, exceptions.EndpointConnectionError | exceptions.ConnectTimeoutError):
        return "again"
    lost = exceptions.HTTPClientError | exceptions.IncompleteReadError | ResponseParserError
    return "unsure" if isinstance(error, lost) else "user"


def _refused(error: ClientError, action: str, profile: str, now: datetime) -> CloudRefused:
    code, said = code_of(error), message_of(error)
    row = error_codes.look_up(code, said)
    facts = {"said": said, "profile": profile, "action": _action(error, said), "skew": _skew(error, now)}
    facts["instance"] = next(iter(re.findall(r"\bi-[0-9a-f]{8,}", said)), "ID")
    fix = as_message(row.fix).map_text(lambda text: text.format_map(facts))
    return CloudRefused(f"{action}: {row.message.format_map(facts)}", code=code, fix=fix)


def _action(error: ClientError, said: str) -> str:
    named = re.search(r"perform: ([a-z0-9-]+:\w+)", said)
    return named[1] if named else f"ec2:{error.operation_name}"


def _skew(error: ClientError, now: datetime) -> str:
    """Say by how much this computer's clock differs from the Date of AWS's answer, when it does."""
    from email.utils import parsedate_to_datetime

    date = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date", "")
    try:
        seconds = (now - parsedate_to_datetime(date)).total_seconds()
    except (TypeError, ValueError):
        return ""
    side = "ahead" if seconds > 0 else "behind"
    return f", and this computer's clock is {abs(seconds):.0f} s {side}" if abs(seconds) >= 5 else ""
