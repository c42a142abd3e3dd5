"""Styles of words on a terminal, stated where a line is made; lines of hosts that failed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from orchestrator.core.errors import StratusError
from orchestrator.core.next_step import Message, Text, Verbatim, as_message, split_lines

Style = Literal["good", "bad", "money", "heading", "dim", "command"]

# Colors of the terminal's own palette, so that they stay readable on light and dark backgrounds.
ESCAPE_CODES: dict[Style, str] = {
    "good": "32",
    "bad": "31",
    "money": "1;35",
    "heading": "1",
    "dim": "2",
    "command": "1;36",
}


# A str, so that pieces are measured and padded as any text.
class Styled(str):
    """A piece of text with a style; lost, not wrong, where pieces are joined to plain text."""

    __slots__ = ("style",)
    style: Style

    def __new__(cls, text: str, style: Style) -> Styled:
        """Return a text with a style."""
        styled = super().__new__(cls, text)
        styled.style = style
        return styled


_STATES: dict[str, Style] = {
    "ready": "good",
    "done": "good",
    "running": "good",
    "terminated": "good",
    "failed": "bad",
    "lost": "bad",
    "timeout": "bad",
}


def state(word: str) -> str:
    """Return a state in its style; other words stay plain."""
    # "terminated" is good and "stopped" plain: only the former ends all costs.
    style = _STATES.get(word)
    return Styled(word, style) if style else word


def line(*parts: Text) -> Message:
    """Return one line of several parts, each with its own style."""
    return Message(tuple(piece for part in parts for piece in as_message(part).parts))


def job_prefix(host: str) -> str:
    """Return what stands before each line of a job; without a host's name where only one host prints."""
    return f"  {host} | " if host else "  | "


def job_line(text: str, host: str = "") -> Message:
    """Return a line that a job printed, after a prefix that tells it from the tool's own.

    :param host: name of the host it comes from; empty where only one host prints.
    """
    return Message((Styled(job_prefix(host), "dim"), Verbatim(text)))


def failures(failed: Mapping[str, Exception]) -> list[Text]:
    """Return each host's failure: its name once, then the reason and, indented, what to do.

    :param failed: name of every host that failed -> its error.
    """
    return [text for name, error in failed.items() for text in _failure(name, error)]


def _failure(name: str, error: Exception) -> list[Text]:
    lines = error.lines() if isinstance(error, StratusError) else split_lines([str(error) or type(error).__name__])
    # The error's own line names its host; the row does already.
    first, *more = map(as_message, lines)
    start = line(f"  {name}  ", state("failed"), "  ", _without_prefix(first, f"{name}: "))
    return [start, *("    " + _stripped(message) for message in more)]


def _without_prefix(message: Message, prefix: str) -> Message:
    first, *rest = message.parts
    return Message((first.removeprefix(prefix) if isinstance(first, str) else first, *rest))


def _stripped(message: Message) -> Message:
    """Return a line without its own indentation."""
    parts = [part for part in message.parts if not isinstance(part, str) or part.strip()]
    first = parts[0].lstrip() if parts and isinstance(parts[0], str) else None
    return Message((first, *parts[1:])) if first is not None else Message(tuple(parts))
