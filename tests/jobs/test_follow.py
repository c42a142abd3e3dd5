"""Errors of runs that were followed to their end."""

from __future__ import annotations

import shlex
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.clock import REAL_CLOCK
from orchestrator.core.errors import ConnectError
from orchestrator.core.host import Host
from orchestrator.hosts.parallel import Outcome
from orchestrator.jobs import follow
from orchestrator.jobs.runs import Run, TaskExit

HOST = Host("ml-0", "", "", 22, "u", Path(), "", "")
RUN = Run("20261120-141203-k3x", "job", "command", False, {"ml-0": ("main",)}, ("outputs",), 0)


def error(exit_status: int | None, reason: str, *tail: str) -> tuple[str, str, str]:
    """Return message, state and advice for a task."""
    failed = follow.failure(
        RUN, Outcome(HOST, TaskExit("ml-0", exit_status, reason, tail), None, 1.0), log_folder=Path("l")
    )
    assert failed.run_id == RUN.run_id
    return failed.message, failed.state, str(failed.fix)


@pytest.mark.parametrize(
    ("exit_status", "reason", "message", "state"),
    [
        (3, "exit", "failed (exit 3)", "failed"),
        (None, "timeout", "reached [job] max_hours and was ended", "timeout"),
        (None, "cancelled", "was cancelled", "cancelled"),
    ],
)
def test_the_error_has_the_state_of_the_run(exit_status: int | None, reason: str, message: str, state: str) -> None:
    assert error(exit_status, reason) == (message, state, "logs of every VM: l")


@pytest.mark.parametrize(("module", "package"), [("numpy", "numpy"), ("sklearn.tree", "scikit-learn")])
def test_a_missing_package_leads_to_the_requirements(module: str, package: str) -> None:
    lines = (f"ModuleNotFoundError: No module named '{module}'", "mpirun has exited")

    assert error(1, "exit", *lines)[2].startswith(f"if it is a package: add {package} to requirements.txt of the job;")


@pytest.mark.parametrize(
    ("state", "message", "fix"),
    [
        ("stopped", "ended: the VM was stopped", 'StartAll(), then FetchResults("k3x")  fetches what it had written'),
        ("terminated", "ended: the VM was terminated", "logs of every VM: l"),
        ("running", "lost: ssh: refused", "logs of every VM: l"),
    ],
)
def test_a_host_that_was_stopped_is_not_booting(state: str, message: str, fix: str) -> None:
    lost: Outcome[TaskExit] = Outcome(HOST, None, ConnectError("refused", "ssh: refused"), 1.0)
    failed = follow.failure(RUN, lost, log_folder=Path("l"), instance_state=state)

    assert (failed.message, str(failed.fix), failed.state) == (message, fix, "lost")


class Streams:
    """SSH client whose streams end once all of them are open at the same time."""

    clock = REAL_CLOCK

    def __init__(self, count: int) -> None:
        self.all_open = threading.Barrier(count, timeout=20)

    def stream(self, host: Host, command: str, *, on_line: Callable[[str], None], **_: Any) -> int:
        """As `SshClient.stream`."""
        self.all_open.wait()
        mark = shlex.split(command)[-1]
        ended = "later" if host.name == "ml-7" else f"2026-11-20T14:12:0{host.name[-1]}.5Z"
        on_line(f"{mark} times 2026-11-20T14:12:00.000Z {ended}")
        on_line(f"{mark} exit 0")
        return 0


def test_all_hosts_are_followed_at_the_same_time() -> None:
    """A host that fails while others run is not noticed otherwise."""
    hosts = [Host(f"ml-{number}", "", "", 22, "u", Path(), "", "") for number in range(70)]
    streams: Any = Streams(len(hosts))
    exits = follow.follow(streams, hosts, RUN.run_id, on_line=lambda host, line: None)

    assert exits.errors == {}
    assert [task.exit_status for task in exits.successful_values()] == [0] * len(hosts)


def test_a_run_takes_from_its_first_start_to_its_last_end() -> None:
    hosts = [Host(f"ml-{number}", "", "", 22, "u", Path(), "", "") for number in range(3)]
    streams: Any = Streams(len(hosts))
    exits = follow.follow(streams, hosts, RUN.run_id, on_line=lambda host, line: None).successful_values()

    assert exits[1].started_at == datetime(2026, 11, 20, 14, 12, tzinfo=UTC)
    assert follow.duration_s(exits) == 2.5
    assert follow.duration_s(exits[:1]) == 0.5


def test_the_duration_is_unknown_if_a_job_damaged_a_time() -> None:
    streams: Any = Streams(1)
    host = Host("ml-7", "", "", 22, "u", Path(), "", "")
    exits = follow.follow(streams, [host], RUN.run_id, on_line=lambda host, line: None).successful_values()

    assert (exits[0].exit_status, exits[0].ended_at) == (0, None)
    assert follow.duration_s(exits) == 0.0
