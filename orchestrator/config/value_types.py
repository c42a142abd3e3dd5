"""Value types of options: the accepted text, its parser, and the message for text that does not fit."""

from __future__ import annotations

import os.path
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.config import ini

# Compiled on first use: compiling all patterns would double the time of this import.
_PLACEHOLDER = (
    r"<[^<>]*>|\$?your[ _-].*|/?path/to/.*|([a-z]+-)?x{4,}|\.{3,}|to ?do|tbd|fix_?me|(change|replace)[ _-]?me"
)


class Secret:
    """A text that no log, traceback or table can show; only :meth:`reveal` returns it."""

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

    def __deepcopy__(self, memo: object) -> Secret:
        return self

    def __reduce__(self) -> str:
        raise TypeError("a secret must not be pickled: it would be stored in plain text")


@dataclass(frozen=True)
class ValueType:
    """Type of an option's value.

    :param description: for the reference page: ``whole number, 1 to 1000``.
    :param parse: text -> value; raises ValueError with a message that continues ``[section] name = 'text'``.
    :param unit: unit of numbers, ``GiB``.
    :param multiline: continues over indented lines.
    :param verbatim: taken as typed: no comments, no variables.
    :param private: a password may be part of it, so no record's repr shows it.
    """

    description: str
    parse: Callable[[str], Any]
    unit: str = ""
    multiline: bool = False
    verbatim: bool = False
    private: bool = False


def text(pattern: str = "", shape: str = "") -> ValueType:
    """Return the type of a word or a line.

    :param pattern: the whole text must match it.
    :param shape: the pattern in words, "lower-case letters and digits".
    """

    def parse(value: str) -> str:
        if pattern and not re.fullmatch(pattern, value):
            raise ValueError(f"must be {shape}")
        return value

    return ValueType(shape or "text", parse)


def command() -> ValueType:
    """Return the type of a shell command: taken as typed, so that ``#``, ``;`` and ``$`` reach the shell."""
    return ValueType("shell command", str, verbatim=True)


def commands() -> ValueType:
    """Return the type of shell commands, one per line, taken as typed."""
    return ValueType("shell commands", str, multiline=True, verbatim=True)


def text_lines() -> ValueType:
    """Return the type of a list with one entry per line; the value is a tuple of texts."""
    return ValueType("one per line", lambda value: tuple(value.splitlines()), multiline=True)


def integer(low: int, high: int, unit: str = "") -> ValueType:
    """Return the type of a whole number within bounds, both included."""
    bounds = f"{low} to {high}"

    def parse(value: str) -> int:
        if not re.fullmatch(r"[+-]?[0-9]+", value):
            raise ValueError(f"is not a whole number ({bounds}{_unit(unit)}){_unit_hint(value, unit)}")
        # Longer numbers are out of any range, and int() raises another error beyond 4300 digits.
        if len(value) > 30 or not low <= int(value) <= high:
            raise ValueError(f"is out of range: {bounds}{_unit(unit)}")
        return int(value)

    return ValueType(f"whole number, {bounds}", parse, unit)


def number(above: float, high: float, unit: str = "", *, or_equal: bool = False) -> ValueType:
    """Return the type of a number above the lower bound and up to the higher one.

    :param or_equal: True if the lower bound itself is allowed.
    """
    bounds = f"{above:g} to {high:g}" if or_equal else f"above {above:g}, up to {high:g}"

    def parse(value: str) -> float:
        # Stricter than float(), which accepts exponents, infinities and NaN.
        if not re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)", value):
            raise ValueError(f"is not a number ({bounds}{_unit(unit)}){_unit_hint(value, unit)}")
        if not (above < float(value) <= high or (or_equal and float(value) == above)):
            raise ValueError(f"is out of range: {bounds}{_unit(unit)}")
        return float(value)

    return ValueType(f"number {bounds}", parse, unit)


def _unit(unit: str) -> str:
    return f" {unit}" if unit else ""


def _unit_hint(value: str, unit: str) -> str:
    """Return a hint for ``75 GiB``, ``75GB`` or ``8h``."""
    match = re.fullmatch(r"([0-9.]+)\s*[A-Za-z/]+", value)
    return f"; write {match[1]}, the unit is always {unit}" if match and unit else ""


def boolean() -> ValueType:
    """Return the type of a switch."""
    values = dict.fromkeys(("yes", "true", "on", "1"), True) | dict.fromkeys(("no", "false", "off", "0"), False)

    def parse(value: str) -> bool:
        if value.lower() not in values:
            raise ValueError("must be yes or no")
        return values[value.lower()]

    return ValueType("yes or no", parse)


def choice(*allowed: str) -> ValueType:
    """Return the type of one word out of a few."""

    shape = " or ".join(filter(None, [", ".join(allowed[:-1]), allowed[-1]]))

    def parse(value: str) -> str:
        if value not in allowed:
            wanted = f"one of {', '.join(allowed)}" if allowed[1:] else shape
            raise ValueError(f"must be {wanted}.{ini.suggest(value, allowed)}")
        return value

    return ValueType(shape, parse)


def file_path(description: str = "path of a file") -> ValueType:
    """Return the type of a path; :func:`resolve_path` makes it absolute."""
    return ValueType(description, str)


def resolve_path(value: str, base: Path, env: Mapping[str, str]) -> Path:
    """Return the absolute path for a path in a config file.

    :param base: folder that relative paths start at.
    :param env: ``HOME`` replaces ``~``.
    """
    home = env.get("HOME")
    path = home + value[1:] if home and (value == "~" or value.startswith("~/")) else value
    # normpath, not Path.resolve(): symbolic links keep the name that the user gave.
    return Path(os.path.normpath(os.path.abspath(base / os.path.expanduser(path))))


def is_placeholder(value: str) -> bool:
    """Return True for a value that the user has to fill in: ``<key name>``, ``your_key``, ``sg-xxxx``."""
    return re.fullmatch(_PLACEHOLDER, value, re.IGNORECASE) is not None


def format_value(value: object) -> str:
    """Return a value as a config file would write it, with passwords in URLs masked."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple):
        return "\n".join(map(format_value, value))
    return mask_passwords(str(value))


def mask_passwords(value: str) -> str:
    """Mask the user part of URLs: ``https://me:secret@host`` becomes ``https://********@host``."""
    return re.sub(r"(?<=://)[^/@\s]+(?=@)", "********", value)
