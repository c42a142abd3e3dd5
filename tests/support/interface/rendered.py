"""Records as the text that a reader of the shell sees."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from orchestrator.core.next_step import Text
from orchestrator.interface.render import registry

NOW = datetime(2026, 11, 20, 14, 24, tzinfo=UTC)


def texts(lines: Iterable[Text]) -> list[str]:
    """Return lines as text, hints in their Python form."""
    return [str(line) for line in lines]


def rendered(record: object, now: datetime = NOW) -> list[str]:
    """Return a record as its verb shows it."""
    registry.load()
    return texts(registry.lines(record, now))
