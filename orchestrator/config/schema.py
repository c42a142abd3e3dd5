"""Tables of options: a dataclass declares a section once; files are read, checked and documented by it.

    @dataclass(frozen=True)
    class Job:
        "Job to run."
        single: str = option("", command(), "Command of a run on one VM.", required=True)
        workers: int = option(1, integer(1, 64), "Worker processes on each VM.")

    TABLES = {"job": Job, "env": FREE_FORM}
    reader = SettingsReader(ini.read(path, env, layout(TABLES)), TABLES)
    job = reader.read_section("job", Job)
    if reader.is_valid("job", "workers") and job.workers > cores:
        reader.add_problem("job", "workers", "is more than ...")
    reader.raise_problems()             # one ConfigError with all mistakes

This module is independent of what the options mean.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from orchestrator.config import ini
from orchestrator.config.value_types import (
    Secret,
    ValueType,
    boolean,
    choice,
    command,
    commands,
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
from orchestrator.core.next_step import Text

__all__ = [
    "FREE_FORM",
    "NamedLines",
    "Option",
    "Secret",
    "SettingsReader",
    "Tables",
    "ValueType",
    "boolean",
    "choice",
    "command",
    "commands",
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
R = TypeVar("R", covariant=True)

#: Marks a section whose options may have any name; they are read as text.
FREE_FORM = None

Tables = Mapping[str, type | None]


@dataclass(frozen=True)
class NamedLines(Generic[R]):
    """A free-form section whose every line has a name that the user chooses, and one form.

    :param parse: (name, text) -> record; raises ValueError with a message that continues ``[section] name = 'text'``.
    :param description: one line for the template and the reference page.
    :param examples: line -> meaning.
    """

    parse: Callable[[str, str], R]
    description: str
    examples: Mapping[str, str]


@dataclass(frozen=True)
class Option:
    """One option of a section.

    :param description: one line for the template and the reference page.
    :param required: True if it must be set, and not empty.
    :param essential: True if the template sets it; it comments out the others.
    :param rare: True if the template leaves it out; the reference page has it.
    """

    name: str
    default: Any
    value_type: ValueType
    description: str
    required: bool = False
    essential: bool = False
    rare: bool = False

    @property
    def may_be_empty(self) -> bool:
        """True if ``name =`` is a valid value."""
        return not self.required and self.default in ("", ())


def option(
    default: Any,
    value_type: ValueType,
    description: str,
    *,
    required: bool = False,
    essential: bool = False,
    rare: bool = False,
) -> Any:
    """Declare a dataclass field that is an option; see :class:`Option`."""
    declared = Option("", default, value_type, description, required, essential, rare)
    # A private value may contain a password: no repr of the record shows it.
    return dataclasses.field(default=default, repr=not value_type.private, metadata={"option": declared})


def options(table: type) -> tuple[Option, ...]:
    """Return the options of a table in their order; other fields are left out."""
    fields = [field for field in dataclasses.fields(table) if "option" in field.metadata]
    return tuple(dataclasses.replace(field.metadata["option"], name=field.name) for field in fields)


def layout(tables: Tables, start: Text = "") -> ini.Layout:
    """Return the layout by which :func:`orchestrator.config.ini.read` reads a file of these tables.

    :param start: sentence on how to get such a file, shown when there is none.
    """
    pairs = [(section, option) for section, table in tables.items() if table for option in options(table)]
    return ini.Layout(
        multiline=frozenset((section, option.name) for section, option in pairs if option.value_type.multiline),
        verbatim=frozenset((section, option.name) for section, option in pairs if option.value_type.verbatim),
        known_options={section: frozenset(_names(table)) for section, table in tables.items()},
        hint=start,
    )


def _names(table: type | None) -> list[str]:
    return [option.name for option in options(table)] if table else []


class SettingsReader:
    """Reads a document by its tables and collects all problems."""

    def __init__(self, document: ini.Document, tables: Tables) -> None:
        self.document = document
        self.tables = tables
        self.problems = list(document.problems)
        self.warnings: list[Problem] = []
        self._invalid: set[ini.Key] = {key for key, value in document.values.items() if value.broken}
        self._check_names()

    def read_section(self, section: str, table: type[T]) -> T:
        """Return the table with the section's values; an invalid one is reported and keeps its default."""
        values = {option.name: self._value(section, option) for option in options(table)}
        return table(**values)

    def free_form(self, section: str) -> dict[str, str]:
        """Return all options of a free-form section, names in their original case."""
        values = (self.document.values[section, name] for name in ini.option_names(self.document, section))
        return {value.name: value.text for value in values}

    def read_lines(self, section: str, lines: NamedLines[T]) -> tuple[T, ...]:
        """Return the records of a section of named lines, in the file's order; invalid ones are reported."""
        records: list[T] = []
        for name, value in self.free_form(section).items():
            if not self.is_valid(section, name.lower()):
                continue
            try:
                records.append(lines.parse(name, value))
            except ValueError as error:
                self.add_problem(section, name.lower(), str(error))
        return tuple(records)

    def is_set(self, section: str, name: str) -> bool:
        """Return True if the file sets this option to a value that is not empty."""
        value = self.document.values.get((section, name))
        return value is not None and bool(value.text)

    def is_valid(self, section: str, *names: str) -> bool:
        """Return True if no problem was found with these options: checks across options depend on that."""
        return not any((section, name) in self._invalid for name in names)

    def add_problem(self, section: str, name: str, complaint: Text) -> None:
        """Report a mistake; ``complaint`` continues ``[section] name = 'value'``."""
        self._invalid.add((section, name))
        self.problems.append(self._problem(section, name, complaint))

    def add_warning(self, section: str, name: str, complaint: str) -> None:
        """Report a valid setting that deserves attention; a second warning of one line is joined to the first."""
        warning = self._problem(section, name, complaint)
        # One line of a file draws one warning, however many checks it concerns.
        for index, other in enumerate(self.warnings):
            if other.line == warning.line:
                self.warnings[index] = Problem(other.file, other.line, f"{other.message}; it {complaint}")
                return
        self.warnings.append(warning)

    def origin(self, section: str, name: str) -> str:
        """Return the origin of a value: ``config.ini:14``, or ``default``."""
        value = self.document.values.get((section, name))
        return f"{self.document.path.name}:{value.line}" if value else "default"

    def raise_problems(self, consequence: str = "Nothing was launched or changed.") -> None:
        """Raise all problems, in the order of the file.

        :raises ConfigError: with every mistake.
        """
        if self.problems:
            # Without duplicates: two checks may report the same problem.
            ordered = sorted(dict.fromkeys(self.problems), key=lambda problem: problem.line)
            raise ConfigError(ordered, consequence=consequence)

    def _value(self, section: str, option: Option) -> Any:
        value = self.document.values.get((section, option.name))
        if value is None:
            if option.required:
                self.add_problem(section, option.name, f"is missing. {option.description}")
            return option.default
        # A broken value has been reported by the scanner already.
        if value.broken or (not value.text and option.may_be_empty):
            return option.default
        try:
            return _parse(value.text, option)
        except ValueError as error:
            self.add_problem(section, option.name, str(error))
            return option.default

    def _problem(self, section: str, name: str, complaint: Text) -> Problem:
        value = self.document.values.get((section, name))
        # A missing option is reported at the header of its section.
        line = value.line if value else self.document.sections.get(section, 1)
        subject = _subject(value) if value else f"[{section}] {name}"
        return Problem(str(self.document.path), line, f"{subject} " + complaint)

    def _check_names(self) -> None:
        for section, line in self.document.sections.items():
            if section not in self.tables:
                self._add(line, f"[{section}]: no such section.{ini.suggest(section, self.tables)}")
            elif table := self.tables[section]:
                self._check_options(section, _names(table))

    def _check_options(self, section: str, known: Sequence[str]) -> None:
        for name in ini.option_names(self.document, section):
            if name not in known:
                value = self.document.values[section, name]
                self._add(value.line, f"{value.label}: no such setting.{self._hint(name, known)}")

    def _hint(self, name: str, known: Sequence[str]) -> str:
        homes = [section for section, table in self.tables.items() if name in _names(table)]
        if name in self.tables:
            return f" [{name}] is a section of its own."
        return f" It belongs under [{homes[0]}]." if homes else ini.suggest(name, known)

    def _add(self, line: int, message: str) -> None:
        self.problems.append(Problem(str(self.document.path), line, message))


def _parse(text: str, option: Option) -> Any:
    """Return the value of a text.

    :raises ValueError: with a message, and a hint for common mistakes.
    """
    if not text:
        raise ValueError(
            "needs a value"
            if option.required
            else f"needs a value; without this line it is {format_value(option.default)}"
        )
    if is_placeholder(text) and not option.value_type.verbatim:
        raise ValueError("is a placeholder: replace it with a value, or delete the line")
    try:
        return option.value_type.parse(text)
    except ValueError as error:
        raise ValueError(_explain_mistake(text, option.value_type) or str(error)) from None


def _explain_mistake(text: str, value_type: ValueType) -> str:
    """Return a better message for a value that is valid but for quotes around it or a comment directly after it."""
    if text[0] in "'\"" and _accepts(value_type, text.strip("'\"")):
        return "is in quotes: write it without them"
    if _accepts(value_type, re.split("[#;]", text)[0].strip()):
        return "has a comment directly after it: put a blank before the # or ;"
    return ""


def _accepts(value_type: ValueType, text: str) -> bool:
    try:
        value_type.parse(text)
    except ValueError:
        return False
    return bool(text)


def _subject(value: ini.Value) -> str:
    """Return ``[section] name = 'value'``, with a long value cut."""
    text = mask_passwords(value.text)
    text = text if len(text) <= 80 else text[:77] + "..."
    return f"{value.label} = {text!r}" if text else value.label
