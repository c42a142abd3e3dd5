"""Fixtures of the config tests."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as users have it: config/, a job, a key."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("config", "examples/cloud_retrieval", "examples/empty"):
        (folder / name).mkdir(parents=True)
    (folder / "examples/cloud_retrieval/job.ini").touch()
    (folder / "lab.pem").touch()
    return folder
