"""File locks that the kernel keeps, so that a crash leaves no stale lock behind.

``hold`` uses POSIX record locks, not ``flock``: a child forked off the holder does not keep them. ``fcntl`` is imported
late, so that other systems get as far as the message that this package is for Linux.
"""

from __future__ import annotations

import contextlib
import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path

from localcloud.core.errors import LocalCloudError

# struct flock of 64-bit Linux: type, whence, start, length, pid.
_FLOCK = "hhlli4x"
_PAUSE = 0.02


def hold(path: Path) -> bool:
    """Lock ``path`` until this process ends; return False if another process holds it."""
    import fcntl

    descriptor = _open(path)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return False
    # The descriptor stays open: closing any descriptor of the file would release the record lock.
    return True


def holder(path: Path) -> int | None:
    """Return the process id of the holder of ``path``, or None."""
    import fcntl

    try:
        # Without O_CREAT: asking must not create the file in a folder that has no cloud.
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        request = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, pid = struct.unpack(_FLOCK, fcntl.fcntl(descriptor, fcntl.F_GETLK, request))
    finally:
        os.close(descriptor)
    return None if kind == fcntl.F_UNLCK else pid


@contextlib.contextmanager
def locked(path: Path, *, timeout_s: float) -> Iterator[None]:
    """Hold ``path`` for the length of a block.

    Uses ``flock``, which also excludes other threads of this process.

    :param timeout_s: longest wait for other holders.
    :raises LocalCloudError: others held it for longer.
    """
    descriptor, deadline = _open(path), time.monotonic() + timeout_s
    try:
        while not _try_flock(descriptor):
            if time.monotonic() > deadline:
                raise LocalCloudError(f"another `up` or `down` has held {path.parent} for {timeout_s:.0f} s")
            time.sleep(_PAUSE)
        yield
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _try_flock(descriptor: int) -> bool:
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
