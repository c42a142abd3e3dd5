"""One Docker engine for all workers of a test run: the first user starts it, the last one stops it."""

from __future__ import annotations

import fcntl
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def is_running() -> bool:
    """True if a Docker engine is accessible to this user."""
    if not shutil.which("docker"):
        return False
    return subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0


def apt_install(*packages: str) -> None:
    """Install Debian packages, in CI only; one worker at a time (see ``exclusive``)."""
    env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "-qq", "update"], check=True, env=env, capture_output=True)
    subprocess.run(["apt-get", "-qq", "install", "--yes", *packages], check=True, env=env, capture_output=True)


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold a lock that all workers share."""
    with (folder / "turn.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def started(folder: Path) -> Iterator[None]:
    """Provide an engine: started unless there is one, and stopped after its last user.

    :param folder: shared by all workers.
    """
    with (folder / "use.lock").open("w") as use:
        with exclusive(folder):
            fcntl.flock(use, fcntl.LOCK_SH)
            if not is_running():
                _start(folder)
        try:
            yield
        finally:
            with exclusive(folder):
                _stop_if_last(folder, use.fileno())


def _start(folder: Path) -> None:
    if not shutil.which("dockerd"):
        apt_install("docker.io")
    log = folder / "log"
    options = [f"--data-root={folder}/data", f"--exec-root={folder}/exec", f"--pidfile={folder}/pid"]
    with log.open("wb") as file:
        daemon = subprocess.Popen(["dockerd", *options], stdout=file, stderr=file, start_new_session=True)
    deadline = time.monotonic() + 60
    while not is_running():
        assert daemon.poll() is None, f"dockerd ended: {log.read_text()[-2000:]}"
        assert time.monotonic() < deadline, f"dockerd does not answer: {log.read_text()[-2000:]}"
        time.sleep(0.2)


def _stop_if_last(folder: Path, use: int) -> None:
    fcntl.flock(use, fcntl.LOCK_UN)
    try:
        fcntl.flock(use, fcntl.LOCK_EX | fcntl.LOCK_NB)
        pid = int((folder / "pid").read_text())
        daemon = os.pidfd_open(pid)
    except (BlockingIOError, FileNotFoundError, ProcessLookupError):
        # Others use it, or it was not started here.
        return
    try:
        os.kill(pid, signal.SIGTERM)
        assert select.select([daemon], [], [], 60)[0], "dockerd does not end"
    finally:
        os.close(daemon)
    # Its mounts would keep the folder from being removed.
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines() if str(folder) in line]
    if mounts:
        subprocess.run(["umount", *mounts], check=False, capture_output=True)
