"""Fixture of one embedded cloud per process of the test run, in a folder of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

import localcloud
from tests.support.localcloud.iam_enforcement import enforce
from tests.support.paths import ROOT


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Return the environment of a cloud whose instances start fast; nothing of it is left, even if pytest is killed.

    The cloud enforces policies: `Lab` uses the toolkit as a user to whom docs/iam-policy.json applies.
    """
    home = tmp_path_factory.mktemp("cloud")
    # Large environments that the jobs of some tests share; hosts may not read the checkout otherwise.
    os.environ["LOCALCLOUD_READABLE"] = os.pathsep.join(str(ROOT / name) for name in (".venv-training", ".venv-mxnet"))
    yield enforce(localcloud.up(home, pending=0.4, boot=0.1, bound_to=os.getpid()))
    localcloud.down(home)
