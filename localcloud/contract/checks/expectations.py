"""Expectations about a cloud's answers, and the type of a check."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from localcloud.contract.check_context import CheckContext

Check = Callable[[CheckContext], None]
"""Raises AssertionError if the assumption with the function's name does not hold."""


def error_of(call: Callable[..., Any], **arguments: Any) -> tuple[str, int]:
    """Return code and HTTP status of the error that a call raises.

    :raises AssertionError: it succeeds.
    """
    from botocore.exceptions import ClientError

    try:
        call(**arguments)
    except ClientError as error:
        response: Any = error.response
        return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]
    raise AssertionError("the call was not refused")


def expect_equal(actual: object, expected: object) -> None:
    """Check that two values are equal.

    :raises AssertionError: they differ.
    """
    expect(actual == expected, f"{actual!r} instead of {expected!r}")


def expect(fact: object, otherwise: str = "") -> None:
    """Check that a value is true.

    :raises AssertionError: it is not; with the text ``otherwise``.
    """
    if not fact:
        raise AssertionError(otherwise)
