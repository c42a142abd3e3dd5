"""VMs with a real systemd, booted from the image that ``scripts/test-systems`` builds; left out without one."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.aws.launch.time_limits import TimeLimits
from tests.support.systems.system_vm import Boot, SystemVM, booted

IMAGE = os.environ.get("STRATUS_SYSTEM", "")
collect_ignore_glob = [] if IMAGE else ["test_*.py"]


def pytest_report_header() -> str | None:
    """Return the reason why tests are left out."""
    return None if IMAGE else "systems: left out, STRATUS_SYSTEM names no image (scripts/test-systems)"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.docker)
            item.add_marker(pytest.mark.slow)


@pytest.fixture
def boot(tmp_path: Path) -> Boot:
    """Boot a VM of the system under test."""

    @contextlib.contextmanager
    def boot(limits: TimeLimits, *options: str, setup: str = "") -> Iterator[SystemVM]:
        with booted(IMAGE, tmp_path, limits, *options, setup=setup) as vm:
            yield vm

    return boot
