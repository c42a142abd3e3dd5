"""pytest plugin that records which lines of the modules each test runs, and its time."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from coverage import Coverage

ROOT = Path(__file__).resolve().parents[3]
_task = json.loads(os.environ["MUTANTS_MEASURE"])
_coverage = Coverage(data_file=None, include=_task["modules"], config_file=False)
_seconds: dict[str, float] = {}
_failed: set[str] = set()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """Count lines for this test; write the record of its file after the last one."""
    if not _seconds:
        _coverage.start()
    _coverage.switch_context(item.nodeid)
    yield
    _coverage.switch_context("")
    if nextitem is None or nextitem.path != item.path:
        _coverage.stop()
        _write(Path(_task["records"][str(item.path.relative_to(ROOT))]))
        _coverage.erase()
        _seconds.clear()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keep the time of a test, with those of its fixtures."""
    _seconds[report.nodeid] = _seconds.get(report.nodeid, 0.0) + report.duration
    if not report.passed:
        _failed.add(report.nodeid)


def _write(record: Path) -> None:
    data, lines = _coverage.get_data(), {}
    for file in data.measured_files():
        for line, tests in data.contexts_by_lineno(file).items():
            if names := sorted(test for test in tests if test):
                lines[f"{Path(file).relative_to(ROOT)}:{line}"] = names
    passed = {test: seconds for test, seconds in _seconds.items() if test not in _failed}
    record.write_text(json.dumps({"seconds": passed, "lines": lines}))
