"""Experiments that end by themselves, fail, or are interrupted: what is fetched, and what is left."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.core.errors import HostsFailed
from orchestrator.core.events import Event
from orchestrator.core.next_step import advice_of
from tests.support.project import Project

SLOW = """
import pathlib, time
pathlib.Path("outputs").mkdir()
pathlib.Path("outputs/so-far.txt").write_text("half")
print("ready", flush=True)
time.sleep(300)
"""


@pytest.fixture
def project(cloud: dict[str, str], tmp_path: Path) -> Iterator[Project]:
    """A project whose cluster is terminated afterwards."""
    project = Project(tmp_path, "experiment", cloud)
    yield project
    with project.session("cleaner") as session:
        assert session.cluster.terminate().remaining == ()


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Have Ctrl-C interrupt the test, also where this process ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def press_ctrl_c(*_: object) -> None:
    """Send what Ctrl-C sends."""
    os.kill(os.getpid(), signal.SIGINT)


class Interrupting(list[Event]):
    """Events of a session; Ctrl-C is pressed again once the first one is reported."""

    def append(self, event: Event) -> None:
        super().append(event)
        if event.phase == "interrupted":
            press_ctrl_c()


@pytest.mark.slow
@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("skips_fetch", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_ctrl_c_in_an_experiment_fetches_what_is_there_and_terminates(project: Project, skips_fetch: bool) -> None:
    """A second Ctrl-C skips the fetch, and the VM is terminated all the same."""
    project.job("single = python slow.py\n", slow__py=SLOW)

    project.events = Interrupting() if skips_fetch else []
    with project.session() as session:
        with pytest.raises(KeyboardInterrupt) as caught:
            session.experiment(multi=False, count=1, on_line=press_ctrl_c)
        instances = session.cluster.status().instances
        (run,) = session.jobs.history()

    advice = [str(text) for text in advice_of(caught.value)]
    assert instances == ()
    assert advice[0] == f"{project.name}-0 is terminated."
    assert ("were not fetched" in advice[1], str(run.folder) in advice[1]) == (skips_fetch, not skips_fetch)
    assert (run.folder / "outputs/so-far.txt").exists() is not skips_fetch
    assert run.state == ("not fetched" if skips_fetch else "cancelled")


@pytest.mark.slow
def test_a_failed_experiment_leaves_nothing_running(project: Project) -> None:
    """Here the install fails, because a package does not exist."""
    project.job("requirements = r.txt\nmulti = true\n", r__txt="no-such-package-as-this-one==99\n")
    with project.session() as session:
        with pytest.raises(HostsFailed, match="requirements failed"):
            session.experiment(multi=True, count=2)
        status = session.cluster.status()

    assert status.instances == ()


@pytest.mark.slow
def test_an_experiment_returns_its_record_and_the_terminated_instances(project: Project) -> None:
    """Launch to terminate in one call."""
    project.job("multi = mkdir outputs\n")
    with project.session() as session:
        record, ended = session.experiment(multi=True, count=2)

    assert record.state == "done"
    assert ended.remaining == ()
    assert record.timings["install"] > 0
