"""Processes of a machine: none escapes it, none stays a zombie, none outlives it."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_DEAD = frozenset("ZXx")
_PAUSE_S = 0.005


def prctl(option: int, value: int) -> None:
    """Set one attribute of the calling process; does nothing where the kernel lacks it."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "prctl"):
        libc.prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0))


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent dies, however it detached itself."""
    prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(number: int, parent: int) -> None:
    """Have signal ``number`` sent to this process when ``parent`` dies, also if that has happened already."""
    prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:
        os.kill(os.getpid(), number)


def _parent_and_state(pid: str) -> tuple[int, str] | None:
    """Parent and state letter of a process (proc(5), ``stat``), or None when it is gone."""
    try:
        stat = Path("/proc", pid, "stat").read_bytes()
    except OSError:
        return None
    # The name in parentheses may hold blanks and parentheses itself, hence the last one.
    state, parent = stat.rpartition(b")")[2].split(maxsplit=2)[:2]
    return int(parent), state.decode()


def descendants(root: int, *, excluding: Collection[int] = ()) -> list[int]:
    """Every living process below ``root``; zombies are dead and not listed.

    :param beside: processes that are left out with all that is below them.
    """
    children: dict[int, list[int]] = {}
    dead = set()
    for name in filter(str.isdigit, os.listdir("/proc")):
        known = _parent_and_state(name)
        if known is not None:
            children.setdefault(known[0], []).append(int(name))
            dead.update([int(name)] if known[1] in _DEAD else [])
    found: list[int] = []
    queue = [root]
    while queue:
        below = [pid for pid in children.get(queue.pop(), []) if pid not in excluding]
        found += below
        queue += below
    return [pid for pid in found if pid not in dead]


def signal_all(pids: Sequence[int], number: int) -> None:
    """Send a signal to each process; those already gone are passed over."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def kill_descendants(root: int, *, deadline_s: float) -> list[int]:
    """Kill everything below ``root`` again and again until nothing is left.

    :returns: what was still alive after ``deadline_s`` seconds; empty when all went well.
    """
    end = time.monotonic() + deadline_s
    while left := descendants(root):
        signal_all(left, signal.SIGKILL)
        if time.monotonic() > end:
            return left
        time.sleep(_PAUSE_S)
    return []


async def kill_all_below(root: int, *, deadline_s: float) -> list[int]:
    """:func:`kill_descendants` for a process that has an event loop to serve, its reaper for instance."""
    end = time.monotonic() + deadline_s
    while left := descendants(root):
        signal_all(left, signal.SIGKILL)
        if time.monotonic() > end:
            return left
        await asyncio.sleep(_PAUSE_S)
    return []


@dataclass(frozen=True)
class Command:
    """A program to start.

    :param argv: its words; ``argv[0]`` may differ from ``program`` (a login shell's begins with a dash).
    :param environment: all of it.
    :param folder: working directory.
    :param program: file to run; empty for ``argv[0]``.
    """

    argv: Sequence[str]
    environment: Mapping[str, str]
    folder: Path
    program: str = ""


@dataclass(frozen=True)
class StandardStreams:
    """File descriptors a program gets as 0, 1 and 2, and what it does first with them (becoming a terminal's owner)."""

    stdin: int
    stdout: int
    stderr: int
    prepare: Callable[[], None] | None = None


@dataclass
class Child:
    """A started program; :attr:`ended` becomes its return code, negative for a signal."""

    process: subprocess.Popen[bytes]
    ended: asyncio.Future[int] = field(repr=False)

    @property
    def pid(self) -> int:
        """Its process id, which is also its session and process group."""
        return self.process.pid

    def signal(self, number: int) -> None:
        """Signal the program and what it started in its process group, if it still runs."""
        if not self.ended.done():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)


class Children:
    """Starts programs and reaps whatever dies.

    All children of the process must be started here: one place then waits for *any* child, adopted orphans included,
    and nobody's exit status is taken away from somebody else.
    """

    def __init__(self) -> None:
        self._children: dict[int, Child] = {}

    def attach(self) -> None:
        """Begin to reap; called in the running event loop."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, self._reap)

    def spawn(self, command: Command, streams: StandardStreams) -> Child:
        """Start a program in a session of its own.

        :raises OSError: it cannot be started.
        """
        process = subprocess.Popen(
            list(command.argv),
            executable=command.program or None,
            env=dict(command.environment),
            cwd=command.folder,
            stdin=streams.stdin,
            stdout=streams.stdout,
            stderr=streams.stderr,
            start_new_session=True,
            # A terminal session needs the hook, and this process has one thread, so fork is safe.
            preexec_fn=streams.prepare,
        )
        # The handler runs in the loop, so it cannot have reaped the process before it is listed here.
        child = Child(process, asyncio.get_running_loop().create_future())
        self._children[process.pid] = child
        return child

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._set_result(pid, os.waitstatus_to_exitcode(status))

    def _set_result(self, pid: int, code: int) -> None:
        child = self._children.pop(pid, None)
        if child is None:
            return
        child.process.returncode = code
        if not child.ended.done():
            child.ended.set_result(code)
