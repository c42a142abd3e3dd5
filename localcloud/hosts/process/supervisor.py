"""The parent process of all process hosts: ``python -m localcloud.hosts.process.supervisor``, started by its owner.

It imports what a machine needs once and forks, so that a machine costs milliseconds and little memory. It has one
thread, or forking would not be safe. Commands come on standard input and events leave on standard output, one JSON
object per line:

==========================  ============================================
``{"do": "settle", ...}``   first of all: what the machines share
``{"do": "start", ...}``    the machine ``spec``; SSH opens at ``opens_at``
``{"do": "stop", "id"}``    also ``reboot``, ``freeze`` and ``thaw``
``{"event": "running"}``    SSH is up; with ``confined`` and ``landlock_abi``
``{"event": "off"}``        all of it is gone; ``cause``: stopped, shutdown
``{"event": "booting"}``    it boots again: ``cause``: reboot, crash
==========================  ============================================

When its owner dies, or closes the pipe, it ends every machine and then itself.
"""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import os
import selectors
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from localcloud.hosts.process import machine
from localcloud.hosts.process.processes import adopt_orphans, descendants, die_with_parent, kill_descendants, signal_all
from localcloud.hosts.spec import HostSpec, SharedSettings

_POWER_OFF_DEADLINE_S = 12.0
_ORPHAN_DEADLINE_S = 5.0
_TICK_S = 0.5
_MACHINE_SIGNALS = (signal.SIGCHLD, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)
# A machine that keeps dying this soon after its boot is given up.
_CRASH_WINDOW_S = 5.0
_CRASH_LIMIT = 3


@dataclass
class _Slot:
    spec: HostSpec
    pid: int = 0
    started_at: float = 0.0
    crashes: int = 0
    killed_at: float | None = None


class Supervisor:
    """Forks machines, notices their end, and tells the owner."""

    def __init__(self, commands: int, events: int, owner: int) -> None:
        self._commands = commands
        self._events = events
        self._slots: dict[str, _Slot] = {}
        self._buffer = b""
        self._has_owner = True
        # Not epoll, whose table a fork shares with its parent.
        self._selector = selectors.PollSelector()
        self._wake, waker = socket.socketpair()
        self._waker = waker
        for end in (self._wake, waker):
            end.setblocking(False)
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: self._disown())
        self._selector.register(self._wake, selectors.EVENT_READ, self._drain_wakeups)
        self._selector.register(commands, selectors.EVENT_READ, self._read)
        self._watch(owner)

    def _watch(self, owner: int) -> None:
        """Notice the owner's death even if a child of its own keeps our pipe open."""
        try:
            death = os.pidfd_open(owner)
        except (OSError, AttributeError):
            return
        self._selector.register(death, selectors.EVENT_READ, self._disown)

    def run(self) -> None:
        """Serve until the owner is gone; then end every machine."""
        while self._has_owner:
            self._step()
        for slot in self._slots.values():
            self._end(slot)
        while self._slots:
            self._step()
        kill_descendants(os.getpid(), deadline_s=_ORPHAN_DEADLINE_S)

    def _step(self) -> None:
        for key, _ in self._selector.select(_TICK_S):
            handle: Callable[[], None] = key.data
            handle()
        self._reap()
        self._enforce()

    def _disown(self) -> None:
        self._has_owner = False
        for descriptor, key in list(self._selector.get_map().items()):
            if key.data != self._drain_wakeups:
                self._selector.unregister(descriptor)

    def _drain_wakeups(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._wake.recv(4096):
                pass

    def _read(self) -> None:
        data = os.read(self._commands, 1 << 16)
        if not data:
            self._disown()
            return
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            self._handle(json.loads(line))

    def _handle(self, command: dict[str, Any]) -> None:
        match command["do"]:
            case "settle":
                self._surroundings = SharedSettings.from_json(command["surroundings"])
            case "start":
                slot = _Slot(HostSpec.from_json(command["spec"]))
                self._slots[slot.spec.instance_id] = slot
                self._fork(slot, command["opens_at"])
            case action:
                self._act(action, self._slots.get(command["id"]))

    def _act(self, action: str, slot: _Slot | None) -> None:
        if slot is None:
            return
        if action == "stop":
            self._end(slot)
        elif action == "reboot":
            signal_all([slot.pid], signal.SIGUSR1)
            signal_all([slot.pid], signal.SIGCONT)
        elif action == "freeze":
            signal_all([slot.pid, *descendants(slot.pid)], signal.SIGSTOP)
        elif action == "thaw":
            signal_all([*descendants(slot.pid), slot.pid], signal.SIGCONT)

    def _end(self, slot: _Slot) -> None:
        slot.killed_at = slot.killed_at or time.monotonic()
        signal_all([slot.pid], signal.SIGTERM)
        # A frozen machine hears nothing before it is thawed.
        signal_all([slot.pid], signal.SIGCONT)

    def _fork(self, slot: _Slot, opens_at: float) -> None:
        slot.started_at = time.monotonic()
        parent = os.getpid()
        # A signal meant for the machine must not reach this process's handlers in the machine's first moments.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _MACHINE_SIGNALS)
        slot.pid = os.fork()
        if slot.pid == 0:
            self._run_host(slot.spec, opens_at, parent)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _run_host(self, spec: HostSpec, opens_at: float, parent: int) -> None:
        """Turn this fresh fork into the machine; never returns."""
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            for number in _MACHINE_SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _MACHINE_SIGNALS)
            die_with_parent(signal.SIGTERM, parent)
            os.setsid()
            events = _isolate(self._events)
            status = machine.run_host(
                machine.HostStart(spec, self._surroundings, opens_at, lambda event: _send(events, event))
            )
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            slot = next((slot for slot in self._slots.values() if slot.pid == pid), None)
            if slot is not None:
                self._on_exit(slot, os.waitstatus_to_exitcode(status))

    def _on_exit(self, slot: _Slot, code: int) -> None:
        self._kill_orphans()
        if slot.killed_at is not None or not self._has_owner:
            self._set_off(slot, "stopped")
        elif code == machine.ExitStatus.SHUTDOWN:
            self._set_off(slot, "shutdown")
        elif code == machine.ExitStatus.REBOOT:
            self._reboot(slot, "reboot")
        else:
            self._on_crash(slot)

    def _on_crash(self, slot: _Slot) -> None:
        soon = time.monotonic() - slot.started_at < _CRASH_WINDOW_S
        slot.crashes = slot.crashes + 1 if soon else 1
        if slot.crashes > _CRASH_LIMIT:
            self._set_off(slot, "crash")
        else:
            self._reboot(slot, "crash")

    def _set_off(self, slot: _Slot, cause: str) -> None:
        del self._slots[slot.spec.instance_id]
        _send(self._events, {"event": "off", "id": slot.spec.instance_id, "cause": cause})

    def _reboot(self, slot: _Slot, cause: str) -> None:
        _send(self._events, {"event": "booting", "id": slot.spec.instance_id, "cause": cause})
        self._fork(slot, time.monotonic() + slot.spec.boot_seconds)

    def _kill_orphans(self) -> None:
        """End what a machine that died without its own power-off left to us."""
        machines = {slot.pid for slot in self._slots.values()}
        end = time.monotonic() + _ORPHAN_DEADLINE_S
        while (orphans := _orphans(machines)) and time.monotonic() < end:
            signal_all(orphans, signal.SIGKILL)
            time.sleep(0.002)

    def _enforce(self) -> None:
        """Kill machines that did not manage to switch themselves off in time."""
        now = time.monotonic()
        for slot in self._slots.values():
            if slot.killed_at is not None and now - slot.killed_at > _POWER_OFF_DEADLINE_S:
                signal_all([slot.pid], signal.SIGKILL)


def _orphans(machines: set[int]) -> list[int]:
    """All below this process that is no machine and belongs to none that lives."""
    # One look at the processes decides: between two, a living machine may have started something.
    return descendants(os.getpid(), excluding=machines)


def _isolate(events: int) -> int:
    """Drop all files of the forking process but its log; returns where events go from now on."""
    kept = os.dup(events)
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1):
        os.dup2(null, standard)
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        if descriptor > 2 and descriptor != kept:
            with contextlib.suppress(OSError):
                os.close(descriptor)
    return kept


def _send(events: int, event: dict[str, Any]) -> None:
    # Several processes write here; a line this short goes into a pipe whole. A dead owner is noticed elsewhere.
    with contextlib.suppress(BrokenPipeError):
        os.write(events, json.dumps(event).encode() + b"\n")


def main() -> None:
    """Hold the machines of the process that started this one."""
    logging.getLogger("asyncssh").addHandler(logging.NullHandler())
    logging.getLogger("asyncssh").propagate = False
    adopt_orphans()
    # What is here now is shared by all machines: the collector must not touch, and thereby copy, it.
    gc.collect()
    gc.freeze()
    Supervisor(sys.stdin.fileno(), sys.stdout.fileno(), os.getppid()).run()


if __name__ == "__main__":
    main()
