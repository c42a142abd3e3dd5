"""Fixtures and marks that all tests share."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.support.paths import ROOT

# In CI hypothesis tries the same examples in each run, so that a red run is caused by the change under test. Without a
# deadline: a slow example is a busy computer.
settings.register_profile("stratus", deadline=None, derandomize=os.environ.get("CI") == "true")
settings.load_profile("stratus")

# boto3's clients and moto's tables are many objects: with CPython's thresholds, half of the CPU time of tests that
# open sessions is garbage collection.
gc.set_threshold(5_000, 50, 10)

NEEDS_LINUX = (ROOT / "tests/local", ROOT / "tests/localcloud")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests of the embedded cloud, which runs on Linux only."""
    for item in items:
        if any(folder in item.path.parents for folder in NEEDS_LINUX):
            item.add_marker(pytest.mark.local)
            if sys.platform != "linux":
                item.add_marker(pytest.mark.skip(reason="the embedded cloud runs on Linux"))


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Return the environment of a cloud whose instances start fast; nothing of it is left, even if pytest is killed.

    The cloud enforces policies: `Project` uses the toolkit as a user to whom both policies in docs/ apply.
    """
    # Imported here: the environment of tests/training has neither moto nor boto3.
    import localcloud
    from tests.support.localcloud.iam_enforcement import enforce

    home = tmp_path_factory.mktemp("cloud")
    # Large environments that the jobs of some tests share; hosts may not read the checkout otherwise.
    os.environ["LOCALCLOUD_READABLE"] = os.pathsep.join(str(ROOT / name) for name in (".venv-training", ".venv-mxnet"))
    os.environ["LOCALCLOUD_IMAGES"] = os.pathsep.join(
        f"stratus/{name}={ROOT / folder}/bin/python"
        for folder, name in ((".venv-training", "domain_adaptation*"), (".venv-mxnet", "mnist_kvstore"))
        if (ROOT / folder).is_dir()
    )
    yield enforce(localcloud.up(home, pending=0.4, boot=0.1, bound_to=os.getpid()))
    localcloud.down(home)
