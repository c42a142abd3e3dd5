"""Runs: their state from the state of their tasks, and their selection by id."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.core.errors import UsageError
from orchestrator.jobs.runs import LocatedRun, Run, TaskState, select_run
from tests.support.jobs.job_folder import example_host

START = datetime(2026, 11, 20, 14, 12, 3, tzinfo=UTC)
RUN = Run("20261120-141203-k3x", "job", "command", True, {"ml-0": ("main",), "ml-1": ("main",)}, ("outputs",), 0)


def task(host: str, exit_text: str = "0", *, is_alive: bool = False, seconds: float = 5) -> TaskState:
    """Return a main task that began at START."""
    ended_at = START + timedelta(seconds=seconds) if exit_text else None
    return TaskState(host, "main", is_alive, exit_text, START, ended_at)


@pytest.mark.parametrize(
    ("tasks", "state", "seconds"),
    [
        ((task("ml-0"), task("ml-1", seconds=7)), "done", 7.0),
        ((task("ml-0"), task("ml-1", "", is_alive=True)), "running", None),
        ((task("ml-0"), task("ml-1", "")), "lost", None),
        ((task("ml-0", "3"), task("ml-1", "cancelled")), "failed", 5.0),
        ((task("ml-0", "1"), task("ml-1", "timeout")), "timeout", 5.0),
        ((task("ml-0", "lost"), task("ml-1", "cancelled")), "lost", 5.0),
        ((task("ml-0"), task("ml-1", "cancelled")), "cancelled", 5.0),
        ((), "lost", None),
    ],
)
def test_the_state_of_a_run_is_the_worst_of_its_main_tasks(
    tasks: tuple[TaskState, ...], state: str, seconds: float | None
) -> None:
    run = replace(RUN, tasks=tasks)

    assert (run.state, run.seconds) == (state, seconds)
    assert (run.summary.state, run.summary.seconds) == (state, seconds)


@pytest.mark.parametrize(
    ("tasks", "elapsed_s"),
    [
        ((task("ml-0"), task("ml-1", seconds=7)), 7.0),
        ((task("ml-0"), task("ml-1", "", is_alive=True)), 60.0),
        ((task("ml-0", seconds=-5), task("ml-1", seconds=-7)), 0.0),
        ((task("ml-0"), task("ml-1", "")), None),
        ((replace(task("ml-0", "", is_alive=True), started_at=None),), None),
    ],
)
def test_a_run_that_goes_on_has_taken_the_time_until_now(tasks: tuple[TaskState, ...], elapsed_s: float | None) -> None:
    run = replace(RUN, tasks=tasks)

    assert run.elapsed_s(START + timedelta(minutes=1)) == elapsed_s
    if elapsed_s == 60:
        # The host's clock is ahead.
        assert run.elapsed_s(START - timedelta(minutes=1)) == 0


def test_helpers_do_not_count() -> None:
    helper = TaskState("ml-0", "worker", False, "1", START, START)

    assert replace(RUN, tasks=(task("ml-0"), helper)).state == "done"


def test_a_run_is_selected_by_its_id_its_end_or_as_the_newest() -> None:
    older, newer = replace(RUN, run_id="r-k3x"), replace(RUN, run_id="r-ab3x")

    assert select_run([older, newer], "k3x") is older
    assert select_run([older, newer], "r-k3x") is older
    assert select_run([older, newer]) is newer
    with pytest.raises(UsageError, match="'3x' matches several runs: r-k3x, r-ab3x"):
        select_run([older, newer], "3x")
    with pytest.raises(UsageError, match="no run 'zz' here") as caught:
        select_run([older, newer], "zz")
    assert str(caught.value.fix) == "known: r-k3x, r-ab3x"
    with pytest.raises(UsageError, match="no run here yet"):
        select_run([])


def test_an_id_that_is_the_end_of_another_is_still_selected() -> None:
    short, long = replace(RUN, run_id="k3x"), replace(RUN, run_id="r-k3x")

    assert select_run([short, long], "k3x") is short


def test_a_located_run_names_its_hosts_that_are_not_up() -> None:
    located = LocatedRun(RUN, (example_host(1), example_host(2)))

    assert [host.name for host in located.members] == ["ml-1"]
    assert located.missing_members == ["ml-0"]
    with pytest.raises(UsageError, match="ml-0: not up") as caught:
        located.require_hosts(RUN.hosts)
    assert str(caught.value.fix) == "up: ml-1, ml-2"
