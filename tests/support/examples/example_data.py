"""Folders of the example jobs, and real data for their tests."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import ROOT

CLOUD_RETRIEVAL = ROOT / "examples" / "cloud_retrieval"
MNIST_KVSTORE = ROOT / "examples" / "mnist_kvstore"


def missing_packages(names: Iterable[str]) -> list[str]:
    """Return the packages that are not installed; they are listed in the example's requirements.txt."""
    return [name for name in names if importlib.util.find_spec(name) is None]


def real_file(name: str) -> Path:
    """Return a file of real data; skip the test without it.

    The folder is named by STRATUS_TEST_DATA (default: shared/data beside the checkout).
    """
    path = Path(os.environ.get("STRATUS_TEST_DATA", ROOT.parent / "shared" / "data")) / name
    if not path.is_file():
        pytest.skip(f"no {name} in {path.parent}; STRATUS_TEST_DATA names its folder")
    return path


def ignore_log(line: str) -> None:
    """Discard a line of progress."""


def scene_hashes(result: Any) -> tuple[str, str]:
    """Return the hashes of a cloud retrieval's model and predictions, which must not depend on where it ran."""
    return result.trained.digest, result.prediction_digest


def granule_hashes(result: Any) -> tuple[str, str]:
    """Return the hashes of a granules run's models and predictions, which must not depend on where it ran."""
    return result.model_digest, result.prediction_digest
