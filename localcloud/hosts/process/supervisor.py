"""Supervisor of all process hosts: ``python -m localcloud.hosts.process.supervisor``, started by their owner.

It imports once what a host needs, and forks, so that a host costs milliseconds and little memory. It has one thread,
because forking would not be safe otherwise. Commands arrive on standard input and events leave on standard output, one
JSON object per line:

============================  ============================================
``{"do": "configure", ...}``  first of all: the settings that hosts share
``{"do": "start", ...}``      the host ``spec``; SSH opens at ``opens_at``
``{"do": "stop", "id"}``      also ``reboot``, ``freeze`` and ``thaw``
``{"do": "open-at", "id"}``   SSH answers at ``addresses`` only
``{"event": "running"}``      SSH is up; with ``confined`` and ``landlock_abi``
``{"event": "off"}``          all of it is gone; ``cause``: stopped, shutdown
``{"event": "booting"}``      it boots again; ``cause``: reboot, crash
============================  ============================================

When its owner dies or closes the pipe, it ends every host and then itself.
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

from localcloud.core.process_tree import adopt_orphans, descendants, die_with_parent, kill_descendants, signal_all
from localcloud.hosts.process import process_host
from localcloud.hosts.process.ssh_server import Gate
from localcloud.hosts.spec import HostSpec, SharedSettings

_POWER_OFF_DEADLINE_S = 12.0
_ORPHAN_DEADLINE_S = 5.0
_TICK_S = 0.5
_HOST_SIGNALS = (signal.SIGCHLD, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP)
# A host that crashes this soon after its boot, several times in a row, stays off.
_CRASH_WINDOW_S = 5.0
_CRASH_LIMIT = 3


@dataclass
class _Slot:
    spec: HostSpec
    gate: Gate
    pid: int = 0
    started_at: float = 0.0
    crashes: int = 0
    killed_at: float | None = None


class Supervisor:
    """Forks hosts, detects their end, and reports it to the owner."""

    def __init__(self, commands: int, events: int, owner: int) -> None:
        self._commands = commands
        self._events = events
        self._slots: dict[str, _Slot] = {}
        self._buffer = b""
        self._has_owner = True
        # Not epoll: a fork shares its table with the parent.
        self._selector = selectors.PollSelector()
        self._wake, waker = socket.socketpair()
        self._waker = waker
        for end in (self._wake, waker):
            end.setblocking(False)
        # A signal between two polls would otherwise be noticed only at the next tick.
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: self._disown())
        self._selector.register(self._wake, selectors.EVENT_READ, self._drain_wakeups)
        self._selector.register(commands, selectors.EVENT_READ, self._read)
        self._watch(owner)

    def _watch(self, owner: int) -> None:
        """Detect the owner's death even if a child of the owner keeps the pipe open."""
        try:
            death = os.pidfd_open(owner)
        except (OSError, AttributeError):
            return
        self._selector.register(death, selectors.EVENT_READ, self._disown)

    def run(self) -> None:
        """Serve until the owner is gone, then end every host."""
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
            case "configure":
                self._shared = SharedSettings.from_json(command["shared"])
            case "start":
                spec = HostSpec.from_json(command["spec"])
                slot = _Slot(spec, Gate(spec))
                self._slots[slot.spec.instance_id] = slot
                self._fork(slot, command["opens_at"])
            case "open-at":
                self._open_at(self._slots.get(command["id"]), command["addresses"])
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

    def _open_at(self, slot: _Slot | None, addresses: list[str]) -> None:
        if slot is not None:
            slot.gate.open_at(addresses)
            signal_all([slot.pid], signal.SIGUSR2)

    def _end(self, slot: _Slot) -> None:
        slot.killed_at = slot.killed_at or time.monotonic()
        signal_all([slot.pid], signal.SIGTERM)
        # A frozen host handles no signal before SIGCONT.
        signal_all([slot.pid], signal.SIGCONT)

    def _fork(self, slot: _Slot, opens_at: float) -> None:
        slot.started_at = time.monotonic()
        parent = os.getpid()
        # A signal for the host must not run this process's handlers right after the fork.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _HOST_SIGNALS)
        slot.pid = os.fork()
        if slot.pid == 0:
            self._run_host(slot, opens_at, parent)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _run_host(self, slot: _Slot, opens_at: float, parent: int) -> None:
        """Turn this fork into the host; never returns."""
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            for number in _HOST_SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            # The other two wait for their handlers: by default they would kill a host that has just begun to boot.
            signal.pthread_sigmask(signal.SIG_UNBLOCK, set(_HOST_SIGNALS) - process_host.LATE_SIGNALS)
            die_with_parent(signal.SIGTERM, parent)
            # A terminal of the owner must not signal the host.
            os.setsid()
            events = _isolate(self._events)
            status = process_host.run_host(
                process_host.HostStart(slot.spec, self._shared, opens_at, lambda event: _send(events, event), slot.gate)
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
        elif code == process_host.ExitStatus.SHUTDOWN:
            self._set_off(slot, "shutdown")
        elif code == process_host.ExitStatus.REBOOT:
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
        """Kill the processes that a host left to this process because it died without shutting down."""
        host_pids = {slot.pid for slot in self._slots.values()}
        deadline = time.monotonic() + _ORPHAN_DEADLINE_S
        while (orphans := _orphans(host_pids)) and time.monotonic() < deadline:
            signal_all(orphans, signal.SIGKILL)
            time.sleep(0.002)

    def _enforce(self) -> None:
        """Kill hosts that did not shut down in time."""
        now = time.monotonic()
        for slot in self._slots.values():
            if slot.killed_at is not None and now - slot.killed_at > _POWER_OFF_DEADLINE_S:
                signal_all([slot.pid], signal.SIGKILL)


def _orphans(host_pids: set[int]) -> list[int]:
    """Return all processes below this one that are neither hosts nor descendants of one."""
    # From one snapshot of the process table: between two, a living host may have started a process.
    return descendants(os.getpid(), excluding=host_pids)


def _isolate(events: int) -> int:
    """Close all files of the forking process except its log; return the descriptor for events."""
    event_writer = os.dup(events)
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1):
        os.dup2(null, standard)
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        if descriptor > 2 and descriptor != event_writer:
            with contextlib.suppress(OSError):
                os.close(descriptor)
    return event_writer


def _send(events: int, event: dict[str, Any]) -> None:
    # Several processes write to this pipe; lines up to PIPE_BUF are written atomically. A dead owner is detected by
    # ``_watch``.
    with contextlib.suppress(BrokenPipeError):
        os.write(events, json.dumps(event).encode() + b"\n")


def main() -> None:
    """Run the hosts of the process that started this one."""
    logging.getLogger("asyncssh").addHandler(logging.NullHandler())
    logging.getLogger("asyncssh").propagate = False
    adopt_orphans()
    # Memory loaded now is shared by all hosts; the garbage collector would write to it, and thereby copy it.
    gc.collect()
    gc.freeze()
    Supervisor(sys.stdin.fileno(), sys.stdout.fileno(), os.getppid()).run()


if __name__ == "__main__":
    main()
