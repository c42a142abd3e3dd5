"""Fixtures of the tests of SageMaker."""

from __future__ import annotations

import pytest

from tests.support.localcloud.training_lab import TrainingLab


@pytest.fixture(scope="session")
def lab(cloud: dict[str, str]) -> TrainingLab:
    """Return training jobs of the shared cloud."""
    return TrainingLab(cloud)
