"""Replacing on the embedded cloud: real threads, real SSH, a machine that never boots."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import localcloud
from localcloud.scenarios.scenario import Scenario, make_fault
from tests.support.project import Project


@pytest.fixture
def lab(cloud: dict[str, str], tmp_path: Path) -> Iterator[Project]:
    """A lab that does not wait long for SSH."""
    made = Project(tmp_path, "lame", cloud)
    made.job("single = true\n")
    made.config.write_text(made.config.read_text().replace("[ssh]", "[ssh]\nready_timeout = 4"))
    yield made
    localcloud.scenario(None, cloud["LOCALCLOUD_HOME"])
    with made.session("cleaner") as session:
        assert session.cluster.terminate().remaining == ()


def test_a_machine_that_never_boots_is_replaced_while_the_others_go_on(lab: Project, cloud: dict[str, str]) -> None:
    hangs = make_fault("boot-hangs", where="host 1")
    localcloud.scenario(Scenario(1, (hangs,)), cloud["LOCALCLOUD_HOME"])
    done: list[str] = []
    with lab.session() as session:
        plan = session.cluster.plan(3)
        report, _ = session._launch(plan, lambda host: done.append(host.name))
        names = [machine.name for machine in session.cluster.status().up]

    assert (len(report.ready), dict(report.failed)) == (3, {})
    assert done[-1] == "lame-1"
    assert names == ["lame-0", "lame-1", "lame-2"]
    assert [one.phase for one in lab.events if one.phase == "replace" and one.state == "done"] == ["replace"]
