"""Notice at the end of a long run: the terminal's bell, and a command of the user's own."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.interface.workspace import Workspace

TIMEOUT_S = 30.0
"""The prompt comes back after the command: one that hangs is ended."""


@dataclass(frozen=True)
class EndOfRun:
    """End of a run that was watched.

    :param state: ``done``, ``failed``, ``timeout``, ``cancelled``, ``lost``.
    :param seconds: how long it was watched.
    """

    run_id: str
    state: str
    seconds: float

    @property
    def env(self) -> dict[str, str]:
        """Variables of the user's command."""
        return {
            "STRATUS_RUN": self.run_id,
            "STRATUS_STATE": self.state,
            "STRATUS_SECONDS": f"{self.seconds:.0f}",
        }


def give(workspace: Workspace, end: EndOfRun) -> None:
    """Ring the bell and run the command of ``[job] notify``, if the run was long; a failure is only reported."""
    options = workspace.settings(files=False).job
    if end.seconds < options.notify_after:
        return
    workspace.console.ring()
    if not options.notify:
        return
    problem = _run(options.notify, end)
    if problem:
        workspace.console.print_error(f"[job] notify: {problem}")


def _run(command: str, end: EndOfRun) -> str:
    """Run a command; return what went wrong, or nothing."""
    try:
        done = subprocess.run(
            # A shell command, as the setting says; never one that another program or host has chosen.
            ["/bin/sh", "-c", command],
            env=os.environ | end.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        return f"did not end within {TIMEOUT_S:.0f} s"
    except (OSError, ValueError) as error:
        return str(error)
    last = (done.stderr.strip().splitlines() or [""])[-1]
    return f"exit {done.returncode} {last}".rstrip() if done.returncode else ""
