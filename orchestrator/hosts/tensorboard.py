"""TensorBoard on a host: start it, or find the one that runs; end it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from orchestrator.core import remote_scripts
from orchestrator.core.errors import UsageError
from orchestrator.core.host import Host
from orchestrator.core.next_step import NextStep
from orchestrator.hosts.commands import marked_lines, script_error

if TYPE_CHECKING:
    from orchestrator.ssh import SshClient

START_TIMEOUT_S = 120.0
"""For the first start, which compiles its modules: 3 s on an idle VM."""

STOP_TIMEOUT_S = 60.0
CONNECT_S = 30.0

# What the host prints is untrusted input.
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_RUN_ID = re.compile(r"[0-9]{8}-[0-9]{6}-[a-z0-9]{3}")

_OTHER = NextStep("TensorBoard", "outputs/logs") + " shows logs of the newest run; a path may be absolute, too"


def start(ssh: SshClient, host: Host, logs: str, run_id: str = "") -> int:
    """Start TensorBoard on a host, or find the one that shows these logs; return its port.

    :param logs: folder on the host: absolute, or relative to the working directory of a run.
    :param run_id: the run's id, or its end; the newest on the host when empty.
    :raises UsageError: there is no such run or folder.
    :raises HostError: it did not start.
    """
    # Imported when needed: paramiko takes a third of a second.
    from orchestrator.ssh import LOOPBACK

    args = ("start", LOOPBACK, str(round(START_TIMEOUT_S)), logs, run_id)
    command = remote_scripts.inline_command("tensorboard.sh", *args)
    result = ssh.run(host, command, timeout_s=START_TIMEOUT_S + CONNECT_S)
    for line in marked_lines(result.stdout, "@@tensorboard"):
        if _PORT.fullmatch(line):
            return int(line)
    if "@@norun" in result.stdout.splitlines():
        raise UsageError(f"no run {run_id!r} there" if run_id else "no run there yet", where=host.name, fix=_OTHER)
    for line in marked_lines(result.stdout, "@@nofolder"):
        run = f" in run {line}" if _RUN_ID.fullmatch(line) else ""
        raise UsageError(f"{logs}: no such folder{run}", where=host.name, fix=_OTHER)
    raise script_error(result, "TensorBoard was not started")


def stop(ssh: SshClient, host: Host) -> int:
    """End all TensorBoards of a host; return their number.

    :raises HostError: the host gave no answer.
    """
    result = ssh.run(host, remote_scripts.inline_command("tensorboard.sh", "stop"), timeout_s=STOP_TIMEOUT_S)
    for line in marked_lines(result.stdout, "@@stopped"):
        if line.isdecimal():
            return int(line[:6])
    raise script_error(result, "TensorBoard was not ended")
