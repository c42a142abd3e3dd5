"""Readers of option values in scenario files: text in, value out, ValueError for mistakes."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Reader = Callable[[str], Any]


def text(value: str) -> str:
    """Return the text as it is."""
    return value


def whole_number(value: str) -> int:
    """Return a whole number, 0 or more."""
    if not value.isdigit():
        raise ValueError(f"{value!r} is not a whole number")
    return int(value)


def decimal(value: str) -> float:
    """Return a number, 0 or more."""
    try:
        amount = float(value)
    except ValueError:
        amount = -1.0
    if not 0 <= amount < 1e6:
        raise ValueError(f"{value!r} is not a number")
    return amount


def yes_no(value: str) -> bool:
    """Return True for ``yes`` and False for ``no``."""
    if value not in ("yes", "no"):
        raise ValueError(f"{value!r} is neither yes nor no")
    return value == "yes"


def comma_list(value: str) -> tuple[str, ...]:
    """Return the words between commas."""
    return tuple(word.strip() for word in value.split(",") if word.strip())


def ipv4_address(value: str) -> str:
    """Return an IPv4 address."""
    try:
        return str(ipaddress.IPv4Address(value))
    except ValueError:
        raise ValueError(f"{value!r} is not an IPv4 address") from None


def tags(value: str) -> tuple[tuple[str, str], ...]:
    """Return the tags of a list ``key=value, key=value``."""
    pairs = []
    for word in comma_list(value):
        key, equals, content = word.partition("=")
        if not equals or not key.strip():
            raise ValueError(f"{word!r} is not a tag: write key=value")
        pairs.append((key.strip(), content.strip()))
    return tuple(pairs)


@dataclass(frozen=True)
class Choice:
    """Reader that accepts one of several words."""

    choices: tuple[str, ...]

    def __call__(self, value: str) -> str:
        """Return ``value``.

        :raises ValueError: it is not one of the words.
        """
        if value not in self.choices:
            raise ValueError(f"{value!r} is none of {', '.join(self.choices)}")
        return value


def choice(*choices: str) -> Choice:
    """Return a reader that accepts one of ``choices``."""
    return Choice(choices)
