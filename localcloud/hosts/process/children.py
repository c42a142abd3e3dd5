"""Programs that a process host starts: all of them are reaped, and none is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Command:
    """A program to start.

    :param argv: its arguments; ``argv[0]`` may differ from ``program`` (that of a login shell begins with a dash).
    :param environment: all of its variables.
    :param folder: working directory.
    :param program: file to run; empty for ``argv[0]``.
    """

    argv: Sequence[str]
    environment: Mapping[str, str]
    folder: Path
    program: str = ""


@dataclass(frozen=True)
class StandardStreams:
    """File descriptors 0, 1 and 2 of a program.

    :param prepare: called in the new process before the program runs, for example to take a controlling terminal.
    """

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
        """Process id, which is also the id of its session and process group."""
        return self.process.pid

    def signal(self, number: int) -> None:
        """Send a signal to the program's process group if the program still runs."""
        if not self.ended.done():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)


class Children:
    """Starts programs and reaps every child that dies.

    All children of the process must be started here: one handler waits for *any* child, adopted orphans included, so a
    second waiter would lose exit statuses to it.
    """

    def __init__(self) -> None:
        self._children: dict[int, Child] = {}

    def attach(self) -> None:
        """Start reaping; called in the running event loop."""
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
            # A terminal session needs the hook; fork is safe because this process has one thread.
            preexec_fn=streams.prepare,
        )
        # The SIGCHLD handler runs in the event loop, so it cannot reap the process before this line.
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
        # Adopted orphans have no entry.
        child = self._children.pop(pid, None)
        if child is None:
            return
        child.process.returncode = code
        if not child.ended.done():
            child.ended.set_result(code)
