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
from collections.abc import Callable
from pathlib import Path
from typing import Any

from localcloud.core import file_lock, urls
from localcloud.core.errors import LocalCloudError
from localcloud.core.home import Home

TIMEOUT_S = 30.0
KINDS = ("process", "docker")
# An engine is asked for several things before, and may be busy.
_DOCKER_DEADLINE = 120.0
_AFTER_KILL_S = 5.0
_PACKAGE_ROOT = Path(__file__).resolve().parents[2]


@dataclasses.dataclass(frozen=True)
class CloudOptions:
    """How a cloud is to behave; seconds, None for the default.

    :param real_times: take EC2's own times (17 s pending, 4 s boot) instead of short ones.
    :param pending: from launch to running.
    :param boot: from running to an open SSH port.
    :param bound_to: a process id; the cloud ends when that process has ended.
    :param hosts: what its machines are: ``process`` (no rights needed), or ``docker`` (containers with an engine).
    """

    real_times: bool = False
    pending: float | None = None
    boot: float | None = None
    bound_to: int | None = None
    hosts: str = "process"


def resolve_host_kind(named: str | None) -> str:
    """The kind of hosts that is named or, if none is, the one that the environment names.

    :raises LocalCloudError: there is no such kind.
    """
    kind = named or os.environ.get("LOCALCLOUD_HOSTS_KIND") or "process"
    if kind not in KINDS:
        where = "" if named else " (LOCALCLOUD_HOSTS_KIND)"
        raise LocalCloudError(f"no hosts are of the kind {kind!r}{where}: write {' or '.join(KINDS)}")
    return kind


def running(home: Home) -> int | None:
    """The daemon's pid, or None."""
    return file_lock.holder(home.daemon_lock)


def up(home: Home, options: CloudOptions, tell: Callable[[str], None] = lambda _: None) -> dict[str, str]:
    """Start the cloud unless it is up, wait until it answers, and return its environment.

    A cloud that is up already keeps the options it was started with.

    :param tell: called with a line about what takes minutes, before it begins.
    :raises LocalCloudError: not on Linux, or the daemon did not come up within 30 s (with docker hosts, 120 s).
    """
    if sys.platform != "linux":
        raise LocalCloudError(f"the embedded cloud runs its hosts as Linux processes; this is {sys.platform}")
    try:
        home.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise LocalCloudError(f"{home.folder} cannot be the cloud's folder: {error.strerror}") from error
    with file_lock.locked(home.start_lock, timeout_s=TIMEOUT_S):
        if running(home) is None:
            _start(home, options, tell)
        elif (kind := _kind(home)) != options.hosts:
            raise LocalCloudError(f"a cloud with {kind} hosts is up in {home.folder}: end it first (localcloud down)")
        return environment(home)


def environment(home: Home) -> dict[str, str]:
    """The variables that point AWS libraries at the cloud.

    :raises LocalCloudError: no cloud is up.
    """
    if running(home) is None:
        raise LocalCloudError("no cloud is up: start one with `python -m localcloud up`")
    env: dict[str, str] = home.read_state()["env"]
    return env


def down(home: Home) -> bool:
    """End the daemon with everything it started, and remove the machines' folders.

    :returns: False when there was nothing to end.
    :raises LocalCloudError: something outlived 30 s and SIGKILL.
    """
    if not home.folder.is_dir():
        return False
    with file_lock.locked(home.start_lock, timeout_s=TIMEOUT_S):
        pid = running(home)
        if pid is not None:
            _stop_process(pid)
        elif home.state_file.exists():
            _kill_orphans(home)
        _remove_leftovers(home)
        return pid is not None


def status(home: Home) -> dict[str, Any]:
    """What is up: pid, endpoint, instances and processes; only ``home`` and ``running`` when nothing is."""
    from localcloud.hosts.process.processes import descendants

    pid = running(home)
    facts: dict[str, Any] = {"home": str(home.folder), "running": pid is not None}
    if pid is None:
        return facts
    url = environment(home)["AWS_ENDPOINT_URL"]
    return {**facts, "pid": pid, "endpoint": url, "instances": _instances(url), "processes": [pid, *descendants(pid)]}


def _instances(url: str) -> list[dict[str, Any]]:
    # Straight to the address, whatever proxy this shell is told to use.
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(url + urls.STATUS, timeout=TIMEOUT_S) as answer:
        instances: list[dict[str, Any]] = json.load(answer)
    return instances


def _kind(home: Home) -> str:
    """What hosts the cloud has, or had when it was killed."""
    try:
        return str(home.read_state()["orders"].get("hosts", "process"))
    except (OSError, ValueError, KeyError):
        return "process"


def _start(home: Home, options: CloudOptions, tell: Callable[[str], None]) -> None:
    _remove_leftovers(home)
    if options.hosts == "docker":
        _prepare_docker(tell)
    ready, told = os.pipe()
    try:
        with home.log.open("wb") as log:
            starter = subprocess.Popen(
                [sys.executable, "-m", "localcloud.server.process", json.dumps(_orders(home, options, told))],
                cwd=_PACKAGE_ROOT,
                env={name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[told],
            )
        os.close(told)
        # The starter forks the daemon off and ends at once, so that the daemon never is a zombie of ours.
        starter.wait()
        _wait_until_ready(home, ready, _DOCKER_DEADLINE if options.hosts == "docker" else TIMEOUT_S)
    finally:
        os.close(ready)


def _orders(home: Home, options: CloudOptions, told: int) -> dict[str, Any]:
    return {"home": str(home.folder), "ready": told, **dataclasses.asdict(options)}


def _wait_until_ready(home: Home, ready: int, deadline: float) -> None:
    """The daemon writes one line when it answers, and closes the pipe without one when it dies."""
    answered, _, _ = select.select([ready], [], [], deadline)
    if answered and os.read(ready, 4096) == b"ready\n":
        return
    why = _last_line(home.log) if answered else f"it did not answer within {deadline:.0f} s"
    if pid := running(home):
        _stop_process(pid)
    raise LocalCloudError(f"the cloud did not come up: {why} (log: {home.log})")


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "it wrote nothing"


def _stop_process(pid: int) -> None:
    from localcloud.hosts.process.processes import descendants, signal_all

    with contextlib.ExitStack() as last:
        watched = _watch([pid, *descendants(pid)], last)
        signal_all([pid], signal.SIGTERM)
        left = _wait_for(watched, TIMEOUT_S)
        signal_all(list(left.values()), signal.SIGKILL)
        if left := _wait_for(left, _AFTER_KILL_S):
            raise LocalCloudError(f"still alive after SIGKILL: processes {', '.join(map(str, left.values()))}")


def _prepare_docker(tell: Callable[[str], None]) -> None:
    """See that docker hosts are possible, and build their image, for which the daemon's own start has no time."""
    from localcloud.hosts.docker import engine, image

    engine.check()
    if not image.exists(image.image_name()):
        tell(f"building the image of docker hosts on {image.base_image()} (once, a minute or two)")
        image.ensure()


def _kill_orphans(home: Home) -> None:
    """End what a daemon left that was killed: new hosts of a home begin and close by ending earlier ones."""
    from localcloud.hosts.process.hosts import ProcessHosts

    with ProcessHosts(home.folder, on_shutdown=lambda _: None):
        pass


def _watch(pids: list[int], last: contextlib.ExitStack) -> dict[int, int]:
    """A descriptor for each living process, closed with ``last``: unlike a pid it never means another process."""
    watched = {}
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            watched[os.pidfd_open(pid)] = pid
    for descriptor in watched:
        last.callback(os.close, descriptor)
    return watched


def _wait_for(watched: dict[int, int], seconds: float) -> dict[int, int]:
    """Wait until every process has ended; returns those that have not."""
    left, end, ready = dict(watched), time.monotonic() + seconds, select.poll()
    for descriptor in left:
        ready.register(descriptor, select.POLLIN)
    while left and (remaining := end - time.monotonic()) > 0:
        for descriptor, _ in ready.poll(remaining * 1000):
            ready.unregister(descriptor)
            del left[descriptor]
    return left


def _remove_leftovers(home: Home) -> None:
    """Remove what a cloud leaves behind, also one that was killed."""
    if _kind(home) == "docker":
        from localcloud.hosts.docker import network

        network.remove(home.folder)
    home.state_file.unlink(missing_ok=True)
    shutil.rmtree(home.hosts_folder, ignore_errors=True)
