"""RunExperiment() with [vms] keep_failed_minutes: the VMs of a failed job stay up for a while, and no longer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestrator.core.errors import JobFailed
from orchestrator.core.next_step import advice_of
from tests.support.project import Project

pytestmark = pytest.mark.slow


@pytest.fixture
def project(cloud: dict[str, str], tmp_path: Path) -> Iterator[Project]:
    """A project whose cluster is terminated afterwards."""
    project = Project(tmp_path, "keep", cloud)
    project.job("single = echo broken; exit 3\n")
    yield project
    with project.session("cleaner") as session:
        session.cluster.terminate()


def test_the_vm_of_a_failed_job_stays_up_with_a_short_timer_and_its_price_is_told(project: Project) -> None:
    with project.session(
        adapt=lambda loaded: replace(loaded, vms=replace(loaded.vms, keep_failed_minutes=30))
    ) as session:
        with pytest.raises(JobFailed) as caught:
            session.experiment(multi=False, count=1)
        (instance,) = session.inventory.instances()

        assert instance.state == "running"
        assert instance.expires_at
        assert instance.expires_at < datetime.now(UTC) + timedelta(minutes=32)
        (advice,) = [str(line) for line in advice_of(caught.value) if "stays up" in str(line)]
        assert advice.startswith("keep-0 stays up for 30 min, $0.1")
        assert 'Ssh("keep-0") opens a terminal' in advice
        assert session.jobs.fetch(caught.value.run_id).state == "failed"


def test_without_the_setting_it_is_terminated(project: Project) -> None:
    with project.session() as session:
        with pytest.raises(JobFailed):
            session.experiment(multi=False, count=1)
        assert session.inventory.instances() == []
