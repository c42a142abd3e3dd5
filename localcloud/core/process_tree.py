"""Processes of this computer by their parents: descendants, signals, and adoption of orphans."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Collection, Sequence
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_DEAD = frozenset("ZXx")
_PAUSE_S = 0.005


def prctl(option: int, value: int) -> None:
    """Set one attribute of the calling process; does nothing if the system lacks prctl(2)."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "prctl"):
        libc.prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0))


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent dies, even if it detached itself."""
    prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(number: int, parent: int) -> None:
    """Have signal ``number`` sent to this process when ``parent`` dies, also if it has died already."""
    prctl(_PR_SET_PDEATHSIG, number)
    # The parent may have died between fork and prctl; then no signal would ever come.
    if os.getppid() != parent:
        os.kill(os.getpid(), number)


def _parent_and_state(pid: str) -> tuple[int, str] | None:
    """Return parent and state letter of a process (proc(5), ``stat``), or None if it is gone."""
    try:
        stat = Path("/proc", pid, "stat").read_bytes()
    except OSError:
        return None
    # The name in parentheses may contain blanks and parentheses, hence the last one.
    state, parent = stat.rpartition(b")")[2].split(maxsplit=2)[:2]
    return int(parent), state.decode()


def is_alive(pid: int) -> bool:
    """Return whether a process runs; a zombie does not."""
    parent_and_state = _parent_and_state(str(pid))
    return parent_and_state is not None and parent_and_state[1] not in _DEAD


def descendants(root: int, *, excluding: Collection[int] = ()) -> list[int]:
    """Return every living process below ``root``; zombies are not listed.

    :param excluding: processes that are left out with all of their descendants.
    """
    children: dict[int, list[int]] = {}
    dead = set()
    for name in filter(str.isdigit, os.listdir("/proc")):
        parent_and_state = _parent_and_state(name)
        if parent_and_state is not None:
            children.setdefault(parent_and_state[0], []).append(int(name))
            dead.update([int(name)] if parent_and_state[1] in _DEAD else [])
    below_root: list[int] = []
    queue = [root]
    while queue:
        below = [pid for pid in children.get(queue.pop(), []) if pid not in excluding]
        below_root += below
        queue += below
    return [pid for pid in below_root if pid not in dead]


def signal_all(pids: Sequence[int], number: int) -> None:
    """Send a signal to each process; processes that are gone are skipped."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def kill_descendants(root: int, *, deadline_s: float) -> list[int]:
    """Kill everything below ``root`` repeatedly until nothing is left.

    :returns: processes that were still alive after ``deadline_s`` seconds.
    """
    end = time.monotonic() + deadline_s
    while left := descendants(root):
        signal_all(left, signal.SIGKILL)
        if time.monotonic() > end:
            return left
        time.sleep(_PAUSE_S)
    return []


async def kill_all_below(root: int, *, deadline_s: float) -> list[int]:
    """Do the same as :func:`kill_descendants` without blocking the event loop, which reaps the killed children."""
    end = time.monotonic() + deadline_s
    while left := descendants(root):
        signal_all(left, signal.SIGKILL)
        if time.monotonic() > end:
            return left
        await asyncio.sleep(_PAUSE_S)
    return []
