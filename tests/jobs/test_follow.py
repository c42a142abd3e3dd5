"""Errors of runs that were followed to their end."""

from __future__ import annotations

from pathlib import Path

import pytest

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
