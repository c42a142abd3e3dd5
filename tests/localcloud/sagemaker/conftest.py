"""Fixtures of the tests of SageMaker."""

from __future__ import annotations

import pytest

from localcloud.sagemaker.containers.namespaces import Namespaces
from tests.support.localcloud.hosting_lab import HostingLab
from tests.support.localcloud.training_lab import TrainingLab


@pytest.fixture(scope="session")
def lab(cloud: dict[str, str]) -> TrainingLab:
    """Return training jobs of the shared cloud."""
    if not Namespaces().are_available:
        pytest.skip("this system allows no user namespaces")
    return TrainingLab(cloud)


@pytest.fixture(scope="session")
def hosting(cloud: dict[str, str], lab: TrainingLab, tmp_path_factory: pytest.TempPathFactory) -> HostingLab:
    """Return endpoints of the shared cloud."""
    return HostingLab(cloud, lab, tmp_path_factory.mktemp("hosting"))
