"""Logs of several hosts as one stream of lines."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from orchestrator.core import remote_scripts
from orchestrator.core.errors import StratusError
from orchestrator.core.host import Host
from orchestrator.jobs import host_output
from orchestrator.jobs.follow import SILENCE_TIMEOUT_S
from orchestrator.jobs.runs import Run

if TYPE_CHECKING:
    from orchestrator.ssh import SshClient

LOG_TIMEOUT_S = 600.0
"""For the present content of a log: a host that sends a byte now and then would hold the reader forever."""

Lines = queue.Queue[tuple[str, str] | None]
"""(host, line); None at the end of a log."""

MAX_LINES_WAITING = 500
"""Lines of up to 64 KiB that are held in memory; hosts that send faster than the caller reads wait."""


def tail(ssh: SshClient, hosts: Sequence[Host], run: Run, *, follow: bool) -> Iterator[tuple[str, str]]:
    """Yield (host, line) of every task of a run, as lines come.

    :param follow: until the tasks end; otherwise the present content only.
    """
    lines: Lines = queue.Queue(MAX_LINES_WAITING)
    logs = [(host, role) for host in hosts for role in run.roles[host.name]]
    for host, role in logs:
        reader = host_output.LogReader()
        script = "follow.sh" if follow else "log.sh"
        command = remote_scripts.inline_command(script, run.run_id, role, "0", reader.mark)
        name = host.name if role == "main" else f"{host.name}.{role}"

        def put(line: str, name: str = name, reader: host_output.LogReader = reader) -> None:
            whole = reader.feed(line)
            if whole is not None:
                lines.put((name, whole))

        timeout_s = None if follow else LOG_TIMEOUT_S
        # Daemons: a caller that stops reading leaves them blocked on their hosts.
        args = (ssh, host, command, put, timeout_s, lines)
        threading.Thread(target=_read_log, args=args, daemon=True).start()
    for _ in logs:
        while (line := lines.get()) is not None:
            yield line


def _read_log(
    ssh: SshClient, host: Host, command: str, put: Callable[[str], None], timeout_s: float | None, lines: Lines
) -> None:
    try:
        ssh.stream(host, command, on_line=put, silence_timeout_s=SILENCE_TIMEOUT_S, timeout_s=timeout_s)
    except StratusError as error:
        put(f"({error})")
    finally:
        # Whatever happened: the reader waits for one end per log.
        lines.put(None)
