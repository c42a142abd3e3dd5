"""Fixtures of all tests against the embedded cloud: one cloud for the session, in a folder of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import localcloud
from tests.local.strict import enforce
from tests.local.support import boto

__all__ = ["boto"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what lies here: it needs the cloud, and that needs Linux."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.local)
            if sys.platform != "linux":
                item.add_marker(pytest.mark.skip(reason="the embedded cloud runs on Linux"))


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a cloud that is quick to start machines; nothing of it is left, even if pytest is killed.

    It looks at policies: `Lab` uses the toolkit as somebody to whom docs/iam-policy.json applies.
    """
    home = tmp_path_factory.mktemp("cloud")
    # Environments that are large, and that jobs of some tests share; wherever this checkout lies.
    root = Path(__file__).parents[2]
    os.environ["LOCALCLOUD_READABLE"] = os.pathsep.join(str(root / name) for name in (".venv-training", ".venv-mxnet"))
    yield enforce(localcloud.up(home, pending=0.4, boot=0.1, bound_to=os.getpid()))
    localcloud.down(home)
