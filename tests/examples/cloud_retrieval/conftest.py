"""Synthetic scenes, and a run on one machine, shared by the tests of the cloud retrieval job."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.examples.example_data import CLOUD_RETRIEVAL, ignore_log, missing_packages

if TYPE_CHECKING:
    from retrieval.pipeline import Options, RetrievalResult

# The job's modules are imported from its folder, as its scripts do.
sys.path.insert(0, str(CLOUD_RETRIEVAL))
MISSING = missing_packages(("numpy", "sklearn", "h5py", "matplotlib", "distributed"))
collect_ignore_glob = ["test_*.py"] if MISSING else []


def pytest_report_header() -> str | None:
    """Return the reason why tests are left out."""
    return f"cloud retrieval: left out for lack of {', '.join(MISSING)}" if MISSING else None


@pytest.fixture(scope="session")
def scene_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four synthetic scenes."""
    folder = tmp_path_factory.mktemp("work") / "data"
    # By its path: the other job has a synthesize.py as well, and one process may run the tests of both.
    script = runpy.run_path(str(CLOUD_RETRIEVAL / "synthesize.py"))
    script["synthesize"](folder, scenes=4, size=72, seed=3)
    return folder


@pytest.fixture(scope="session")
def quick_options(scene_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Options:
    """Options for a run of one or two seconds."""
    from retrieval.pipeline import Options

    return Options(data=str(scene_folder), out=tmp_path_factory.mktemp("local"), fast=True, rows=2000)


@pytest.fixture(scope="session")
def local_result(quick_options: Options) -> RetrievalResult:
    """The result of a run on this machine."""
    from retrieval import pipeline

    return pipeline.run(quick_options, ignore_log)
