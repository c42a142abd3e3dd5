"""Disks and file systems that were made before the settings were edited: named, priced, and ended when asked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.aws.managed.resources import ManagedSurvey
from orchestrator.interface.render import registry
from orchestrator.interface.render.billed import managed
from tests.support.localcloud.clients import boto
from tests.support.project import Project

pytestmark = pytest.mark.slow

DISKS = "[volumes]\nwork = 5 GiB at ~/work, keep\n[file_systems]\nshared = efs at ~/shared\n"


@pytest.fixture
def project(cloud: dict[str, str], tmp_path: Path) -> Iterator[Project]:
    lab = Project(tmp_path, "before", cloud)
    lab.job("single = true\n")
    yield lab
    lab.config.write_text(lab.config.read_text().replace("name = after", "name = before"))
    with lab.session() as session:
        session.cluster.terminate(kept=True)


def test_what_other_settings_made_is_named_until_it_is_ended(project: Project) -> None:
    before = project.config.read_text()
    project.config.write_text(before + DISKS)
    with project.session() as session:
        session.cluster.launch(session.cluster.plan(1))
        efs, volume = session.cluster.status().managed.resources[::-1]
        assert (efs.origin, volume.origin) == ("", "")

    # The name of the cluster, and without the lines on disks.
    project.config.write_text(before.replace("name = before", "name = after"))
    registry.load()
    with project.session() as session:
        listed = {item.name: item for item in session.cluster.status().managed.resources}
        assert {name: item.origin for name, item in listed.items()} == dict.fromkeys(
            (efs.name, volume.name), "cluster before in us-west-2"
        )
        shown = "\n".join(map(str, managed.listed(ManagedSurvey(tuple(listed.values())), session.context.clock.now())))
        assert "work, 5 GiB gp3" in shown
        assert "of cluster before in us-west-2" in shown
        assert "TerminateAll(everywhere=True) ends what other settings made" in shown
        left = session.cluster.terminate()
        assert any(f"{efs.name}: made from here under other settings" in str(line) for line in left.remaining)
        assert not any(volume.name in str(line) for line in left.remaining)
        text = "\n".join(map(str, registry.lines(left, session.context.clock.now())))
        assert f"{volume.name}, work, 5 GiB gp3" in text
        assert "TerminateAll(kept=True, everywhere=True)" in text

        gone = session.cluster.terminate(everywhere=True)
        assert gone.remaining == ()
        assert [item.name for item in session.cluster.status().managed.resources] == [volume.name]
        assert session.cluster.terminate(everywhere=True, kept=True).remaining == ()
        assert session.cluster.status().managed.resources == ()

    assert boto(project.env, "efs").describe_file_systems()["FileSystems"] == []
