"""Locks between processes of one computer, released by the operating system when their holder dies."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from orchestrator.core.clock import Backoff, Clock
from orchestrator.core.errors import StratusError

Lock = AbstractContextManager[None]

_POLL = Backoff(first_s=0.002, longest_s=0.1)


class AlreadyLocked(StratusError):
    """The lock is held by another process; ``holder`` is its process id, or empty if unknown."""

    json_name = "Busy"

    def __init__(self, message: str, *, holder: str, fix: str = "") -> None:
        super().__init__(message, fix=fix)
        self.holder = holder


class LockUnavailable(StratusError):
    """The lock's file can be neither created nor opened; whether another process holds it is unknown."""

    json_name = "LockUnavailable"


@contextmanager
def hold(path: Path, activity: str) -> Iterator[None]:
    """Hold the lock of a file, or fail at once when it is taken.

    :param path: the file; created if missing, never removed: a process that waits for a removed file would lock
        another inode than the next one that creates it.
    :param activity: what the holder is doing, for the error of others: ``launching into ml``.
    :raises AlreadyLocked: another process, or another thread of this one, holds it.
    :raises LockUnavailable: the disk is read-only, the folder is none, or the like.
    """
    file = _open(path)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _already_locked(file, activity) from None
        with suppress(OSError):  # a full disk: the lock holds without a name
            # For the error of other processes: the process to wait for.
            os.ftruncate(file, 0)
            os.pwrite(file, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(file)  # also releases the lock


def _open(path: Path) -> int:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise LockUnavailable(
            f"cannot be locked: {error.strerror or error}", where=str(path), fix="STRATUS_HOME names another folder"
        ) from error


def wait_for(file: int, clock: Clock, timeout_s: float) -> None:
    """Lock an open file as soon as its holder releases it; closing the file releases it again.

    :param file: descriptor of the file.
    :param timeout_s: seconds to wait at most.
    :raises BlockingIOError: it was still taken after that time.
    """
    # Polled: a blocking flock() has no timeout, and an alarm signal would reach the main thread only.
    for _ in clock.attempts(timeout_s, _POLL, jitter=True):
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            taken = error
    raise taken


def _already_locked(file: int, activity: str) -> AlreadyLocked:
    pid = os.pread(file, 20, 0).decode(errors="replace").strip()
    holder = f"process {pid}" if pid.isdecimal() else "another process"
    return AlreadyLocked(
        f"{holder} on this computer is {activity}", holder=pid, fix="wait for it, or end it with Ctrl-C there"
    )
