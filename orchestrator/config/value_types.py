"""Kinds of values: what an option takes, how its text becomes a value, and what is said of a text that does not fit."""

from __future__ import annotations

import os.path
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.config import ini

# Patterns are compiled when first used: together they would double the time of this import.
_PLACEHOLDER = (
    r"<[^<>]*>|\$?your[ _-].*|/?path/to/.*|([a-z]+-)?x{4,}|\.{3,}|to ?do|tbd|fix_?me|(change|replace)[ _-]?me"
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

    def __deepcopy__(self, memo: object) -> Secret:
        return self

    def __reduce__(self) -> str:
        raise TypeError("a secret must not be pickled: it would lie on the disk in plain sight")


@dataclass(frozen=True)
class ValueType:
    """What values an option takes.

    :param words: for the reference page: ``whole number, 1 to 1000``.
    :param parse: text -> value; raises ValueError with words that go on after ``[section] name = 'text'``.
    :param unit: of numbers, ``GiB``.
    :param multiline: goes on over indented lines.
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
    """Return the kind of a word or a line.

    :param pattern: the whole text must match it.
    :param shape: the pattern in words, "lower-case letters and digits".
    """

    def parse(given: str) -> str:
        if pattern and not re.fullmatch(pattern, given):
            raise ValueError(f"must be {shape}")
        return given

    return ValueType(shape or "text", parse)


def command() -> ValueType:
    """Return the kind of a shell command: taken as typed, so that ``#``, ``;`` and ``$`` are the shell's."""
    return ValueType("shell command", str, verbatim=True)


def text_lines() -> ValueType:
    """Return the kind of a list with one entry per line; the value is a tuple of texts."""
    return ValueType("one per line", lambda given: tuple(given.splitlines()), multiline=True)


def integer(low: int, high: int, unit: str = "") -> ValueType:
    """Return the kind of a whole number within bounds, both included."""
    words = f"{low} to {high}"

    def parse(given: str) -> int:
        if not re.fullmatch(r"[+-]?[0-9]+", given):
            raise ValueError(f"is no whole number ({words}{_unit(unit)}){_bare(given, unit)}")
        # Longer numbers are out of any range, and int() refuses to read thousands of digits.
        if len(given) > 30 or not low <= int(given) <= high:
            raise ValueError(f"is out of range: {words}{_unit(unit)}")
        return int(given)

    return ValueType(f"whole number, {words}", parse, unit)


def number(above: float, high: float, unit: str = "") -> ValueType:
    """Return the kind of a number above one bound, and not beyond the other."""
    words = f"above {above:g}, up to {high:g}"

    def parse(given: str) -> float:
        if not re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)", given):
            raise ValueError(f"is no number ({words}{_unit(unit)}){_bare(given, unit)}")
        if not above < float(given) <= high:
            raise ValueError(f"is out of range: {words}{_unit(unit)}")
        return float(given)

    return ValueType(f"number {words}", parse, unit)


def _unit(unit: str) -> str:
    return f" {unit}" if unit else ""


def _bare(given: str, unit: str) -> str:
    """Return a hint for ``75 GiB``, ``75GB`` or ``8h``."""
    match = re.fullmatch(r"([0-9.]+)\s*[A-Za-z/]+", given)
    return f"; write {match[1]}, the unit is always {unit}" if match and unit else ""


def boolean() -> ValueType:
    """Return the kind of a switch."""
    words = dict.fromkeys(("yes", "true", "on", "1"), True) | dict.fromkeys(("no", "false", "off", "0"), False)

    def parse(given: str) -> bool:
        if given.lower() not in words:
            raise ValueError("must be yes or no")
        return words[given.lower()]

    return ValueType("yes or no", parse)


def choice(*allowed: str) -> ValueType:
    """Return the kind of one word out of a few."""

    def parse(given: str) -> str:
        if given not in allowed:
            raise ValueError(f"must be one of {', '.join(allowed)}.{ini.suggest(given, allowed)}")
        return given

    return ValueType(" or ".join([", ".join(allowed[:-1]), allowed[-1]]), parse)


def file_path(words: str = "path of a file") -> ValueType:
    """Return the kind of a path; :func:`resolve` makes it absolute."""
    return ValueType(words, str)


def resolve_path(given: str, base: Path, env: Mapping[str, str]) -> Path:
    """Return the absolute path that a text in a config file means.

    :param base: what relative paths are relative to.
    :param env: ``HOME`` is what ``~`` stands for.
    """
    home = env.get("HOME")
    path = home + given[1:] if home and (given == "~" or given.startswith("~/")) else given
    # normpath, not resolve(): a link stays the name that its owner gave it.
    return Path(os.path.normpath(os.path.abspath(base / os.path.expanduser(path))))


def is_placeholder(given: str) -> bool:
    """Tell whether a value was left for the user to fill in: ``<key name>``, ``your_key``, ``sg-xxxx``."""
    return re.fullmatch(_PLACEHOLDER, given, re.IGNORECASE) is not None


def format_value(value: object) -> str:
    """Return a value as a config file would write it, passwords in addresses masked."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple):
        return "\n".join(map(format_value, value))
    return mask_passwords(str(value))


def mask_passwords(given: str) -> str:
    """Mask what stands before the @ of an address: ``https://me:secret@host`` becomes ``https://********@host``."""
    return re.sub(r"(?<=://)[^/@\s]+(?=@)", "********", given)
