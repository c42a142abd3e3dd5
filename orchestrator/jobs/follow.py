"""Follow the output of a run until it ends."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from orchestrator.core import remote_scripts
from orchestrator.core.errors import ConnectError, JobFailed
from orchestrator.core.host import Host
from orchestrator.core.next_step import NextStep, Text, join
from orchestrator.hosts import disk_room, parallel
from orchestrator.hosts.disk_room import DiskRoom
from orchestrator.jobs import host_output
from orchestrator.jobs.host_output import LogReader
from orchestrator.jobs.query import CLOCK_SLACK
from orchestrator.jobs.runner import LiveLog
from orchestrator.jobs.runs import Run, TaskExit
from orchestrator.ssh.line_stream import heartbeat_limits

if TYPE_CHECKING:
    from orchestrator.ssh import SshClient
    from orchestrator.ssh.line_stream import LineStream

# A followed host sends a heartbeat every five seconds; four missed ones mean that it, or the network, is gone.
SILENCE_TIMEOUT_S = 20.0
# Laptops change networks: a lost host is reconnected to for a while before it counts as lost.
RECONNECT_INTERVAL_S = 2.0
LOST_TIMEOUT_S = 60.0
TAIL_LINES = 30
TAIL_SHOWN = 10

# No time heals these: the login or the host's identity is wrong.
PERMANENT_ERRORS = ("auth", "host-key", "key-file")

OnLine = Callable[[str, str], None]
"""Called with (host, line)."""

OnDisk = Callable[[Host, DiskRoom], None]
"""Called with a host and a disk of it that is nearly full."""

NO_LOGS: Mapping[str, LiveLog] = MappingProxyType({})

PACKAGE_OF_MODULE = {
    "cv2": "opencv-python",
    "PIL": "pillow",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
"""Packages whose name at PyPI is another one than the module's."""

# https://tldp.org/LDP/abs/html/exitcodes.html; the kernel's out-of-memory killer sends SIGKILL: 128 + 9.
MEANING_OF_STATUS = {126: ", not executable", 127: ", command not found", 137: ", killed: often out of memory"}


@dataclass
class Follower:
    """Reader of one host's main task's output, over several connections.

    :param line_count: lines read so far; a new connection continues after them.
    :param live: the output over the connection of the start, which is read first.
    :param on_disk: called with the host and a disk of it that is nearly full.
    """

    host: Host
    on_line: OnLine
    monotonic: Callable[[], float]
    line_count: int = 0
    tail: list[str] = field(default_factory=list)
    reader: LogReader = field(default_factory=LogReader)
    live: LiveLog | None = None
    first_line_at: float | None = None
    on_disk: OnDisk = disk_room.ignore_host

    def read_line(self, line: str) -> None:
        """Read one line of ``follow.sh``."""
        whole = self.reader.feed(line)
        if whole is not None:
            if self.first_line_at is None:
                self.first_line_at = self.monotonic()
            # As follow.sh counts them: states of a progress bar are one line.
            self.line_count += whole.ends_line
            self.tail = [*self.tail[1 - TAIL_LINES :], whole]
            self.on_line(self.host.name, whole)

    def task_exit(self, now: datetime) -> TaskExit:
        """Return the task's exit.

        :param now: current time of this computer, UTC.
        """
        return host_output.parse_exit(self.host.name, self.reader, self.tail, now + CLOCK_SLACK)


def follow(
    ssh: SshClient,
    hosts: Sequence[Host],
    run_id: str,
    *,
    on_line: OnLine,
    logs: Mapping[str, LiveLog] = NO_LOGS,
    on_disk: OnDisk = disk_room.ignore_host,
    lost_timeout_s: float = LOST_TIMEOUT_S,
) -> parallel.Outcomes[TaskExit]:
    """Pass on a run's output as it comes, from its start, until its main tasks end.

    :param hosts: those with a main task.
    :param on_line: called from one thread per host.
    :param logs: host -> output over the connection of the start; from other hosts it is requested.
    :param on_disk: called from one thread per host.
    :param lost_timeout_s: seconds of failing connections after which a host counts as lost.
    """
    return parallel.for_each(
        hosts,
        lambda host: _follow_host(
            ssh,
            Follower(host, on_line, ssh.clock.monotonic, live=logs.get(host.name), on_disk=on_disk),
            run_id,
            lost_timeout_s,
        ),
        clock=ssh.clock,
        # All at once: the exit of a host that had to wait for others would come too late.
        max_workers=len(hosts),
    )


def duration_s(exits: Sequence[TaskExit]) -> float:
    """Return the seconds from a run's first start to the last end of its main tasks; 0 if one is unknown."""
    starts = [task.started_at for task in exits]
    ends = [task.ended_at for task in exits]
    if not starts or None in starts or None in ends:
        return 0.0
    return max(0.0, (max(filter(None, ends)) - min(filter(None, starts))).total_seconds())


def _follow_host(ssh: SshClient, follower: Follower, run_id: str, lost_timeout_s: float) -> TaskExit:
    started_at = last_output_at = ssh.clock.monotonic()
    was_live = follower.live is not None
    while True:
        line_count = follower.line_count
        # A new connection sends the line again that the old one may have cut.
        live, follower.live = follower.live, None
        follower.reader = live.reader if live else LogReader(reclaim_time=follower.reader.reclaim_time)
        follower.reader.on_disk = partial(follower.on_disk, follower.host)
        try:
            if live:
                _read(live.stream, follower)
            else:
                _stream(ssh, follower, run_id)
        except ConnectError as error:
            if error.kind in PERMANENT_ERRORS:
                raise
            if follower.line_count > line_count:
                last_output_at = ssh.clock.monotonic()
            if ssh.clock.monotonic() - last_output_at > lost_timeout_s:
                raise
            ssh.clock.sleep(RECONNECT_INTERVAL_S)
            continue
        if not follower.reader.exit_text:
            raise ConnectError("lost", "the connection ended before the job did", where=follower.host.name)
        task = follower.task_exit(ssh.clock.now())
        is_known = was_live and follower.first_line_at is not None
        return replace(task, first_line_s=(follower.first_line_at or 0.0) - started_at) if is_known else task


def _read(stream: LineStream, follower: Follower) -> None:
    with stream:
        stream.read(follower.read_line, timeouts=heartbeat_limits(SILENCE_TIMEOUT_S))
        stream.exit_status()


def _stream(ssh: SshClient, follower: Follower, run_id: str) -> None:
    args = (run_id, "main", str(follower.line_count), follower.reader.mark)
    command = remote_scripts.inline_command("follow.sh", *args)
    ssh.stream(follower.host, command, on_line=follower.read_line, silence_timeout_s=SILENCE_TIMEOUT_S)


def failure(run: Run, outcome: parallel.Outcome[TaskExit], *, log_folder: Path, instance_state: str = "") -> JobFailed:
    """Return the error for a main task that did not end well.

    :param log_folder: folder with the logs of every host.
    :param instance_state: state of the host's instance, if it is known.
    """
    where, fix = f"{run.job} on {outcome.host.name}", f"logs of every VM: {log_folder}"
    task = outcome.value
    if task is None:
        message, advice = _loss(run, outcome.error, instance_state)
        return JobFailed(message, exit_status=None, where=where, fix=advice or fix, run_id=run.run_id, state="lost")
    advice = join("\n  ", filter(None, [_missing_package(task), fix]))
    if task.reclaim_time:
        advice = f"partial outputs: {log_folder.parent}; " + NextStep("LaunchInstances") + ", then run it again"
    return JobFailed(
        _failure_message(task),
        exit_status=task.exit_status,
        where=where,
        tail=task.tail[-TAIL_SHOWN:],
        fix=advice,
        run_id=run.run_id,
        state="failed" if task.reason == "exit" else task.reason,
    )


def _loss(run: Run, error: Exception | None, instance_state: str) -> tuple[str, Text]:
    """Return message and advice for a host that no longer answers."""
    if instance_state in ("stopping", "stopped"):
        fetch = NextStep("FetchResults", run.run_id.rsplit("-", 1)[-1])
        return "ended: the VM was stopped", NextStep("StartAll") + ", then " + fetch + "  fetches what it had written"
    if instance_state in ("shutting-down", "terminated"):
        return "ended: the VM was terminated", ""
    return f"lost: {error}", ""


def _missing_package(task: TaskExit) -> str:
    """Return advice for a task that lacked a Python package; empty for any other."""
    # Not the last line only: launchers print more after it.
    for line in reversed(task.tail):
        if match := re.search(r"ModuleNotFoundError: No module named '([A-Za-z0-9_]{1,60})", line):
            package = PACKAGE_OF_MODULE.get(match[1], match[1])
            return f"if it is a package: add {package} to requirements.txt of the job; the next run installs it"
    return ""


def _failure_message(task: TaskExit) -> str:
    if task.reclaim_time:
        return f"AWS reclaimed the spot instance at {task.reclaim_time}"
    disk = "; the VM's disk is full" if task.disk_full else ""
    if task.exit_status is not None:
        return f"failed (exit {task.exit_status}{_meaning(task.exit_status)}){disk}"
    vanished = "vanished without an exit status"
    vanished += disk or " (killed, or the VM restarted)"
    reasons = {"cancelled": "was cancelled", "timeout": "reached [job] max_hours and was ended", "lost": vanished}
    return reasons.get(task.reason, f"ended: {task.reason}")


def _meaning(exit_status: int) -> str:
    if exit_status in MEANING_OF_STATUS:
        return MEANING_OF_STATUS[exit_status]
    return f", signal {exit_status - 128}" if exit_status > 128 else ""
