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
import importlib.util
import pkgutil
import re
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from datetime import datetime
from decimal import Decimal
from importlib.abc import InspectLoader
from pathlib import Path
from types import NoneType
from typing import Any, Generic, TypeVar

from orchestrator.core.errors import (
    ConfigError,
    HostsFailed,
    JobFailed,
    LeftRunning,
    NotReady,
    Problem,
    StratusError,
)
from orchestrator.core.next_step import Message, NextStep, Text, as_message, join

MONEY_DIGITS = 6

Document = dict[str, Any]
Lines = list[Text]


T = TypeVar("T")

IMPORT = re.compile(r"^from (orchestrator\.\S+) import ", re.MULTILINE)
"""An import at the top of a module."""


class ByClass(Generic[T]):
    """``functools.singledispatch`` whose functions are imported for the classes of records that come.

    All of them together import all record classes, and with them every service of AWS, and job code.
    """

    def __init__(self, default: Callable[..., T]) -> None:
        self._functions = functools.singledispatch(default)
        self.register = self._functions.register
        self.registry = self._functions.registry

    def __call__(self, record: object, *arguments: object) -> T:
        """Call the function for the class of a record."""
        return self.dispatch(type(record))(record, *arguments)

    def dispatch(self, record_class: type) -> Callable[..., T]:
        """Return the function for records of a class."""
        _load_for(record_class)
        return self._functions.dispatch(record_class)


def load() -> None:
    """Import every module of this package, so that each has registered its records."""
    for module in _modules():
        importlib.import_module(module)


@functools.cache
def _load_for(record_class: type) -> None:
    """Import the modules that can register a class or its bases."""
    for module in modules_for(record_class):
        importlib.import_module(module)


def modules_for(record_class: type) -> list[str]:
    """Return the modules of this package that import the module of a class, or of a base of it."""
    defined_in = {base.__module__ for base in record_class.__mro__ if base.__module__.startswith("orchestrator.")}

    def is_imported(sources: set[str]) -> bool:
        # A record may be imported from the package above its module.
        return any(name == source or name.startswith(f"{source}.") for name in defined_in for source in sources)

    return [module for module, sources in _modules().items() if defined_in and is_imported(sources)]


@functools.cache
def _modules() -> dict[str, set[str]]:
    """Return the modules of this package, each with the modules of ours that it imports; none is imported for it."""
    from orchestrator.interface import render

    imports_of = {}
    for module in pkgutil.walk_packages(render.__path__, f"{render.__name__}."):
        spec = importlib.util.find_spec(module.name)
        loader = spec.loader if spec else None
        source = loader.get_source(module.name) if isinstance(loader, InspectLoader) else None
        # Without its source, it may be any.
        imports_of[module.name] = {"orchestrator"} if source is None else set(IMPORT.findall(source))
    return imports_of


@ByClass
def lines(record: object, _now: datetime) -> Lines:
    """Return a record as text.

    :raises TypeError: no text is registered for records of this class.
    """
    # Not repr(): a record that lost its text should fail a test, not look odd on the screen.
    raise TypeError(f"no text is registered for {type(record).__qualname__}")


@ByClass
def rows(_first: object, records: Sequence[object], now: datetime) -> Lines:
    """Return several records as text, by the class of the first; without a table of their own, one after another."""
    return [line for record in records for line in lines(record, now)]


@lines.register(tuple)
@lines.register(list)
def _(records: Sequence[object], now: datetime) -> Lines:
    return rows(records[0], records, now) if records else []


def has_lines(record: object) -> bool:
    """Return True if a record's class has a text."""
    # By dispatch, because a call would already make the text.
    return lines.dispatch(type(record)) is not lines.dispatch(object)


@ByClass
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
    optional = {"where": error.where, "code": error.code, "fix": _one_line(document(error.fix))}
    return facts | {name: text for name, text in optional.items() if text} | _details(error)


def _one_line(fix: Text) -> Text:
    """Return the lines of a fix as one text, which scripts show or search."""
    return fix if isinstance(fix, NextStep) else join("; ", [_unindented(text) for text in as_message(fix).lines()])


def _unindented(text: Message) -> Message:
    first, *more = text.parts
    return Message((first.lstrip() if isinstance(first, str) else first, *more))


@ByClass
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
