"""Checks of requests against botocore's service model, with AWS's wording.

botocore's clients check types, required members and minima; patterns, maxima and enums are checked by the service only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from localcloud.aws.error_responses import ApiError
from localcloud.aws.wsgi import Params

# Java's Unicode classes in the model's patterns, and what stands for them in Python's.
_CLASSES = {
    r"\p{Alnum}": "A-Za-z0-9",
    r"\p{L}": r"\w",
    r"\p{M}": "",
    r"\p{N}": r"\d",
    r"\p{Z}": " ",
    r"\p{S}": r"+=|<>^~`$",
    r"\p{P}": r"!-/:-@\[-`{-~",
}


def check(action: str, params: Params) -> None:
    """Check the parameters of a call.

    :raises ApiError: some parameters are not valid; the message names each. An action that the service has not.
    """
    model = _model()
    if action not in model.operation_names:
        raise ApiError("UnknownOperationException", f"The action {action} is not one of SageMaker's")
    shape = model.operation_model(action).input_shape
    violations = list(_violations(shape, params, "")) if shape is not None else []
    if violations:
        count = f"{len(violations)} validation error{'s' if len(violations) > 1 else ''} detected: "
        raise ApiError("ValidationException", count + "; ".join(violations))


@cache
def _model() -> Any:
    from botocore.loaders import create_loader
    from botocore.model import ServiceModel

    return ServiceModel(create_loader().load_service_model("sagemaker", "service-2"), "sagemaker")


def _violations(shape: Any, value: Any, path: str) -> Iterator[str]:
    if shape.type_name == "structure" and isinstance(value, dict):
        yield from _of_structure(shape, value, path)
    elif shape.type_name == "list" and isinstance(value, list):
        yield from _of_size(shape, value, path)
        for number, item in enumerate(value, 1):
            yield from _violations(shape.member, item, f"{path}.{number}.member")
    elif shape.type_name == "map" and isinstance(value, dict):
        yield from _of_size(shape, value, path)
        for key, item in value.items():
            yield from _of_key(shape.key, key, path)
            yield from _violations(shape.value, item, f"{path}.{key}.member")
    elif shape.type_name == "string" and isinstance(value, str):
        yield from _of_string(shape, value, path)
    elif shape.type_name in ("integer", "long", "float", "double") and not isinstance(value, (bool, str, list, dict)):
        yield from _of_number(shape, value, path)
    elif shape.type_name not in ("boolean", "timestamp", "blob"):
        raise ApiError("SerializationException", f"{type(value).__name__} found at '{path}' where not expected.")


def _of_structure(shape: Any, value: dict[str, Any], path: str) -> Iterator[str]:
    prefix = f"{path}." if path else ""
    for name in shape.required_members:
        if value.get(name) is None:
            yield _failed("null", f"{prefix}{_lower(name)}", "Member must not be null")
    for name, member in shape.members.items():
        if value.get(name) is not None:
            yield from _violations(member, value[name], f"{prefix}{_lower(name)}")


def _lower(name: str) -> str:
    return name[:1].lower() + name[1:]


def _of_size(shape: Any, value: Any, path: str) -> Iterator[str]:
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    if least is not None and len(value) < least:
        yield _failed(_shown(value), path, f"Member must have length greater than or equal to {least}")
    if most is not None and len(value) > most:
        yield _failed(_shown(value), path, f"Member must have length less than or equal to {most}")


def _of_key(shape: Any, key: str, path: str) -> Iterator[str]:
    rules = [rule.partition("constraint: ")[2] for rule in _of_string(shape, key, path)]
    if rules:
        yield _failed(_shown(key), path, f"Map keys must satisfy constraint: [{', '.join(rules)}]")


def _of_string(shape: Any, value: str, path: str) -> Iterator[str]:
    yield from _of_size(shape, value, path)
    pattern = shape.metadata.get("pattern")
    if pattern and (compiled := _compiled(pattern)) and not compiled.fullmatch(value):
        yield _failed(value, path, f"Member must satisfy regular expression pattern: {pattern}")
    if shape.enum and value not in shape.enum:
        yield _failed(value, path, f"Member must satisfy enum value set: [{', '.join(shape.enum)}]")


def _of_number(shape: Any, value: float, path: str) -> Iterator[str]:
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    if least is not None and value < least:
        yield _failed(value, path, f"Member must have value greater than or equal to {least}")
    if most is not None and value > most:
        yield _failed(value, path, f"Member must have value less than or equal to {most}")


def _failed(value: object, path: str, rule: str) -> str:
    shown = value if value == "null" else f"'{value}'"
    return f"Value {shown} at '{path}' failed to satisfy constraint: {rule}"


def _shown(value: Any) -> str:
    """Return a value in a message: AWS prints it whole, which would hide the rule for a list of a hundred."""
    text = value if isinstance(value, str) else str(value)
    return text if len(text) <= 200 else f"{text[:200]}..."


@cache
def _compiled(pattern: str) -> re.Pattern[str] | None:
    """Return a pattern of the model; None for the few that Python cannot express."""
    for java, python in _CLASSES.items():
        pattern = pattern.replace(java, python)
    try:
        return re.compile(pattern, re.DOTALL)
    except re.error:
        return None
