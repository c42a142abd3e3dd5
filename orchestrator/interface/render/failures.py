"""Hosts that failed, as text."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.core.errors import StratusError
from orchestrator.core.next_step import Message, Text, as_message, split_lines
from orchestrator.interface.render.styles import line, state


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
