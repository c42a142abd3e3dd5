"""Fixtures and marks that all tests share."""

from __future__ import annotations

import os
import sys

import pytest
from hypothesis import settings

from tests.support.localcloud.fixture import cloud
from tests.support.paths import ROOT

__all__ = ["cloud"]

# In CI hypothesis tries the same examples in each run, so that a red run is caused by the change under test.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI") == "true":
    settings.load_profile("ci")

NEEDS_LINUX = (ROOT / "tests/local", ROOT / "tests/localcloud")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests of the embedded cloud, which runs on Linux only."""
    for item in items:
        if any(folder in item.path.parents for folder in NEEDS_LINUX):
            item.add_marker(pytest.mark.local)
            if sys.platform != "linux":
                item.add_marker(pytest.mark.skip(reason="the embedded cloud runs on Linux"))
