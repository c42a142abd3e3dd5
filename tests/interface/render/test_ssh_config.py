"""The SSH config as text."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from orchestrator.core.next_step import NextStep
from orchestrator.services.ssh_config import SshConfigReport
from tests.support.interface.rendered import rendered

STOPPED = SshConfigReport(
    Path("ssh/config"),
    (),
    Path("config"),
    is_included=False,
    problem="no VM of cluster ml is running; stopped: ml-0.  Next: " + NextStep("StartAll"),
)


def test_without_a_vm_that_is_up_the_reason_is_shown_and_no_command_that_fails() -> None:
    lines = rendered(STOPPED)

    assert lines == [
        "  no VM of cluster ml is running; stopped: ml-0.  Next: StartAll()",
        "  SshConfig(install=True) lets ssh, scp, rsync and editors find VMs by name once they are up.",
    ]
    assert "ssh -F" not in "\n".join(rendered(replace(STOPPED, is_included=True)))
