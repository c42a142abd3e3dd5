"""Metrics of a job: values that the regular expressions of its MetricDefinitions find in its output."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any


class MetricReader:
    """Last value of each metric; used by the threads of all containers of a job.

    :param definitions: MetricDefinitions of the request; the first group of an expression is the value.
    """

    def __init__(self, definitions: Sequence[Mapping[str, str]]) -> None:
        self._patterns = {item["Name"]: re.compile(item["Regex"]) for item in definitions}
        self._values: dict[str, tuple[float, datetime]] = {}

    def read(self, lines: Iterable[str], now: datetime) -> None:
        """Search every line for every metric."""
        for line in lines:
            for name, pattern in self._patterns.items():
                value = _value(pattern.search(line))
                if value is not None:
                    self._values[name] = value, now

    def value(self, name: str) -> float | None:
        """Return the last value of a metric; None if there was none."""
        return self._values[name][0] if name in self._values else None

    def final(self) -> list[dict[str, Any]]:
        """Return FinalMetricDataList."""
        return [{"MetricName": name, "Value": value, "Timestamp": time} for name, (value, time) in self._values.items()]


def _value(match: re.Match[str] | None) -> float | None:
    if match is None or not match.re.groups:
        return None
    try:
        return float(match[1])
    except (TypeError, ValueError):
        return None
