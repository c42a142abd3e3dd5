"""Jobs in containers, on a real engine: the embedded cloud's hosts share the one of this computer."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator

import pytest

import localcloud
from tests.support.localcloud.clients import wait_until
from tests.support.project import Project

GO = """
echo "on $STRATUS_HOST of $STRATUS_SIZE: $LEVEL"
cat in/x
[ -n "$AWS_EC2_METADATA_SERVICE_ENDPOINT" ] && echo "$AWS_ENDPOINT_URL $AWS_REGION ${AWS_ACCESS_KEY_ID:-no key}"
mkdir outputs
echo '{"ok": 1}' > outputs/metrics.json
"""
JOB = """runtime = docker
image = {image}
data = in -> in
single = sh go.sh
multi = sh go.sh
[env]
LEVEL = a 'b; c
"""


@pytest.fixture
def project(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Two hosts that are up, and a job in a container."""
    home = tmp_path_factory.mktemp("cloud")
    made = Project(
        tmp_path_factory.mktemp("lab"), "dock", localcloud.up(home, pending=0.4, boot=0.1, bound_to=os.getpid())
    )
    folder = made.job(JOB.format(image=image), go__sh=GO)
    (folder / "in").mkdir()
    (folder / "in/x").write_text("data\n")
    with made.session() as session:
        assert not session.cluster.launch(session.cluster.plan(2)).failed
        yield made
        assert session.cluster.terminate().remaining == ()
    localcloud.down(home)


def containers(run: str) -> list[str]:
    """List the containers of a run."""
    command = ["docker", "ps", "-aq", "--filter", f"label=stratus.run={run}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def processes() -> list[str]:
    """List the command lines of this computer's processes, those of its rehearsal machines among them."""
    return subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout.splitlines()


def test_a_container_sees_its_data_and_variables_and_its_outputs_come_back(project: Project) -> None:
    """On both hosts, and where AWS is; the record names the image by what it was, not by its tag alone."""
    lines: list[tuple[str, str]] = []
    with project.session() as session:
        first, second = session.jobs.install(), session.jobs.install()
        run = session.jobs.start(multi=True)
        session.jobs.follow(run.run_id, on_line=lambda host, line: lines.append((host, line)))
        record = session.jobs.fetch(run.run_id)

    assert not first.failed
    assert second.changed == 0
    assert sorted(lines) == sorted(
        (f"dock-{n}", line)
        for n in (0, 1)
        for line in (f"on dock-{n} of 2: a 'b; c", "data", f"{project.env['AWS_ENDPOINT_URL']} us-west-2 no key")
    )
    assert record.metrics == {"ok": 1}
    facts = json.loads((record.folder / "record.json").read_text())
    assert facts["image_digests"][0].startswith("sha256:")
    assert containers(run.run_id) == []
    for path in (record.folder / "outputs").rglob("*.json"):
        assert path.stat().st_uid == os.getuid()


def test_cancel_leaves_no_container(project: Project) -> None:
    """Whether or not the process inside listens to signals. What it was given was on no command line."""
    go = "multi = trap '' TERM; sleep 60; sleep 60\n[env]\nLEVEL = 1\n"
    project.job(f"runtime = docker\nimage = stratus-test/tiny:1\n{go}")
    with project.session() as session:
        session.jobs.install()
        run = session.jobs.start(multi=True)
        wait_until(lambda: len(containers(run.run_id)) == 2)
        shown = [line for line in processes() if f"docker run --rm --pull never --name stratus-{run.run_id}" in line]
        report = session.jobs.cancel(run.run_id)

    assert len(shown) >= 2
    assert not [line for line in shown if "AWS_" in line or "LEVEL" in line]
    assert set(report.left.values()) == {0}
    assert containers(run.run_id) == []
