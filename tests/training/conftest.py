"""Training with the real libraries: torch in this process, Horovod and torchrun as processes on loopback.

``scripts/test-training`` creates the environment for these tests, and there none may be left out.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.support.examples.example_data import missing_packages
from tests.support.examples.training_runs import JOB, PACKAGES

MISSING = missing_packages(PACKAGES)
collect_ignore_glob = ["test_*.py"] if MISSING else []
if MISSING and os.environ.get("STRATUS_TRAINING") == "required":
    raise ImportError(f"not installed: {', '.join(MISSING)}")
if not MISSING:
    # The job's modules are imported from its folder, as its scripts do.
    sys.path.insert(0, str(JOB))


def pytest_report_header() -> str | None:
    """Return the reason why tests are left out."""
    return f"training: left out for lack of {', '.join(MISSING)} (scripts/test-training)" if MISSING else None


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small set of synthetic images."""
    from generators import synthetic_images

    folder = tmp_path_factory.mktemp("images")
    synthetic_images.write_domains(folder, seed=2, size=16, share=0.06)
    return folder
