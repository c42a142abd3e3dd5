"""The mesh of a run whose tasks are containers: what one host starts on another runs in the container there."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

import localcloud
from localcloud.hosts.docker import image
from tests.support.localcloud.clients import wait_until
from tests.support.project import Project

pytestmark = pytest.mark.slow

GO = """
for address in $(cat "$STRATUS_HOSTFILE"); do
    ssh $address 'echo "$STRATUS_HOST $(test -e /.dockerenv && echo inside) $(id -un) ${HOME##*/} $(basename $PWD)"'
done
"""


@pytest.fixture
def project(host_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Two hosts that are up."""
    if not image.exists(image.OFFLINE_BASE):
        pytest.skip("no image with Python (scripts/base-image makes it; CI does)")
    home = tmp_path_factory.mktemp("cloud")
    env = localcloud.up(home, pending=0.4, boot=0.1, bound_to=os.getpid())
    made = Project(tmp_path_factory.mktemp("lab"), "dock", env)
    made.job("single = true\n")
    with made.session() as session:
        assert not session.cluster.launch(session.cluster.plan(2)).failed
        yield made
        assert session.cluster.terminate().remaining == ()
    localcloud.down(home)


def containers(run: str) -> list[str]:
    """List the containers of a run."""
    command = ["docker", "ps", "-aq", "--filter", f"label=stratus.run={run}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def mesh_job(project: Project, command: str, **files: str) -> None:
    """Write a job whose hosts are meshed, in containers of an image with Python."""
    project.job(f"runtime = docker\nimage = {image.OFFLINE_BASE}\nframework = mpi\nmulti = {command}\n", **files)


def test_a_mesh_of_containers_runs_commands_in_them(project: Project) -> None:
    """As the login user, who has a name and a home there; nothing of it is left at the end."""
    mesh_job(project, "sh go.sh", go__sh=GO)
    lines: list[str] = []
    with project.session() as session:
        assert not session.jobs.install().failed
        run = session.jobs.start(multi=True)
        session.jobs.follow(run.run_id, on_line=lambda host, line: lines.append(line))
        wait_until(lambda: containers(run.run_id) == [], seconds=180)

    user = os.environ.get("USER") or "root"
    said = [line for line in lines if not line.startswith("stratus:")]
    assert [line.replace(user, "me") for line in said] == [
        "dock-0 inside me home workdir",
        "dock-1 inside me home workdir",
    ]


def test_cancel_of_a_mesh_leaves_no_container(project: Project) -> None:
    """On neither host."""
    mesh_job(project, "for a in $(cat $STRATUS_HOSTFILE); do ssh $a 'echo there; exec sleep 96.5' & done; wait")
    with project.session() as session:
        assert not session.jobs.install().failed
        run = session.jobs.start(multi=True)
        wait_until(lambda: [line for _, line in session.jobs.logs(run.run_id)].count("there") == 2, seconds=180)
        before = containers(run.run_id)
        report = session.jobs.cancel(run.run_id)

    assert len(before) == 3
    assert set(report.left.values()) == {0}
    assert containers(run.run_id) == []
