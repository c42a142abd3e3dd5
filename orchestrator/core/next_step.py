"""Hints as values: the next verb to type is worded where it is printed, for the shell or for the command line.

    UsageError("no host is up", fix=NextStep("LaunchInstances"))
    LeftRunning(..., fix=NextStep("Status") + " shows them; " + NextStep("TerminateAll") + " terminates them")

``str()`` of a hint is its Python form, as typed at the prompt: ``LaunchInstances()``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias


class NextStep:
    """A verb to type next, by its name at the prompt, with its arguments: ``NextStep("LaunchInstances", n=2)``."""

    __slots__ = ("arguments", "options", "verb")

    def __init__(self, verb: str, *arguments: object, **options: object) -> None:
        self.verb = verb
        self.arguments = arguments
        self.options = tuple(options.items())

    def __str__(self) -> str:
        options = [f"{name}={_quoted(value)}" for name, value in self.options]
        return f"{self.verb}({', '.join([*(_quoted(argument) for argument in self.arguments), *options])})"

    def __repr__(self) -> str:
        return f"NextStep<{self}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, NextStep):
            return NotImplemented
        return (self.verb, self.arguments, self.options) == (other.verb, other.arguments, other.options)

    def __hash__(self) -> int:
        return hash((self.verb, self.arguments, self.options))

    def __add__(self, other: Text) -> Message:
        return Message((self,)) + other

    def __radd__(self, other: str) -> Message:
        return Message((other, self))


def _quoted(value: object) -> str:
    # Double quotes, as in all documentation; repr() would choose single ones.
    return '"' + repr(value)[1:-1].replace('"', '\\"') + '"' if isinstance(value, str) else repr(value)


@dataclass(frozen=True)
class Message:
    """Text with hints in it.

    :param parts: plain text, printed as it is, and hints, worded when printed.
    """

    parts: tuple[str | NextStep, ...] = ()

    def __str__(self) -> str:
        return "".join(map(str, self.parts))

    def __bool__(self) -> bool:
        return any(isinstance(part, NextStep) or part for part in self.parts)

    def __add__(self, other: Text) -> Message:
        return Message(self.parts + as_message(other).parts)

    def __radd__(self, other: str) -> Message:
        return Message((other, *self.parts))

    def map_text(self, change: Callable[[str], str]) -> Message:
        """Return the message with its plain text changed and its hints as they are."""
        return Message(tuple(change(part) if isinstance(part, str) else part for part in self.parts))

    def lines(self) -> list[Message]:
        """Return the message line by line, without line ends."""
        lines: list[list[str | NextStep]] = [[]]
        for part in self.parts:
            first, *rest = part.split("\n") if type(part) is str else [part]
            lines[-1].append(first)
            lines += [[piece] for piece in rest]
        return [Message(tuple(line)) for line in lines]


class Verbatim(str):
    """A line of a job's output: printed as it is, never wrapped."""

    __slots__ = ()


Text: TypeAlias = str | NextStep | Message


def as_message(text: Text) -> Message:
    """Return any text as a message."""
    return text if isinstance(text, Message) else Message((text,))


def split_lines(texts: Iterable[Text]) -> list[Text]:
    """Return texts line by line."""
    return [line for text in texts for line in as_message(text).lines()]


def join(separator: str, texts: Iterable[Text]) -> Message:
    """Return texts as one message, with a separator between them."""
    joined = Message()
    for number, text in enumerate(texts):
        joined = joined + separator + text if number else as_message(text)
    return joined


def add_advice(error: BaseException, *advice: Text) -> None:
    """Attach lines to an exception: what an interrupted step left behind, and what to type then."""
    error.__dict__.setdefault("advice", []).extend(advice)


def replace_advice(error: BaseException, *advice: Text) -> None:
    """Attach lines to an exception in the place of those that it has."""
    error.__dict__["advice"] = list(advice)


def advice_of(error: BaseException) -> list[Text]:
    """Return the lines that :func:`add_advice` attached."""
    return list(error.__dict__.get("advice", ()))
