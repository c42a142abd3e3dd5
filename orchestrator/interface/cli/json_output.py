"""Records as JSON documents, for ``--output json``: names carry their units, money is text, times are ISO 8601."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from orchestrator.core.errors import ConfigError, HostsFailed, JobFailed, LeftRunning, NotReady, StratusError

MONEY_DIGITS = 6

# Field or property -> its name in documents. Fields of the same name mean the same in every record.
_UNITS = {
    "per_hour": "usd_per_hour",
    "price_per_hour": "usd_per_hour_each",
    "disk_per_hour": "usd_per_hour_disk_each",
    "asleep_per_hour": "usd_per_hour_stopped",
    "spent": "usd_spent",
    "at_most": "usd_at_most",
    "cost": "usd",
    "api": "api_seconds",
    "pending": "pending_seconds",
    "boot": "boot_seconds",
    "ssh": "ssh_seconds",
    "timings": "seconds_by_phase",
    "max_hours": "max_hours",
}

# What a reader wants to know although it is computed.
_COMPUTED = {
    "ClusterStatus": ("per_hour", "asleep_per_hour", "spent", "expires"),
    "TerminateReport": ("left",),
    "RunHandle": ("short",),
    "InstallReport": ("changed",),
}


def document(record: object) -> Any:
    """Return a record as plain JSON values."""
    if dataclasses.is_dataclass(record) and not isinstance(record, type):
        return _fields(record)
    if isinstance(record, StratusError):
        return error(record)
    if isinstance(record, Mapping):
        return {str(name): document(value) for name, value in record.items()}
    if isinstance(record, Sequence | set | frozenset) and not isinstance(record, str | bytes):
        return [document(value) for value in record]
    return _scalar(record)


def _fields(record: Any) -> dict[str, Any]:
    names = [each.name for each in dataclasses.fields(record) if not each.name.startswith("_")]
    names += _COMPUTED.get(type(record).__name__, ())
    return {_UNITS.get(name, name): document(getattr(record, name)) for name in names}


def _scalar(value: object) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Decimal):
        return format(round(value, MONEY_DIGITS).normalize(), "f")
    if isinstance(value, Path | Exception):
        return str(value)
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return str(value)


def error(problem: StratusError) -> dict[str, Any]:
    """Return an error as a document: its kind, its words, and what it carries."""
    found: dict[str, Any] = {"error": type(problem).__name__, "what": problem.what, "exit_code": problem.exit_code}
    found |= {name: text for name in ("where", "code", "fix") if (text := getattr(problem, name))}
    if isinstance(problem, ConfigError | NotReady):
        found["problems"] = document(problem.problems)
    if isinstance(problem, HostsFailed):
        found["hosts"] = document(problem.errors)
    if isinstance(problem, LeftRunning):
        found["left"] = list(problem.left)
    if isinstance(problem, JobFailed):
        found |= {"exit_status": problem.exit_status, "tail": list(problem.tail)}
    return found


def text(found: Any) -> str:
    """Return a document as the text to print; numbers that JSON does not know (NaN) become null."""
    return json.dumps(_finite(found), indent=2, ensure_ascii=False, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and (value != value or abs(value) == float("inf")):
        return None
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list) else value
