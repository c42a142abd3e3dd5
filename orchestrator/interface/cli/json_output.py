"""The one JSON document of ``--output json``: names carry their units, money is text, times are ISO 8601."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from orchestrator.core.next_step import Message, NextStep, Text
from orchestrator.interface.render import registry, units


def document(record: object) -> Any:
    """Return a record as plain JSON values.

    :raises TypeError: no document is registered for records of this class.
    """
    return registry.document(record)


def text(document: Any, worded: Callable[[Text], str] = str) -> str:
    """Return a document as the text to print.

    :param worded: words hints for the reader of the document.
    """
    # Escaped: names and output of hosts are in it, and it may be read on a terminal.
    return units.escaped_json(json.dumps(_plain(document, worded), indent=2, ensure_ascii=False, allow_nan=False))


def _plain(value: Any, worded: Callable[[Text], str]) -> Any:
    """Return a document without hints, and with null for the numbers that JSON does not know (NaN)."""
    if isinstance(value, float) and (value != value or abs(value) == float("inf")):
        return None
    if isinstance(value, NextStep | Message):
        return worded(value)
    if isinstance(value, dict):
        return {name: _plain(item, worded) for name, item in value.items()}
    return [_plain(item, worded) for item in value] if isinstance(value, list) else value
