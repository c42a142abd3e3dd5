"""One at a time: a lock between the processes of this computer, let go of by the system itself when its holder dies."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from orchestrator.core.errors import StratusError

Lock = AbstractContextManager[None]


class AlreadyLocked(StratusError):
    """Somebody else holds the lock; ``holder`` is its process id, empty when nobody can tell."""

    json_name = "Busy"

    def __init__(self, what: str, *, holder: str, fix: str = "") -> None:
        super().__init__(what, fix=fix)
        self.holder = holder


@contextmanager
def hold(path: Path, activity: str) -> Iterator[None]:
    """Hold the lock of a file, or find out at once that it is taken.

    :param path: the file; made when it is missing, never removed: a lock on a removed file would be nobody's.
    :param what: what the holder is doing, for those who come too late: ``launching into ml``.
    :raises Busy: another process, or another part of this one, holds it.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _busy(file, activity) from None
        os.ftruncate(file, 0)
        os.pwrite(file, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(file)  # which also lets go of the lock


def _busy(file: int, what: str) -> AlreadyLocked:
    holder = os.pread(file, 20, 0).decode(errors="replace").strip()
    who = f"process {holder}" if holder.isdecimal() else "another process"
    return AlreadyLocked(
        f"{who} of this computer is {what}", holder=holder, fix="wait for it, or end it with Ctrl-C there"
    )
