"""Tables of options: a dataclass says once what a section holds, and files are read, checked and documented by it.

    @dataclass(frozen=True)
    class Job:
        "What to run."
        single: str = option("", kinds.command(), "Command of a run on one VM.", required=True)
        workers: int = option(1, kinds.whole(1, 64), "Worker processes on each VM.")

    TABLES = {"job": Job, "env": FREE}
    reading = Reading(ini.read(path, env, layout(TABLES)), TABLES)
    job = reading.fill("job", Job)
    if reading.sound("job", "workers") and job.workers > cores:
        reading.complain("job", "workers", "is more than ...")
    reading.finish()                    # one ConfigError with everything that is wrong

Nothing here knows what the options are for.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from orchestrator.config import ini
from orchestrator.config.value_types import (
    Secret,
    ValueType,
    boolean,
    choice,
    command,
    file_path,
    format_value,
    integer,
    is_placeholder,
    mask_passwords,
    number,
    resolve_path,
    text,
    text_lines,
)
from orchestrator.core.errors import ConfigError, Problem

__all__ = [
    "FREE_FORM",
    "Option",
    "Secret",
    "SettingsReader",
    "Tables",
    "ValueType",
    "boolean",
    "choice",
    "command",
    "file_path",
    "format_value",
    "integer",
    "layout",
    "number",
    "option",
    "options",
    "resolve_path",
    "text",
    "text_lines",
]

T = TypeVar("T")

#: A section whose options may have any name; they are read as text.
FREE_FORM = None

Tables = Mapping[str, type | None]


@dataclass(frozen=True)
class Option:
    """One option of a section.

    :param meaning: one line for the template and the reference page.
    :param required: it must be given, and not empty.
    :param essential: the template sets it; the others stand there commented out.
    """

    name: str
    default: Any
    value_type: ValueType
    description: str
    required: bool = False
    essential: bool = False

    @property
    def may_be_empty(self) -> bool:
        """Whether ``name =`` is a value."""
        return not self.required and self.default in ("", ())


def option(
    default: Any, value_type: ValueType, description: str, *, required: bool = False, essential: bool = False
) -> Any:
    """Declare a dataclass field that is an option; see :class:`Option`."""
    declared = Option("", default, value_type, description, required, essential)
    return dataclasses.field(default=default, repr=not value_type.private, metadata={"option": declared})


def options(table: type) -> tuple[Option, ...]:
    """Return a table's options in their order; fields declared otherwise are none."""
    fields = [field for field in dataclasses.fields(table) if "option" in field.metadata]
    return tuple(dataclasses.replace(field.metadata["option"], name=field.name) for field in fields)


def layout(tables: Tables, start: str = "") -> ini.Layout:
    """Return what :func:`orchestrator.config.ini.read` has to know of the tables.

    :param start: a sentence on how to get such a file, for those who have none.
    """
    all_options = [(section, each) for section, table in tables.items() if table for each in options(table)]
    return ini.Layout(
        multiline=frozenset((section, each.name) for section, each in all_options if each.value_type.multiline),
        verbatim=frozenset((section, each.name) for section, each in all_options if each.value_type.verbatim),
        known_options={section: frozenset(_names(table)) for section, table in tables.items()},
        hint=start,
    )


def _names(table: type | None) -> list[str]:
    return [each.name for each in options(table)] if table else []


class SettingsReader:
    """Reads a document by its tables and gathers all that is wrong with it."""

    def __init__(self, document: ini.Document, tables: Tables) -> None:
        self.document = document
        self.tables = tables
        self.problems = list(document.problems)
        self.warnings: list[Problem] = []
        self._unsound: set[ini.Key] = {key for key, value in document.values.items() if value.broken}
        self._check_names()

    def read_section(self, section: str, table: type[T]) -> T:
        """Return the table with the section's values; what is wrong in it is noted and keeps its default."""
        values = {each.name: self._value(section, each) for each in options(table)}
        return table(**values)

    def free_form(self, section: str) -> dict[str, str]:
        """Return all options of a free-form section, names in the letters they were typed in."""
        found = (self.document.values[section, name] for name in ini.option_names(self.document, section))
        return {value.name: value.text for value in found}

    def is_set(self, section: str, name: str) -> bool:
        """Tell whether the file itself sets this option, to something."""
        value = self.document.values.get((section, name))
        return value is not None and bool(value.text)

    def is_valid(self, section: str, *names: str) -> bool:
        """Tell whether none of these options was found wrong: checks of several build on that."""
        return not any((section, name) in self._unsound for name in names)

    def add_problem(self, section: str, name: str, complaint: str) -> None:
        """Note a mistake; ``what`` goes on after ``[section] name = 'value'``."""
        self._unsound.add((section, name))
        self.problems.append(self._problem(section, name, complaint))

    def add_warning(self, section: str, name: str, complaint: str) -> None:
        """Note something that is worth a word but works; ``what`` as for :meth:`complain`. A line gets one warning."""
        warning = self._problem(section, name, complaint)
        for index, other in enumerate(self.warnings):
            if other.line == warning.line:
                self.warnings[index] = Problem(other.file, other.line, f"{other.message}; it {complaint}")
                return
        self.warnings.append(warning)

    def origin(self, section: str, name: str) -> str:
        """Return where a value comes from: ``config.ini:14``, or ``default``."""
        value = self.document.values.get((section, name))
        return f"{self.document.path.name}:{value.line}" if value else "default"

    def raise_problems(self, consequence: str = "Nothing was launched.") -> None:
        """Raise what was found, in the order of the file.

        :raises ConfigError: with every mistake.
        """
        if self.problems:
            ordered = sorted(dict.fromkeys(self.problems), key=lambda problem: problem.line)
            raise ConfigError(ordered, consequence=consequence)

    def _value(self, section: str, each: Option) -> Any:
        value = self.document.values.get((section, each.name))
        if value is None:
            if each.required:
                self.add_problem(section, each.name, f"is missing. {each.description}")
            return each.default
        if value.broken or (not value.text and each.may_be_empty):
            return each.default
        try:
            return _parsed(value.text, each)
        except ValueError as error:
            self.add_problem(section, each.name, str(error))
            return each.default

    def _problem(self, section: str, name: str, what: str) -> Problem:
        value = self.document.values.get((section, name))
        line = value.line if value else self.document.sections.get(section, 1)
        return Problem(str(self.document.path), line, f"{_subject(value) if value else f'[{section}] {name}'} {what}")

    def _check_names(self) -> None:
        for section, line in self.document.sections.items():
            if section not in self.tables:
                self._note(line, f"[{section}]: no such section.{ini.suggest(section, self.tables)}")
            elif table := self.tables[section]:
                self._check_options(section, _names(table))

    def _check_options(self, section: str, known: Sequence[str]) -> None:
        for name in ini.option_names(self.document, section):
            if name not in known:
                value = self.document.values[section, name]
                self._note(value.line, f"{value.label}: no such setting.{self._hint(name, known)}")

    def _hint(self, name: str, known: Sequence[str]) -> str:
        homes = [section for section, table in self.tables.items() if name in _names(table)]
        if name in self.tables:
            return f" [{name}] is a section of its own."
        return f" It belongs under [{homes[0]}]." if homes else ini.suggest(name, known)

    def _note(self, line: int, what: str) -> None:
        self.problems.append(Problem(str(self.document.path), line, what))


def _parsed(given: str, each: Option) -> Any:
    """Return a text's value.

    :raises ValueError: with the complaint, and a hint where the slip is a common one.
    """
    if not given:
        raise ValueError(
            "needs a value" if each.required else f"needs a value; without the line it is {format_value(each.default)}"
        )
    if is_placeholder(given) and not each.value_type.verbatim:
        raise ValueError("is a placeholder: put your own value there, or delete the line")
    try:
        return each.value_type.parse(given)
    except ValueError as error:
        raise ValueError(_slip(given, each.value_type) or str(error)) from None


def _slip(given: str, kind: ValueType) -> str:
    """Return better words where the value would be right but for quotes around it or a comment that sticks to it."""
    if given[0] in "'\"" and _accepts(kind, given.strip("'\"")):
        return "stands in quotes: write it without them"
    if _accepts(kind, re.split("[#;]", given)[0].strip()):
        return "has a comment that sticks to it: put a blank before the # or ;"
    return ""


def _accepts(kind: ValueType, given: str) -> bool:
    try:
        kind.parse(given)
    except ValueError:
        return False
    return bool(given)


def _subject(value: ini.Value) -> str:
    """Return ``[section] name = 'value'``, the value cut where it is long."""
    given = mask_passwords(value.text)
    given = given if len(given) <= 80 else given[:77] + "..."
    return f"{value.label} = {given!r}" if given else value.label
