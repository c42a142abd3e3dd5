"""Logs of several hosts as one stream of lines."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from orchestrator.core import remote_scripts
from orchestrator.core.errors import StratusError
from orchestrator.core.host import Host
from orchestrator.jobs import host_output
from orchestrator.jobs.follow import SILENCE_TIMEOUT_S
from orchestrator.jobs.runs import Run

if TYPE_CHECKING:
    from orchestrator.ssh import SshClient

Lines = queue.SimpleQueue[tuple[str, str] | None]
"""(host, line); None at the end of a log."""


def tail(ssh: SshClient, hosts: Sequence[Host], run: Run, *, follow: bool) -> Iterator[tuple[str, str]]:
    """Yield (host, line) of every task of a run, as lines come.

    :param follow: until the tasks end; otherwise the present content only.
    """
    lines: Lines = queue.SimpleQueue()
    logs = [(host, role) for host in hosts for role in run.roles[host.name]]
    for host, role in logs:
        command = remote_scripts.inline_command("follow.sh" if follow else "log.sh", run.run_id, role, "0")
        name = host.name if role == "main" else f"{host.name}.{role}"
        # Daemons: a caller that stops reading leaves them blocked on their hosts.
        threading.Thread(target=_read_log, args=(ssh, host, command, name, lines), daemon=True).start()
    for _ in logs:
        while (line := lines.get()) is not None:
            yield line


def _read_log(ssh: SshClient, host: Host, command: str, name: str, lines: Lines) -> None:
    heartbeats = host_output.HeartbeatFilter()

    def put(line: str) -> None:
        whole = heartbeats.feed(line)
        if whole is not None and not whole.startswith(host_output.MARK):
            lines.put((name, whole))

    try:
        ssh.stream(host, command, on_line=put, silence_timeout_s=SILENCE_TIMEOUT_S)
    except StratusError as error:
        put(f"({error})")
    finally:
        # Whatever happened: the reader waits for one end per log.
        lines.put(None)
