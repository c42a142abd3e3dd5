"""Local disks in the config: only types that have some are launched."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from orchestrator.core.errors import UsageError
from tests.support.simulated_project import CONFIG, SimulatedProject, simulate

__all__ = ["simulate"]

WITH_SCRATCH = CONFIG + "[volumes]\nscratch = local at /scratch\n"


@pytest.mark.parametrize(
    "types",
    ["instance_type = c7i.2xlarge", "instance_type = c6id.2xlarge\nfallback_instance_types = c7i.2xlarge"],
    ids=["type", "fallback"],
)
def test_a_type_without_local_disks_is_refused_before_anything_is_launched(
    simulate: Callable[..., SimulatedProject], types: str
) -> None:
    session = replace(simulate(cluster=types), config=WITH_SCRATCH).session()

    with pytest.raises(UsageError, match=r"\[volumes\] scratch mounts local disks, and c7i.2xlarge has none"):
        session.cluster.plan(1)


def test_a_type_with_local_disks_is_planned_with_them(simulate: Callable[..., SimulatedProject]) -> None:
    session = replace(simulate(cluster="instance_type = c6id.2xlarge"), config=WITH_SCRATCH).session()

    assert session.cluster.plan(1).local_disks
