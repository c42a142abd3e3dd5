"""VMs with a real systemd, for the commands that ``scripts/test-systems`` prepares an image for."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.aws.launch.time_limits import TimeLimits
from tests.support.systems.system_vm import Boot, SystemVM, booted


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
    image = os.environ.get("STRATUS_SYSTEM")
    if not image:
        pytest.skip("STRATUS_SYSTEM names no image: scripts/test-systems builds and names them")

    @contextlib.contextmanager
    def boot(limits: TimeLimits, *options: str, setup: str = "") -> Iterator[SystemVM]:
        with booted(image, tmp_path, limits, *options, setup=setup) as vm:
            yield vm

    return boot
