"""Follow a run's output until it ends."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.core import remote_scripts
from orchestrator.core.errors import ConnectError, JobFailed
from orchestrator.core.host import Host
from orchestrator.hosts import parallel
from orchestrator.jobs.runner import RECONNECT_INTERVAL_S, SILENCE_S, TAIL_LINES, OnLine
from orchestrator.jobs.runs import Run, TaskExit

if TYPE_CHECKING:
    from orchestrator.ssh import SshClient


@dataclass
class _Follower:
    """Follows one host's main task, through lost connections, until it ends."""

    host: Host
    on_line: OnLine
    line_count: int = 0
    exit_text: str = ""
    tail: list[str] = field(default_factory=list)
    reclaim_time: str = ""

    def read_line(self, line: str) -> None:
        if line.startswith("@@exit "):
            self.exit_text = line.split()[1]
        elif line.startswith("@@spot "):
            self.line_count += 1
            self.reclaim_time = line.split()[1]
            said = f"AWS takes this spot machine back at {self.reclaim_time}; the job was told (SIGTERM)"
            self.on_line(self.host.name, said)
        elif not line.startswith("@@"):
            self.line_count += 1
            self.tail = [*self.tail[1 - TAIL_LINES :], line]
            self.on_line(self.host.name, line)

    def task_exit(self) -> TaskExit:
        tail = list(self.tail)
        while tail and not tail[-1].strip():
            tail.pop()
        if self.exit_text.lstrip("-").isdigit():
            return TaskExit(self.host.name, int(self.exit_text), "exit", tuple(tail), self.reclaim_time)
        return TaskExit(self.host.name, None, self.exit_text or "lost", tuple(tail), self.reclaim_time)


def follow(
    ssh: SshClient, hosts: Sequence[Host], run_id: str, *, on_line: OnLine, lost_timeout_s: float = 60.0
) -> parallel.Outcomes[TaskExit]:
    """Show a run's output as it comes, from its start, until its main tasks end.

    :param hosts: the hosts that have a main task.
    :param on_line: called with (host, line); from several threads when there are several hosts.
    :param patience: seconds for which a lost host is looked for again before it counts as lost.
    """
    return parallel.for_each(
        hosts, lambda host: _follow_host(ssh, _Follower(host, on_line), run_id, lost_timeout_s), clock=ssh.clock
    )


def _follow_host(ssh: SshClient, follower: _Follower, run_id: str, lost_timeout_s: float) -> TaskExit:
    last_heard = time.monotonic()
    while True:
        before = follower.line_count
        try:
            command = remote_scripts.inline_command("follow.sh", run_id, "main", str(follower.line_count))
            ssh.stream(follower.host, command, on_line=follower.read_line, silence_timeout_s=SILENCE_S)
        except ConnectError as error:
            if error.kind in ("auth", "host-key", "key-file"):
                raise
            if follower.line_count > before:
                last_heard = time.monotonic()
            if time.monotonic() - last_heard > lost_timeout_s:
                raise
            time.sleep(RECONNECT_INTERVAL_S)
            continue
        if not follower.exit_text:
            raise ConnectError("lost", "the connection ended before the job did", where=follower.host.name)
        return follower.task_exit()


def failure(run: Run, outcome: parallel.Outcome[TaskExit], *, log_folder: Path) -> JobFailed:
    """Return what to tell of a main task that did not end well.

    :param logs: folder where the logs of every host are.
    """
    where, fix = f"{run.job} on {outcome.host.name}", f"logs of every host: {log_folder}"
    if outcome.value is None:
        return JobFailed(f"lost: {outcome.error}", exit_status=None, where=where, fix=fix)
    ending = outcome.value
    if ending.reclaim_time:
        what = f"ended by AWS, which takes the spot machine back at {ending.reclaim_time}"
        fix = f"what it had is in {log_folder.parent}; LaunchInstances(), then run it again"
    elif ending.exit_status is None:
        vanished = "vanished without an exit status (killed, or the VM restarted)"
        what = {"cancelled": "was cancelled", "lost": vanished}.get(ending.reason, f"ended: {ending.reason}")
    else:
        what = f"failed (exit {ending.exit_status}{_status_meaning(ending.exit_status)})"
    return JobFailed(what, exit_status=ending.exit_status, where=where, tail=ending.tail[-10:], fix=fix)


def _status_meaning(status: int) -> str:
    """Say what a telling exit status means: https://tldp.org/LDP/abs/html/exitcodes.html."""
    known = {126: ", not executable", 127: ", command not found", 137: ", killed: often out of memory"}
    return known.get(status, f", signal {status - 128}" if status > 128 else "")
