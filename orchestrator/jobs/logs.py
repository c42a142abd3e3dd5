"""Several hosts' logs as one stream of lines."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from orchestrator.core import remote_scripts
from orchestrator.core.errors import StratusError
from orchestrator.core.host import Host
from orchestrator.jobs.runner import SILENCE_S
from orchestrator.jobs.runs import Run

if TYPE_CHECKING:
    from orchestrator.ssh import SshClient

_END = ("", None)


def tail(ssh: SshClient, hosts: Sequence[Host], run: Run, *, follow: bool) -> Iterator[tuple[str, str]]:
    """Yield (host, line) of every task of a run, as lines come.

    :param follow: until the tasks end; otherwise what there is now.
    """
    lines: queue.SimpleQueue[tuple[str, str | None]] = queue.SimpleQueue()
    tasks = [(host, role) for host in hosts for role in run.roles[host.name]]
    for host, role in tasks:
        threading.Thread(target=_read, args=(ssh, host, run.run_id, role, follow, lines), daemon=True).start()
    for _ in tasks:
        while (item := lines.get()) != _END:
            yield item[0], item[1] or ""


def _read(
    ssh: SshClient, host: Host, run_id: str, role: str, follow: bool, lines: queue.SimpleQueue[tuple[str, str | None]]
) -> None:
    name = host.name if role == "main" else f"{host.name}.{role}"

    def put(line: str) -> None:
        if not line.startswith("@@"):
            lines.put((name, line))

    command = remote_scripts.inline_command("follow.sh" if follow else "log.sh", run_id, role, "0")
    try:
        ssh.stream(host, command, on_line=put, silence_timeout_s=SILENCE_S)
    except StratusError as error:
        put(f"({error})")
    finally:
        lines.put(_END)
