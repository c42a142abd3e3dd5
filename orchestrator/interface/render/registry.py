"""Text and JSON documents of records, registered by class.

A module of this package registers its records here::

    @lines.register(RunResult)
    def _(result: RunResult, now: datetime) -> Lines:
        return [f"  {result.job} done in {duration(result.seconds)}."]

    @document.register(RunResult)
    def _(result: RunResult) -> Document:
        return {"run": result.run, ...}

The keys of documents are a contract with scripts and follow no renamed field.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Iterable, Mapping, Sequence, Set
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from types import NoneType
from typing import Any

from orchestrator.core.errors import (
    ConfigError,
    HostsFailed,
    JobFailed,
    LeftRunning,
    NotReady,
    Problem,
    StratusError,
)
from orchestrator.core.next_step import Message, NextStep, Text

MONEY_DIGITS = 6

Document = dict[str, Any]
Lines = list[Text]


# Late and only once: the modules import the classes of all records, and with them AWS and job code.
@functools.cache
def load() -> None:
    """Import every module of this package, so that each has registered its records."""
    # Late: --help can do without the records and all that they import.
    from orchestrator.interface import render

    for module in pkgutil.walk_packages(render.__path__, f"{render.__name__}."):
        importlib.import_module(module.name)


@functools.singledispatch
def lines(record: object, _now: datetime) -> Lines:
    """Return a record as text.

    :raises TypeError: no text is registered for records of this class.
    """
    # Not repr(): a record that lost its text should fail a test, not look odd on the screen.
    raise TypeError(f"no text is registered for {type(record).__qualname__}")


@functools.singledispatch
def rows(_first: object, records: Sequence[object], now: datetime) -> Lines:
    """Return several records as text, by the class of the first; without a table of their own, one after another."""
    return [line for record in records for line in lines(record, now)]


@lines.register(tuple)
@lines.register(list)
def _(records: Sequence[object], now: datetime) -> Lines:
    return rows(records[0], records, now) if records else []


def has_lines(record: object) -> bool:
    """Return True if a record's class has a text."""
    load()
    # By dispatch, because a call would already make the text.
    return lines.dispatch(type(record)) is not lines.dispatch(object)


@functools.singledispatch
def document(record: object) -> Any:
    """Return a record as plain JSON values.

    :raises TypeError: no document is registered for records of this class.
    """
    # Nor guessed from the fields: a renamed field would rename a key that scripts read.
    raise TypeError(f"no JSON document is registered for {type(record).__qualname__}")


# str is a Sequence too; registered by itself it is not taken apart into letters.
@document.register(str)
@document.register(int)
@document.register(float)
@document.register(NoneType)
def _(value: str | float | None) -> Any:
    return value


@document.register
def _(moment: datetime) -> str:
    # With the offset: a time without one could be of any zone.
    return moment.isoformat()


@document.register
def _(amount: Decimal) -> str:
    # As text: a JSON number would come back as binary floating point.
    return format(round(amount, MONEY_DIGITS).normalize(), "f")


@document.register
def _(path: Path) -> str:
    return str(path)


@document.register(NextStep)
@document.register(Message)
def _(text: Text) -> Text:
    # Worded by the caller, who knows the program's name.
    return text


@document.register
def _(error: Exception) -> str:
    return str(error)


@document.register(Mapping)
def _(items: Mapping[object, object]) -> Document:
    # JSON has no keys but strings.
    return {str(name): document(value) for name, value in items.items()}


@document.register(Sequence)
@document.register(Set)
def _(items: Iterable[object]) -> list[Any]:
    return [document(item) for item in items]


@document.register
def _(problem: Problem) -> Document:
    return {
        "file": problem.file,
        "line": problem.line,
        "what": problem.message,
    }


@document.register
def _(error: StratusError) -> Document:
    facts: Document = {"error": error.json_name, "what": error.message, "exit_code": error.exit_code}
    optional = {"where": error.where, "code": error.code, "fix": document(error.fix)}
    return facts | {name: text for name, text in optional.items() if text} | _details(error)


@functools.singledispatch
def _details(_error: StratusError) -> Document:
    """Return what errors of one class carry besides their text."""
    return {}


@_details.register
def _(error: ConfigError) -> Document:
    return {"problems": document(error.problems)}


@_details.register
def _(error: NotReady) -> Document:
    return {"problems": document(error.problems)}


@_details.register
def _(error: HostsFailed) -> Document:
    return {"hosts": document(error.errors)}


@_details.register
def _(error: LeftRunning) -> Document:
    return {"left": document(error.left)}


@_details.register
def _(error: JobFailed) -> Document:
    return {"exit_status": error.exit_status, "tail": list(error.tail)}
