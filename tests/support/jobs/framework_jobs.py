"""Jobs of the frameworks on two or three hosts of the embedded cloud, and the environments that they need."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.session import Session
from tests.support.localcloud.clients import boto
from tests.support.paths import ROOT
from tests.support.project import Project

TRAINING = Path(os.environ.get("STRATUS_TRAINING_PYTHON", ROOT / ".venv-training/bin/python"))
MXNET = Path(os.environ.get("STRATUS_MXNET_PYTHON", ROOT / ".venv-mxnet/bin/python"))
needs_mxnet = pytest.mark.skipif(not MXNET.exists(), reason="no .venv-mxnet: scripts/mxnet-env creates it")
needs_torch = pytest.mark.skipif(not TRAINING.exists(), reason="no .venv-training: scripts/training-env creates it")


def has_horovod() -> bool:
    """True if the training environment has Horovod."""
    command = [str(TRAINING), "-c", "import importlib.util as u, sys; sys.exit(not u.find_spec('horovod'))"]
    return TRAINING.exists() and subprocess.run(command, check=False).returncode == 0


needs_horovod = pytest.mark.skipif(not has_horovod(), reason="no Horovod: scripts/training-env builds it")

SLEEP_S = f"97.{os.getpid()}"
"""Tells this test process's commands from those of others that run at the same time."""

SLEEP_EVERYWHERE = f"""
for address in $(cat "$STRATUS_HOSTFILE"); do ssh $address 'echo there; exec sleep {SLEEP_S}' & done
wait
"""
COUNT_SLEEPING = ["pgrep", "--count", "--full", f"^sleep {SLEEP_S}$"]
# Used as a job of framework mxnet: the supervisor of the tasks works with any command.
FAIL_OR_SLEEP = f"""
echo "there $$"
[ "$STRATUS_RANK" != "$1" ] || exit 3
exec sleep {SLEEP_S}
"""


@pytest.fixture(scope="module")
def two_hosts(cloud: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project with two running hosts, shared by the tests of a module."""
    project = Project(tmp_path_factory.mktemp("frameworks"), "fw", cloud)
    project.job("single = true\n")
    with project.session() as session:
        assert not session.cluster.launch(session.cluster.plan(2)).failed
    yield project
    with project.session("cleaner") as session:
        assert session.cluster.terminate().remaining == ()


@pytest.fixture
def three_hosts(cloud: dict[str, str], tmp_path: Path) -> Iterator[Project]:
    """A project with three running hosts, for one test that loses some."""
    project = Project(tmp_path, "lose", cloud)
    project.job("single = true\n")
    with project.session() as session:
        assert not session.cluster.launch(session.cluster.plan(3)).failed
    yield project
    with project.session("cleaner") as session:
        assert session.cluster.terminate().remaining == ()


def terminate_behind_its_back(project: Project, session: Session, name: str) -> None:
    """Terminate the instance of a host through EC2, unknown to the project's sessions."""
    (host,) = session.inventory.hosts([name])
    boto(project.env, "ec2").terminate_instances(InstanceIds=[host.identity])


def on_each_host(session: Session, command: str) -> list[str]:
    """Return the output of a command on each running host."""
    return [session.context.ssh.run(host, command).stdout.strip() for host in session.inventory.hosts()]


def run_job(project: Project, *, multi: bool = True) -> list[tuple[str, str]]:
    """Install and run the job; return its output as (host, line)."""
    lines: list[tuple[str, str]] = []
    with project.session() as session:
        assert not session.jobs.install().failed
        run = session.jobs.start(multi=multi)
        session.jobs.follow(run.run_id, on_line=lambda host, line: lines.append((host, line)))
    return lines


def write_job(project: Project, text: str, python: Path | None = None, **files: str) -> None:
    """Write the job; ``python`` replaces the interpreter of the tests."""
    folder = project.job(text, **files)
    if python:
        lines = (folder / "job.ini").read_text().splitlines()
        (folder / "job.ini").write_text("\n".join(["[job]", f"python = {python}", *lines[2:]]) + "\n")


def count_sleeping() -> int:
    """Return the number of sleeping commands on all hosts, which are processes of this computer."""
    return int(subprocess.run(COUNT_SLEEPING, capture_output=True, text=True, check=False).stdout)
