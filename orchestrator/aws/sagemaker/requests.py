"""Requests to SageMaker, checked before they are sent: names, lists of values and bounds of AWS's own service model.

botocore checks types, required fields and lower bounds; what it leaves out would come back as a refusal, after code and
data were uploaded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.config import ini
from orchestrator.core.errors import UsageError

if TYPE_CHECKING:
    from botocore.model import Shape

    from orchestrator.aws.client import Clients

SHOWN = 60


def check(clients: Clients, operation: str, request: Mapping[str, Any]) -> None:
    """Check a request against the service model.

    :param operation: as the API names it: ``CreateTrainingJob``.
    :raises UsageError: a value that SageMaker refuses, with the rule; of several the first one.
    """
    model = clients.service("sagemaker").meta.service_model.operation_model(operation)
    for path, problem in _problems(model.input_shape, request, ""):
        raise UsageError(f"{path} {problem}", where=operation, code="ValidationException")


def _problems(shape: Shape, value: Any, path: str) -> Iterator[tuple[str, str]]:
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
        yield from _text_problems(shape, str(value), path)
    elif shape.type_name in ("integer", "long", "float", "double"):
        yield from _bounds(shape, value, path, "")


def _text_problems(shape: Shape, text: str, path: str) -> Iterator[tuple[str, str]]:
    shown = f"= {text[:SHOWN]!r}"
    values: list[str] = list(getattr(shape, "enum", ()) or ())
    if values and text not in values:
        yield path, f"{shown} is not a value that SageMaker has.{ini.suggest(text, values)}"
    yield from _bounds(shape, len(text), path, "characters")
    pattern = shape.metadata.get("pattern")
    if pattern and not _matches(pattern, text):
        yield path, f"{shown} does not match {pattern}"


def _matches(pattern: str, text: str) -> bool:
    try:
        return re.fullmatch(pattern, text, re.DOTALL) is not None
    # Patterns of AWS are Java's, some of which Python does not read: SageMaker itself decides.
    except re.error:
        return True


def _bounds(shape: Shape, number: float, path: str, unit: str) -> Iterator[tuple[str, str]]:
    lowest, highest = shape.metadata.get("min"), shape.metadata.get("max")
    is_low = lowest is not None and number < float(lowest)
    if is_low or (highest is not None and number > float(highest)):
        bound = f"at least {lowest}" if is_low else f"at most {highest}"
        yield path, f"has {number:g} {unit}, and SageMaker takes {bound}" if unit else f"= {number:g}: takes {bound}"
