"""One example of any record, filled by the types of its fields."""

from __future__ import annotations

import collections.abc
import dataclasses
import sys
import types
import typing
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from orchestrator.interface.render import registry
from orchestrator.interface.workspace import Workspace

EXAMPLES: dict[object, Any] = {
    str: "x",
    int: 1,
    float: 1.5,
    bool: True,
    datetime: datetime(2026, 11, 20, 14, 12, tzinfo=UTC),
    Decimal: Decimal("1.25"),
    Path: Path("runs/x"),
    Exception: ValueError("boom"),
    Any: 1,
}


def example(hint: Any) -> Any:
    """Return a value of a type; a record's fields and a container's items are examples as well."""
    if hint in EXAMPLES:
        return EXAMPLES[hint]
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        hints = type_hints(hint)
        return hint(**{field.name: example(hints[field.name]) for field in dataclasses.fields(hint) if field.init})
    return _generic(typing.get_origin(hint), typing.get_args(hint))


def _generic(origin: Any, arguments: tuple[Any, ...]) -> Any:
    if origin is typing.Literal:
        return arguments[0]
    if origin in (typing.Union, types.UnionType):
        return example(arguments[0])
    if origin is collections.abc.Callable:
        return lambda *_arguments: None
    if origin is tuple:
        return tuple(example(item) for item in arguments if item is not ...)
    if isinstance(origin, type) and issubclass(origin, collections.abc.Mapping):
        return {example(arguments[0]): example(arguments[1])}
    return [example(arguments[0])]


def type_hints(annotated: Any) -> dict[str, Any]:
    """Return resolved annotations, including those of records that are imported for type checkers only."""
    registry.load()
    records = {record.__name__: record for record in registry.document.registry}
    module = sys.modules[annotated.__module__]
    names = {**vars(collections.abc), "Workspace": Workspace, **records, **vars(module)}
    return typing.get_type_hints(annotated, localns=names)


def answers(verb_function: Any) -> set[type]:
    """Return the classes of records that a verb's function returns, alone or in a sequence."""
    return set(_records(type_hints(verb_function).get("return")))


def _records(hint: Any) -> typing.Iterator[type]:
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        yield hint
    for part in typing.get_args(hint):
        yield from _records(part)
