"""The one JSON document of ``--output json``: names carry their units, money is text, times are ISO 8601."""

from __future__ import annotations

import json
from typing import Any

from orchestrator.interface.render import registry


def document(record: object) -> Any:
    """Return a record as plain JSON values.

    :raises TypeError: no document is registered for records of this class.
    """
    registry.load()
    return registry.document(record)


def text(document: Any) -> str:
    """Return a document as the text to print; numbers that JSON does not know (NaN) become null."""
    return json.dumps(_finite(document), indent=2, ensure_ascii=False, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and (value != value or abs(value) == float("inf")):
        return None
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list) else value
