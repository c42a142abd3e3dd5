"""Requests checked before they are sent: names, lists of values and bounds of AWS's own models of its services.

botocore checks types, required fields and lower bounds; what it leaves out would come back as a refusal, after code and
data were uploaded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from orchestrator.config import ini
from orchestrator.core.errors import UsageError

if TYPE_CHECKING:
    from botocore.model import OperationModel, Shape

SERVICES = ("sagemaker", "application-autoscaling", "cloudwatch", "scheduler", "iam")
"""Services each of whose changing requests is checked, when it is sent at the latest."""

CHANGING = ("Create", "Put", "Register", "Update")
"""Beginnings of the names of operations that are checked; one that ends something is never withheld."""

SHOWN = 60
_NUMBERS = ("integer", "long", "float", "double")
_TYPES: Mapping[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("structure", "map"), Mapping),
    **dict.fromkeys(_NUMBERS, (int, float, Decimal)),
    "list": (list, tuple),
    "string": str,
}


def check(model: OperationModel, request: Mapping[str, Any]) -> None:
    """Check a request against the model of its operation.

    :raises UsageError: a value that AWS refuses, with the rule; of several the first one.
    """
    for path, problem in _problems(model.input_shape, request, "") if model.input_shape else ():
        raise UsageError(f"{path} {problem}", where=model.name, code="ValidationException")


def check_when_sent(model: OperationModel, params: Mapping[str, Any], **_: Any) -> None:
    """Check a request as a handler of botocore's event ``before-parameter-build``.

    :raises UsageError: as :func:`check`; the request is not sent.
    """
    if model.name.startswith(CHANGING):
        check(model, params)


def _problems(shape: Shape, value: Any, path: str) -> Iterator[tuple[str, str]]:
    if not _has_type(shape, value):
        # botocore refuses it, and names the type.
        return
    if shape.type_name == "structure":
        for name, member in shape.members.items():  # type: ignore[attr-defined]
            if name in value:
                yield from _problems(member, value[name], f"{path}.{name}".lstrip("."))
    elif shape.type_name == "list":
        yield from _bounds(shape, len(value), path, "items")
        for number, item in enumerate(value):
            yield from _problems(shape.member, item, f"{path}[{number}]")  # type: ignore[attr-defined]
    elif shape.type_name == "map":
        yield from _bounds(shape, len(value), path, "entries")
        for key, item in value.items():
            yield from _problems(shape.key, key, f"{path}.{key}")  # type: ignore[attr-defined]
            yield from _problems(shape.value, item, f"{path}.{key}")  # type: ignore[attr-defined]
    elif shape.type_name == "string":
        yield from _text_problems(shape, value, path)
    elif shape.type_name in _NUMBERS:
        yield from _bounds(shape, value, path, "")


def _has_type(shape: Shape, value: Any) -> bool:
    return isinstance(value, _TYPES.get(shape.type_name, object))


def _text_problems(shape: Shape, text: str, path: str) -> Iterator[tuple[str, str]]:
    shown = f"= {text[:SHOWN]!r}"
    values: list[str] = list(getattr(shape, "enum", ()) or ())
    if values and text not in values:
        yield path, f"{shown} is not a value that AWS has.{ini.suggest(text, values)}"
    yield from _bounds(shape, len(text), path, "characters")
    pattern = shape.metadata.get("pattern")
    if pattern and not _matches(pattern, text):
        yield path, f"{shown} does not match {pattern}"


def _matches(pattern: str, text: str) -> bool:
    try:
        return re.fullmatch(pattern, text, re.DOTALL) is not None
    # Patterns of AWS are Java's, some of which Python does not read: AWS itself decides.
    except re.error:
        return True


def _bounds(shape: Shape, number: float | Decimal, path: str, unit: str) -> Iterator[tuple[str, str]]:
    lowest, highest = shape.metadata.get("min"), shape.metadata.get("max")
    is_low = lowest is not None and number < float(lowest)
    if is_low or (highest is not None and number > float(highest)):
        bound = f"at least {lowest}" if is_low else f"at most {highest}"
        yield path, f"has {number:g} {unit}, and AWS takes {bound}" if unit else f"= {number:g}: takes {bound}"
