"""Commands on all hosts at once: cancel all jobs, usage, run a command."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import localcloud
from orchestrator.core.errors import UsageError
from tests.support.localcloud.clients import wait_until
from tests.support.project import Project

STUBBORN = "setsid sh -c 'trap \"\" TERM; sleep {0}; sleep {0}' & sleep {0}"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """An embedded cloud and its home folder."""
    home = tmp_path_factory.mktemp("cloud")
    env = localcloud.up(home, pending=0.2, boot=0.05, bound_to=os.getpid())
    yield {**env, "HOME_OF_IT_ALL": str(home)}
    localcloud.down(home)


@pytest.fixture(scope="module")
def project(cloud: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project with two running hosts and an installed job."""
    project = Project(tmp_path_factory.mktemp("lab"), "every", cloud)
    project.job("single = true\nmulti = true\n")
    with project.session() as session:
        assert not session.cluster.launch(session.cluster.plan(2)).failed
        assert not session.jobs.install().failed
        yield project
        assert session.cluster.terminate().remaining == ()


def running(mark: str) -> list[str]:
    """Return the processes of this computer with a text in their command lines."""
    out = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout
    return [line for line in out.splitlines() if mark in line]


def folder_of(project: Project, run: str) -> Path:
    """Return the folder of a run on the first host's disk."""
    (found,) = {path for path in Path(project.env["HOME_OF_IT_ALL"]).rglob(f"stratus/runs/{run}") if path.is_dir()}
    return found


@pytest.mark.slow
def test_cancel_all_finds_runs_that_no_shell_follows(project: Project) -> None:
    """Runs of two shells, processes that ignore SIGTERM, a run without folder; but no run of another cluster."""
    other = Project(project.folder / "other", "else", project.env)
    other.job("single = sleep 912.25\n")
    with other.session() as theirs, project.session() as session:
        theirs.cluster.launch(theirs.cluster.plan(1))
        theirs.jobs.install()
        theirs.jobs.start(multi=False)
        project.job(f"multi = {STUBBORN.format('911.25')}\n")
        with project.session("somebody's") as gone:
            project.copy_key("laptop", "somebody's")
            first = gone.jobs.start(multi=True)
        project.job(f"single = {STUBBORN.format('913.25')}\n")
        second = session.jobs.start(multi=False)
        wait_until(lambda: len(running("sleep 911.25")) >= 6 and len(running("sleep 913.25")) >= 3)
        shutil.rmtree(folder_of(project, second.run_id))

        report = session.jobs.cancel_all()
        again = session.jobs.cancel_all()
        untouched = running("sleep 912.25")
        theirs.cluster.terminate()

    assert not report.failed
    assert {host.host: host.left for host in report.hosts} == {"every-0": 0, "every-1": 0}
    assert {host.host: set(host.runs) for host in report.hosts} == {
        "every-0": {first.run_id, second.run_id},
        "every-1": {first.run_id},
    }
    assert running("sleep 911.25") + running("sleep 913.25") == []
    assert untouched
    assert [(host.runs, host.left) for host in again.hosts] == [((), 0), ((), 0)]


def test_a_run_ended_by_cancel_all_is_canceled(project: Project) -> None:
    project.job("multi = sleep 914.25\n")
    with project.session() as session:
        run = session.jobs.start(multi=True)
        session.jobs.cancel_all()
        states = {one.run_id: one.state for one in session.jobs.runs()}

    assert states[run.run_id] == "cancelled"


def test_usage_names_the_run_of_a_process(project: Project) -> None:
    project.job("multi = sleep 915.25\n")
    with project.session() as session:
        run = session.jobs.start(multi=True)
        wait_until(lambda: len(running("sleep 915.25")) >= 2)
        report = session.hosts.usage()
        session.jobs.cancel(run.run_id)
        after = session.hosts.usage(["every-1"])

    assert not report.failed
    for host in report.hosts:
        assert host.cores > 0
        assert 0 < host.memory_used_bytes < host.memory_total_bytes
        assert [task.run_id for task in host.processes if task.command == "sleep 915.25"] == [run.run_id]
    assert [(host.host, host.processes) for host in after.hosts] == [("every-1", ())]


@pytest.mark.slow
def test_a_command_runs_on_every_host_with_separate_results(project: Project) -> None:
    heard: list[tuple[str, str]] = []
    with project.session() as session:
        name = "case $(whoami) in *) echo here; esac; exit 3"
        report = session.hosts.run_command(name, on_line=lambda host, line: heard.append((host, line)))
        one = session.hosts.run_command("true", names=["every-1"])
        with pytest.raises(UsageError, match="every-9"):
            session.hosts.run_command("true", names=["every-9"])
        slow = session.hosts.run_command("sleep 30", timeout_s=1)

    assert sorted(heard) == [("every-0", "here"), ("every-1", "here")]
    assert [(host.host, host.exit_status, host.lines) for host in report.hosts] == [
        ("every-0", 3, ("here",)),
        ("every-1", 3, ("here",)),
    ]
    assert [(host.host, host.exit_status) for host in one.hosts] == [("every-1", 0)]
    assert set(slow.failed) == {"every-0", "every-1"}
