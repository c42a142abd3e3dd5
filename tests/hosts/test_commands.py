"""Commands that take longer than they may, and hosts that are lost meanwhile: real SSH servers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from orchestrator.core.clock import REAL_CLOCK
from orchestrator.core.errors import ConnectError
from orchestrator.hosts import commands
from orchestrator.ssh import SshClient
from tests.support.ssh.ssh_lab import Lab

pytestmark = pytest.mark.slow


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    lab = Lab(tmp_path, hosts=1)
    yield lab
    lab.stop()


def failure(
    ssh: SshClient, lab: Lab, command: str, on_line: Callable[[str, str], None] = lambda host, line: None
) -> Exception:
    """Return the error of a command that takes more than a second."""
    report = commands.run(ssh, [lab.host()], command, on_line=on_line, timeout_s=1)
    (error,) = report.failed.values()
    return error


def test_a_command_that_takes_longer_than_it_may_is_no_lost_connection(lab: Lab) -> None:
    with SshClient(REAL_CLOCK) as ssh:
        silent, slow = (failure(ssh, lab, command) for command in ("sleep 5", "echo a; sleep 5"))

    assert ": no output for 1 s (timeout)" in str(silent)
    assert ": not done after 1 s (timeout)" in str(slow)
    assert 'RunCommand("sleep 5", timeout=10)' in str(silent)
    assert "network" not in f"{silent}{slow}"


def test_a_host_that_does_not_answer_is_lost(lab: Lab) -> None:
    with SshClient(REAL_CLOCK) as ssh, ExitStack() as stack:
        error = failure(ssh, lab, "echo a; sleep 5", lambda host, line: stack.enter_context(lab.frozen()))

    assert isinstance(error, ConnectError)
    assert "timeout" not in str(error)
