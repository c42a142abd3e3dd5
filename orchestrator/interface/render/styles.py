"""Styles of words on a terminal: stated where a line is made, never guessed from its text."""

from __future__ import annotations

from typing import Literal

from orchestrator.core.next_step import Message, Text, Verbatim, as_message

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
