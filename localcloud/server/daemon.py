"""Start, inspect and stop the background process that runs the cloud."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from localcloud.core import file_lock
from localcloud.core.errors import LocalCloudError
from localcloud.core.home import Home
from localcloud.core.process_tree import descendants, signal_all
from localcloud.server import control_client
from localcloud.server.host_kinds import DEFAULT_KIND, KINDS, HostKinds

TIMEOUT_S = 30.0
_AFTER_KILL_S = 5.0
_PACKAGE_ROOT = Path(__file__).resolve().parents[2]


@dataclasses.dataclass(frozen=True)
class CloudOptions:
    """Behavior of a cloud; times in seconds, None for the default.

    The names are those of ``localcloud.up`` and of the daemon's state file.

    :param real_times: take EC2's own times (17 s pending, 4 s boot) instead of short ones.
    :param pending: from launch to running.
    :param boot: from running to an open SSH port.
    :param bound_to: process id; the cloud ends when that process has ended.
    :param hosts: kind of the hosts, a key of ``host_kinds.KINDS``.
    """

    real_times: bool = False
    pending: float | None = None
    boot: float | None = None
    bound_to: int | None = None
    hosts: str = DEFAULT_KIND


def running(home: Home) -> int | None:
    """Return the daemon's process id, or None if no cloud is running."""
    return file_lock.holder(home.daemon_lock)


def up(
    home: Home, options: CloudOptions, report: Callable[[str], None] = lambda _: None, kinds: HostKinds = KINDS
) -> dict[str, str]:
    """Start the cloud unless it is running, wait until it answers, and return its environment.

    A cloud that is running keeps the options it was started with.

    :param report: called with a line of progress before something that takes minutes.
    :raises LocalCloudError: this is not Linux, or the daemon did not start in time (30 s; with docker hosts 120 s).
    """
    if sys.platform != "linux":
        raise LocalCloudError(f"the embedded cloud runs its hosts as Linux processes; this is {sys.platform}")
    try:
        home.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise LocalCloudError(f"cannot create the folder {home.folder}: {error.strerror}") from error
    with file_lock.locked(home.start_lock, timeout_s=TIMEOUT_S):
        if running(home) is None:
            _start(home, options, report, kinds)
        elif (name := _host_kind(home)) != options.hosts:
            raise LocalCloudError(
                f"an embedded cloud with {name} hosts is running in {home.folder}: stop it first (localcloud down)"
            )
        return environment(home)


def environment(home: Home) -> dict[str, str]:
    """Return the variables that point AWS libraries at the cloud.

    :raises LocalCloudError: no cloud is running.
    """
    if running(home) is None:
        raise LocalCloudError("no embedded cloud is running: start one with `python -m localcloud up`")
    env: dict[str, str] = home.read_state()["env"]
    return env


def down(home: Home, kinds: HostKinds = KINDS) -> bool:
    """Stop the daemon with everything it started, and remove the hosts' folders.

    :returns: False if no cloud was running.
    :raises LocalCloudError: something outlived 30 s and SIGKILL.
    """
    if not home.folder.is_dir():
        return False
    with file_lock.locked(home.start_lock, timeout_s=TIMEOUT_S):
        pid = running(home)
        if pid is not None:
            _stop_process(pid)
        _remove_leftovers(home, kinds)
        return pid is not None


def status(home: Home) -> dict[str, Any]:
    """Return process id, endpoint, instances and processes; only ``home`` and ``running`` if no cloud is running."""
    pid = running(home)
    facts: dict[str, Any] = {"home": str(home.folder), "running": pid is not None}
    if pid is None:
        return facts
    url = environment(home)["AWS_ENDPOINT_URL"]
    processes = [pid, *descendants(pid)]
    return {**facts, "pid": pid, "endpoint": url, "instances": control_client.instances(url), "processes": processes}


def _host_kind(home: Home) -> str:
    """Return the kind of hosts of the cloud that is running, or that was killed."""
    try:
        return str(home.read_state()["orders"].get("hosts", DEFAULT_KIND))
    except (OSError, ValueError, KeyError):
        return DEFAULT_KIND


def _start(home: Home, options: CloudOptions, report: Callable[[str], None], kinds: HostKinds) -> None:
    _remove_leftovers(home, kinds)
    kind = kinds[options.hosts]
    kind.prepare(report)
    ready, ready_writer = os.pipe()
    try:
        with home.log.open("wb") as log:
            starter = subprocess.Popen(
                [sys.executable, "-m", "localcloud.server.process", json.dumps(_settings(home, options, ready_writer))],
                # A checkout that is not installed is importable from its root only.
                cwd=_PACKAGE_ROOT,
                # The daemon needs no credentials, and moto would read them.
                env={name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[ready_writer],
            )
        os.close(ready_writer)
        # The starter forks the daemon and exits, so that the daemon never becomes a zombie of this process.
        starter.wait()
        _wait_until_ready(home, ready, kind.start_timeout_s)
    finally:
        os.close(ready)


def _settings(home: Home, options: CloudOptions, ready_writer: int) -> dict[str, Any]:
    return {"home": str(home.folder), "ready": ready_writer, **dataclasses.asdict(options)}


def _wait_until_ready(home: Home, ready: int, timeout_s: float) -> None:
    """Wait for the line that the daemon writes when it answers; it closes the pipe without one when it fails."""
    readable, _, _ = select.select([ready], [], [], timeout_s)
    if readable and os.read(ready, 4096) == b"ready\n":
        return
    reason = _last_line(home.log) if readable else f"no answer within {timeout_s:.0f} s"
    if pid := running(home):
        _stop_process(pid)
    raise LocalCloudError(f"the embedded cloud did not start: {reason} (log: {home.log})")


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "the log is empty"


def _remove_leftovers(home: Home, kinds: HostKinds) -> None:
    """Remove what a daemon left behind that was killed; one that stopped normally has removed its state file."""
    if home.state_file.exists() and (kind := kinds.get(_host_kind(home))):
        kind.close(home)
    home.state_file.unlink(missing_ok=True)
    for folder in (home.hosts_folder, home.jobs_folder, home.folder / "volumes", home.folder / "filesystems"):
        shutil.rmtree(folder, ignore_errors=True)


def _stop_process(pid: int) -> None:
    with contextlib.ExitStack() as resources:
        watched = _watch([pid, *descendants(pid)], resources)
        signal_all([pid], signal.SIGTERM)
        # Descendants are waited for, too: the supervisor ends its hosts after the daemon has gone.
        remaining = _wait_for(watched, TIMEOUT_S)
        signal_all(list(remaining.values()), signal.SIGKILL)
        if remaining := _wait_for(remaining, _AFTER_KILL_S):
            raise LocalCloudError(f"still alive after SIGKILL: processes {', '.join(map(str, remaining.values()))}")


def _watch(pids: list[int], resources: contextlib.ExitStack) -> dict[int, int]:
    """Return a pidfd for each living process: unlike a process id, it is never reused for another process."""
    watched = {}
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            watched[os.pidfd_open(pid)] = pid
    for descriptor in watched:
        resources.callback(os.close, descriptor)
    return watched


def _wait_for(watched: dict[int, int], timeout_s: float) -> dict[int, int]:
    """Wait until every process has ended; return those that have not."""
    remaining, deadline, poll = dict(watched), time.monotonic() + timeout_s, select.poll()
    for descriptor in remaining:
        poll.register(descriptor, select.POLLIN)
    while remaining and (left_s := deadline - time.monotonic()) > 0:
        for descriptor, _ in poll.poll(left_s * 1000):
            poll.unregister(descriptor)
            del remaining[descriptor]
    return remaining
