"""Replacement with real threads and real SSH: an instance that never boots."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import localcloud
from localcloud.scenarios.scenario import Scenario, make_fault
from tests.support.project import Project


@pytest.fixture
def project(cloud: dict[str, str], tmp_path: Path) -> Iterator[Project]:
    """A project with a short ready_timeout."""
    project = Project(tmp_path, "lame", cloud)
    project.job("single = true\n")
    project.config.write_text(project.config.read_text().replace("[ssh]", "[ssh]\nready_timeout = 4"))
    yield project
    localcloud.scenario(None, cloud["LOCALCLOUD_HOME"])
    with project.session("cleaner") as session:
        assert session.cluster.terminate().remaining == ()


@pytest.mark.slow
def test_an_instance_that_never_boots_is_replaced_while_the_others_continue(
    project: Project, cloud: dict[str, str]
) -> None:
    hangs = make_fault("boot-hangs", where="host 1")
    localcloud.scenario(Scenario(1, (hangs,)), cloud["LOCALCLOUD_HOME"])
    done: list[str] = []
    with project.session() as session:
        plan = session.cluster.plan(3)
        report, _ = session.cluster.launch_and(plan, lambda host: done.append(host.name))
        names = [machine.name for machine in session.cluster.status().up]

    assert (len(report.ready), dict(report.failed)) == (3, {})
    assert done[-1] == "lame-1"
    assert names == ["lame-0", "lame-1", "lame-2"]
    assert [one.phase for one in project.events if one.phase == "replace" and one.state == "done"] == ["replace"]
