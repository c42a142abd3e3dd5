"""Checkpoints leave the VM while the job runs, and come back when it starts again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import localcloud
from localcloud.scenarios.scenario import Scenario, make_fault
from orchestrator.core.errors import JobFailed
from orchestrator.session import Session
from tests.support.localcloud.clients import boto, wait_until
from tests.support.project import Project

# It counts on from the checkpoint; half.tmp and a file that is held open are never complete.
TRAINS = """
import os, pathlib, signal, sys, time
folder = pathlib.Path(os.environ["STRATUS_CHECKPOINTS"])
assert folder.samefile("state/checkpoints")
last = folder / "last.txt"
step = int(last.read_text()) if last.exists() else 0
print("starts at", step, flush=True)
def told(*_):
    last.write_text("99")
    sys.exit(3)
signal.signal(signal.SIGTERM, told)
(folder / "half.tmp").write_text("x")
open_file = open(folder / "open.bin", "wb", buffering=0)
open_file.write(b"half")
for step in range(step + 1, step + 4):
    (folder / f"epoch-{step}").mkdir()
    (folder / f"epoch-{step}" / "model.bin").write_bytes(bytes(1000 * step))
    (folder / "new").write_text(str(step))
    os.replace(folder / "new", last)
print("at work", flush=True)
while not os.path.exists("/tmp/never") and "once" not in sys.argv:
    time.sleep(0.1)
"""
JOB = "single = python train.py{}\ncheckpoints = state/checkpoints -> s3://{}/deep/job\ncheckpoint_minutes = 0.05\n"


@pytest.fixture
def lab(cloud: dict[str, str], tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Project]:
    """A project and its bucket."""
    lab = Project(tmp_path, f"checkpoints-{len(request.node.name)}", cloud)
    lab.config.write_text(lab.config.read_text().replace("count = 2", "count = 1"))
    boto(cloud, "s3").create_bucket(Bucket=lab.name, CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    yield lab
    localcloud.scenario(None, cloud["LOCALCLOUD_HOME"])
    with lab.session("cleaner") as session:
        assert session.cluster.terminate().remaining == ()


def saved(lab: Project) -> dict[str, Any]:
    """Return the files of the manifest in the bucket; empty without one."""
    s3 = boto(lab.env, "s3")
    try:
        body = s3.get_object(Bucket=lab.name, Key="deep/job/rank-0/manifest.json")["Body"]
    except s3.exceptions.NoSuchKey:
        return {}
    files: dict[str, Any] = json.loads(body.read())["files"]
    return files


def text(lab: Project, name: str) -> str:
    key = saved(lab)[name]["key"]
    return boto(lab.env, "s3").get_object(Bucket=lab.name, Key=key)["Body"].read().decode()  # type: ignore[no-any-return]


def run_to_end(session: Session) -> list[str]:
    """Run the job and return its output."""
    lines: list[str] = []
    run = session.jobs.start(multi=False)
    session.jobs.follow(run.run_id, on_line=lambda host, line: lines.append(line))
    return lines


@pytest.mark.slow
def test_checkpoints_survive_a_reclaimed_vm_and_come_back_on_a_new_one(lab: Project, cloud: dict[str, str]) -> None:
    lab.config.write_text(lab.config.read_text().replace("count = 1", "count = 1\nmarket = spot"))
    lab.job(JOB.format("", lab.name), train__py=TRAINS)
    with lab.session() as session:
        session.cluster.launch(session.cluster.plan(1))
        session.jobs.install()
        run = session.jobs.start(multi=False)
        # While the job runs: complete files only.
        wait_until(lambda: len(saved(lab)) == 4)
        assert sorted(saved(lab)) == [*(f"epoch-{step}/model.bin" for step in (1, 2, 3)), "last.txt"]
        assert text(lab, "last.txt") == "3"
        notice = make_fault("spot-interruption", when="0.1 s after running", notice=15)
        localcloud.scenario(Scenario(1, (notice,)), cloud["LOCALCLOUD_HOME"])
        with pytest.raises(JobFailed):
            session.jobs.follow(run.run_id, on_line=lambda host, line: None)
        wait_until(lambda: not session.cluster.status().instances)
        localcloud.scenario(None, cloud["LOCALCLOUD_HOME"])
        # What it wrote at the signal, too.
        assert text(lab, "last.txt") == "99"

        lab.job(JOB.format(" once", lab.name), train__py=TRAINS)
        session.cluster.launch(session.cluster.plan(1))
        session.jobs.install()
        lines = run_to_end(session)
        # The end of the run waits for its last checkpoint.
        assert text(lab, "last.txt") == "102"

    assert "checkpoints: 5 files" in lines[0]
    assert lines[1:] == ["starts at 99", "at work"]
    # Of a file that was replaced, the older object is gone.
    keys = {item["Key"] for item in boto(cloud, "s3").list_objects_v2(Bucket=lab.name)["Contents"]}
    assert keys == {facts["key"] for facts in saved(lab).values()} | {"deep/job/rank-0/manifest.json"}


@pytest.mark.slow
def test_a_vm_without_a_role_saves_and_restores_by_presigned_urls(lab: Project) -> None:
    lab.config.write_text(lab.config.read_text().replace("instance_profile = rehearsal\n", ""))
    lab.job(JOB.format(" once", lab.name), train__py=TRAINS)
    s3 = boto(lab.env, "s3")
    with lab.session() as session:
        session.cluster.launch(session.cluster.plan(1))
        session.jobs.install()
        assert run_to_end(session) == ["starts at 0", "at work"]
        assert text(lab, "last.txt") == "3"

        again = run_to_end(session)
        assert again[0].startswith("checkpoints: 5 files, 0.0 MB of run ")
        assert again[1:] == ["starts at 3", "at work"]
        assert text(lab, "last.txt") == "6"

        # A run must not begin anew, and save that, when it cannot go on.
        s3.put_object(Bucket=lab.name, Key=saved(lab)["last.txt"]["key"], Body=b"bad")
        with pytest.raises(JobFailed, match="74"):
            run_to_end(session)
        assert len(saved(lab)) == 8
        log = "\n".join(line for _, line in session.jobs.logs())
    url = f"s3://{lab.name}/deep/job"
    assert log == f"checkpoints: restore of {url}: last.txt in {url} differs from its manifest"
