"""Tables of options: a dataclass says in one place what a section holds, and files are read, checked and documented by it.

    @dataclass(frozen=True)
    class Job:
        "What to run."
        single: str = option("", command(), "Command of a run on one VM.", required=True)
        workers: int = option(1, whole(1, 64), "Worker processes on each VM.")

    TABLES = {"job": Job, "env": FREE}
    reading = Reading(ini.read(path, env, layout(TABLES)), TABLES)
    job = reading.fill("job", Job)
    if job.workers > 1 and reading.sound("job", "workers", "single"): reading.complain("job", "workers", "is ...")
    reading.finish()            # raises one ConfigError with everything that is wrong

Nothing here knows what the options are for.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from orchestrator import ini
from orchestrator.errors import ConfigError, Problem

T = TypeVar("T")

#: A section whose options may have any name; they are read as text.
FREE = None

Tables = Mapping[str, type | None]

_PLACEHOLDER = re.compile(
    r"<[^<>]*>|\$?(my|your)[ _-].*|([a-z]+-)?x{4,}|\.{3,}|to ?do|tbd|fix_?me|change[ _-]?me|replace[ _-]?me", re.IGNORECASE
)


class Secret:
    """A text that no log, traceback or table can show; :meth:`reveal` is the only way to it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the secret itself."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(********)"

    def __str__(self) -> str:
        return "********"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self) -> str:
        raise TypeError("a secret is not to be pickled")


@dataclass(frozen=True)
class Kind:
    """What values an option takes.

    :param words: for the reference page: ``whole number, 1 to 1000``.
    :param parse: text -> value; raises ValueError with words that go on after ``[section] name = 'text'``.
    :param unit: of numbers, ``GiB``.
    :param multiline: goes on over indented lines.
    :param verbatim: taken as typed: no comments, no variables.
    """

    words: str
    parse: Callable[[str], Any]
    unit: str = ""
    multiline: bool = False
    verbatim: bool = False


@dataclass(frozen=True)
class Option:
    """One option of a section.

    :param meaning: one line for the template and the reference page.
    :param required: it must be given, and not empty.
    :param essential: the template sets it; the others stand there commented out.
    """

    name: str
    default: Any
    kind: Kind
    meaning: str
    required: bool = False
    essential: bool = False

    @property
    def may_be_empty(self) -> bool:
        """Whether ``name =`` is a value."""
        return not self.required and self.default in ("", ())


def option(default: Any, kind: Kind, meaning: str, *, required: bool = False, essential: bool = False) -> Any:
    """Declare a dataclass field that is an option; see :class:`Option`."""
    facts = {"kind": kind, "meaning": meaning, "required": required, "essential": essential}
    return dataclasses.field(default=default, metadata={"option": facts})


@cache
def options(table: type) -> tuple[Option, ...]:
    """Return a table's options in their order; fields declared otherwise are none."""
    fields = [field for field in dataclasses.fields(table) if "option" in field.metadata]
    return tuple(Option(field.name, field.default, **field.metadata["option"]) for field in fields)


def layout(tables: Tables) -> ini.Layout:
    """Return what :func:`orchestrator.ini.read` has to know of the tables."""
    all_options = [(section, each) for section, table in tables.items() if table for each in options(table)]
    return ini.Layout(
        multiline=frozenset((section, each.name) for section, each in all_options if each.kind.multiline),
        verbatim=frozenset((section, each.name) for section, each in all_options if each.kind.verbatim),
        known={section: frozenset(_names(table)) for section, table in tables.items()},
    )


def _names(table: type | None) -> list[str]:
    return [each.name for each in options(table)] if table else []


# --- kinds


def text(pattern: str = "", shape: str = "") -> Kind:
    """Return the kind of a word or a line.

    :param pattern: the whole text must match it.
    :param shape: the pattern in words, "lower-case letters and digits".
    """
    compiled = re.compile(pattern)

    def parse(given: str) -> str:
        if pattern and not compiled.fullmatch(given):
            raise ValueError(f"must be {shape}")
        return given

    return Kind(shape or "text", parse)


def command() -> Kind:
    """Return the kind of a shell command: taken as typed, so that ``#``, ``;`` and ``$`` are the shell's."""
    return Kind("shell command", str, verbatim=True)


def lines() -> Kind:
    """Return the kind of a list with one entry per line; the value is a tuple of texts."""
    return Kind("one per line", lambda given: tuple(given.splitlines()), multiline=True)


def whole(low: int, high: int, unit: str = "") -> Kind:
    """Return the kind of a whole number within bounds, ends included."""
    return Kind(f"whole number, {low} to {high}", _number(int, r"[+-]?[0-9]+", (low, high), unit), unit)


def number(low: float, high: float, unit: str = "") -> Kind:
    """Return the kind of a number above ``low`` and up to ``high``."""
    pattern = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]{1,3})?"
    words = f"number above {low:g}, up to {high:g}"
    return Kind(words, _number(float, pattern, (math.nextafter(low, math.inf), high), unit), unit)


def _number(convert: Callable[[str], float], pattern: str, bounds: tuple[float, float], unit: str) -> Callable[[str], Any]:
    low, high = bounds
    noun = "whole number" if convert is int else "number"

    def parse(given: str) -> float:
        # Longer digits cannot be within any bounds, and int() refuses to read thousands of them.
        if not re.fullmatch(pattern, given, re.ASCII | re.IGNORECASE) or len(given) > 100:
            raise ValueError(f"is no {noun} ({low:g} to {high:g}{unit and ' ' + unit}){_bare(given, unit)}")
        value = convert(given)
        if not low <= value <= high:
            raise ValueError(f"is out of range: {low:g} to {high:g}{unit and ' ' + unit}")
        return value

    return parse


def _bare(given: str, unit: str) -> str:
    """Return a hint for ``75 GiB``, ``75GB`` or ``8h``."""
    match = re.fullmatch(r"([0-9.]+)\s*[A-Za-z/]+", given)
    return f"; write {match[1]}, the unit is always {unit}" if match and unit else ""


def yes_no() -> Kind:
    """Return the kind of a switch."""
    words = dict.fromkeys(("yes", "true", "on", "1"), True) | dict.fromkeys(("no", "false", "off", "0"), False)

    def parse(given: str) -> bool:
        if given.lower() not in words:
            raise ValueError("must be yes or no")
        return words[given.lower()]

    return Kind("yes or no", parse)


def choice(*allowed: str) -> Kind:
    """Return the kind of one word out of a few."""

    def parse(given: str) -> str:
        if given not in allowed:
            raise ValueError(f"must be one of {', '.join(allowed)}.{ini.suggest(given, allowed)}")
        return given

    return Kind(" or ".join([", ".join(allowed[:-1]), allowed[-1]]), parse)


def file_path(words: str = "path of a file") -> Kind:
    """Return the kind of a path; :func:`resolve` makes it absolute."""
    return Kind(words, str)


def resolve(given: str, base: Path, env: Mapping[str, str]) -> Path:
    """Return the absolute path that a text in a config file means.

    :param base: what relative paths are relative to.
    :param env: ``HOME`` is what ``~`` stands for.
    """
    home = env.get("HOME")
    path = home + given[1:] if home and (given == "~" or given.startswith("~/")) else given
    # normpath, not resolve(): a link stays the name that its owner gave it.
    import os.path

    return Path(os.path.normpath(os.path.abspath(base / os.path.expanduser(path))))


# --- reading a file by its tables


class Reading:
    """Reads a document by its tables and gathers all that is wrong with it."""

    def __init__(self, document: ini.Document, tables: Tables) -> None:
        self.document = document
        self.tables = tables
        self.problems = list(document.problems)
        self.warnings: list[Problem] = []
        self._unsound: set[ini.Key] = {key for key, value in document.values.items() if value.broken}
        self._check_names()

    def fill(self, section: str, table: type[T]) -> T:
        """Return the table with the section's values; what is wrong in it is noted and keeps its default."""
        values = {each.name: self._value(section, each) for each in options(table)}
        return table(**values)

    def free(self, section: str) -> dict[str, str]:
        """Return all options of a free-form section."""
        return {name: self.document.values[section, name].text for name in ini.names(self.document, section)}

    def given(self, section: str, name: str) -> bool:
        """Tell whether the file itself sets this option, to something."""
        value = self.document.values.get((section, name))
        return value is not None and bool(value.text)

    def sound(self, section: str, *names: str) -> bool:
        """Tell whether none of these options was found wrong: checks of several build on that."""
        return not any((section, name) in self._unsound for name in names)

    def complain(self, section: str, name: str, what: str) -> None:
        """Note a mistake; ``what`` goes on after ``[section] name = 'value'``."""
        self._unsound.add((section, name))
        self.problems.append(self._problem(section, name, what))

    def warn(self, section: str, name: str, what: str) -> None:
        """Note something that is worth a word but works; ``what`` as for :meth:`complain`."""
        self.warnings.append(self._problem(section, name, what))

    def origin(self, section: str, name: str) -> str:
        """Return where a value comes from: ``config.ini:14``, or ``default``."""
        value = self.document.values.get((section, name))
        return f"{self.document.path.name}:{value.line}" if value else "default"

    def finish(self, consequence: str = "Nothing was launched.") -> None:
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
                self.complain(section, each.name, f"is missing. {each.meaning}")
            return each.default
        if value.broken or (not value.text and each.may_be_empty):
            return each.default
        try:
            return _parsed(value.text, each)
        except ValueError as error:
            self.complain(section, each.name, str(error))
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
        for name in ini.names(self.document, section):
            if name not in known:
                value = self.document.values[section, name]
                self._note(value.line, f"{value.typed}: no such setting.{self._hint(name, known)}")

    def _hint(self, name: str, known: Sequence[str]) -> str:
        homes = [section for section, table in self.tables.items() if name in _names(table)]
        return f" It belongs under [{homes[0]}]." if homes else ini.suggest(name, known)

    def _note(self, line: int, what: str) -> None:
        self.problems.append(Problem(str(self.document.path), line, what))


def _parsed(given: str, each: Option) -> Any:
    """Return a text's value.

    :raises ValueError: with the complaint, and a hint where the slip is a common one.
    """
    if not given:
        raise ValueError("needs a value" + ("" if each.required else f" (without this line it is {shown(each.default)})"))
    if is_placeholder(given) and not each.kind.verbatim:
        raise ValueError("is a placeholder: put your own value there, or delete the line")
    try:
        return each.kind.parse(given)
    except ValueError as error:
        raise ValueError(f"{error}{_slip(given, each.kind)}") from None


def _slip(given: str, kind: Kind) -> str:
    """Return a hint when the value would be right but for quotes around it or a comment that sticks to it."""
    for plain, hint in ((given.strip("'\""), "; write it without the quotes"), (re.split("[#;]", given)[0], "")):
        if plain and plain != given and _accepts(kind, plain.strip()):
            return hint or "; a comment needs a blank before its # or ;"
    return ""


def _accepts(kind: Kind, given: str) -> bool:
    try:
        kind.parse(given)
    except ValueError:
        return False
    return True


def is_placeholder(given: str) -> bool:
    """Tell whether a value is one that a template left for the user to fill in: ``<key name>``, ``your_key``, ``sg-xxxx``."""
    return _PLACEHOLDER.fullmatch(given) is not None


def _subject(value: ini.Value) -> str:
    """Return ``[section] name = 'value'``, the value cut where it is long."""
    given = value.text if len(value.text) <= 80 else value.text[:77] + "..."
    return f"{value.typed} = {given!r}" if given else value.typed


def shown(value: object) -> str:
    """Return a value as a config file would write it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple):
        return "\n".join(map(str, value))
    return str(value)
