"""Starting, finding and ending the background process that is the cloud."""

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
import urllib.request
from pathlib import Path
from typing import Any

from localcloud import locks
from localcloud.errors import LocalCloudError
from localcloud.home import Home

DEADLINE = 30.0
_PACKAGE_ROOT = Path(__file__).resolve().parent.parent


@dataclasses.dataclass(frozen=True)
class Options:
    """How a cloud is to behave; seconds, None for the default.

    :param real_times: take EC2's own times (17 s pending, 4 s boot) instead of short ones.
    :param pending: from launch to running.
    :param boot: from running to an open SSH port.
    """

    real_times: bool = False
    pending: float | None = None
    boot: float | None = None


def running(home: Home) -> int | None:
    """The daemon's pid, or None."""
    return locks.holder(home.held)


def up(home: Home, options: Options) -> dict[str, str]:
    """Start the cloud unless it is up, wait until it answers, and return its environment.

    A cloud that is up already keeps the options it was started with.

    :raises LocalCloudError: not on Linux, or the daemon did not come up within 30 s.
    """
    if sys.platform != "linux":
        raise LocalCloudError(f"the embedded cloud runs its hosts as Linux processes; this is {sys.platform}")
    home.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with locks.turn(home.turn, deadline=DEADLINE):
        if running(home) is None:
            _start(home, options)
        return environment(home)


def environment(home: Home) -> dict[str, str]:
    """The variables that point AWS libraries at the cloud.

    :raises LocalCloudError: no cloud is up.
    """
    if running(home) is None:
        raise LocalCloudError("no cloud is up: start one with `python -m localcloud up`")
    env: dict[str, str] = home.read_facts()["env"]
    return env


def down(home: Home) -> bool:
    """End the daemon with everything it started, and remove the machines' folders.

    :returns: False when there was nothing to end.
    :raises LocalCloudError: something outlived 30 s and SIGKILL.
    """
    if not home.folder.is_dir():
        return False
    with locks.turn(home.turn, deadline=DEADLINE):
        pid = running(home)
        if pid is not None:
            _end(pid)
        _sweep(home)
        return pid is not None


def status(home: Home) -> dict[str, Any]:
    """What is up: pid, endpoint, instances and processes; only ``home`` and ``running`` when nothing is."""
    from localcloud.machine_processes import descendants

    pid = running(home)
    facts: dict[str, Any] = {"home": str(home.folder), "running": pid is not None}
    if pid is None:
        return facts
    url = environment(home)["AWS_ENDPOINT_URL"]
    return {**facts, "pid": pid, "endpoint": url, "instances": _instances(url), "processes": [pid, *descendants(pid)]}


def _instances(url: str) -> list[dict[str, Any]]:
    from localcloud.endpoint import STATUS_PATH

    # Straight to the address, whatever proxy this shell is told to use.
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(url + STATUS_PATH, timeout=DEADLINE) as answer:
        instances: list[dict[str, Any]] = json.load(answer)
    return instances


def _start(home: Home, options: Options) -> None:
    _sweep(home)
    ready, told = os.pipe()
    try:
        with home.log.open("wb") as log:
            daemon = subprocess.Popen(
                [sys.executable, "-m", "localcloud.serve", json.dumps(_orders(home, options, told))],
                cwd=_PACKAGE_ROOT,
                env={name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=[told],
            )
        os.close(told)
        _wait_until_ready(home, daemon, ready)
    finally:
        os.close(ready)


def _orders(home: Home, options: Options, told: int) -> dict[str, Any]:
    return {"home": str(home.folder), "ready": told, **dataclasses.asdict(options)}


def _wait_until_ready(home: Home, daemon: subprocess.Popen[bytes], ready: int) -> None:
    """The daemon writes one line when it answers, and closes the pipe without one when it dies."""
    answered, _, _ = select.select([ready], [], [], DEADLINE)
    line = os.read(ready, 4096) if answered else b""
    if line == b"ready\n":
        # It is to outlive this process: nothing here waits for it.
        daemon.returncode = 0
        return
    daemon.kill()
    daemon.wait()
    why = _last_line(home.log) if answered else f"it did not answer within {DEADLINE:.0f} s"
    raise LocalCloudError(f"the cloud did not come up: {why} (log: {home.log})")


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "it wrote nothing"


def _end(pid: int) -> None:
    from localcloud.machine_processes import descendants

    below = descendants(pid)
    watched = _watch([pid, *below])
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    left = _wait_for(watched, DEADLINE) or {}
    for straggler in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(straggler, signal.SIGKILL)
    left = _wait_for(left, 5.0)
    with contextlib.suppress(ChildProcessError):
        # Where the daemon is this process's own child, it would stay a zombie.
        os.waitpid(pid, os.WNOHANG)
    if left:
        raise LocalCloudError(f"still alive after SIGKILL: processes {', '.join(map(str, left))}")


def _watch(pids: list[int]) -> dict[int, int]:
    watched = {}
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            watched[pid] = os.pidfd_open(pid)
    return watched


def _wait_for(watched: dict[int, int], seconds: float) -> dict[int, int]:
    """Wait until every process has ended; those that have not are returned, and still watched."""
    left, end = dict(watched), time.monotonic() + seconds
    while left and (remaining := end - time.monotonic()) > 0:
        ended, _, _ = select.select(list(left.values()), [], [], remaining)
        for pid, descriptor in list(left.items()):
            if descriptor in ended:
                os.close(descriptor)
                del left[pid]
    return left


def _sweep(home: Home) -> None:
    """Remove what a cloud leaves behind, also one that was killed."""
    home.facts.unlink(missing_ok=True)
    shutil.rmtree(home.machines, ignore_errors=True)
