"""Connection pool: one connection per host, shared by all threads, reopened once when stale."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from orchestrator.core.errors import ConnectError, HostError
from orchestrator.core.host import Host
from orchestrator.ssh.connect import Connection, call_with_timeout, open_connection

if TYPE_CHECKING:
    import paramiko

FIRST_PAUSE_S, LONGEST_PAUSE_S, GROWTH = 0.1, 1.0, 1.4
"""Pauses between attempts while a VM boots: short at first to connect at once, then growing to save resources."""

TCP_ATTEMPT_S = 2.0
"""Seconds for one TCP attempt while waiting: shorter than the kernel's own retries after 1, 3, 7... s."""

LOGIN_PAUSES_S = (3.0, 12.0)
"""Pauses between login attempts: cloud-init may install the key late, but a wrong key stays wrong."""

OpenChannel = Callable[["paramiko.Transport", float], "paramiko.Channel"]
"""Opens a channel on a transport, within a number of seconds."""


@dataclass
class _Entry:
    """Connection of one host, and the lock that lets one thread at a time open it."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    connection: Connection | None = None


class ConnectionPool:
    """Opens connections on first use and keeps them.

    :param timeout_s: seconds for opening a connection, all in all.
    :param login_pauses_s: seconds between login attempts of :meth:`wait_until_ready`; one attempt more than pauses.
    """

    def __init__(self, timeout_s: float, login_pauses_s: tuple[float, ...] = LOGIN_PAUSES_S) -> None:
        self.timeout_s = timeout_s
        self._login_pauses_s = login_pauses_s
        self._lock = threading.Lock()
        self._entries: dict[Host, _Entry] = {}
        self._retired: list[Connection] = []
        self._closed = threading.Event()

    def connect(self, host: Host) -> Connection:
        """Return an active connection to ``host``."""
        return self._connect(host, time.monotonic() + self.timeout_s)[0]

    def wait_until_ready(self, host: Host, timeout_s: float, failure_reason: Callable[[], str] | None) -> float:
        """Try until a session with ``host`` is up; return the seconds it took. See ``SshClient.wait_until_ready``."""
        started = time.monotonic()
        pauses, login_pauses, attempts = _growing_pauses(), iter(self._login_pauses_s), 0
        while True:
            try:
                self._connect(host, started + timeout_s, tcp_timeout_s=TCP_ATTEMPT_S)
                return time.monotonic() - started
            except ConnectError as error:
                attempts += 1
                # Few attempts for a refused login: after cloud-init has finished, a wrong key stays wrong.
                pause = next(login_pauses, None) if error.kind == "auth" else next(pauses)
                if error.kind in ("host-key", "key-file") or pause is None:
                    raise
                _raise_if_failed(host, failure_reason, error)
                left = started + timeout_s - time.monotonic()
                if left <= pause:
                    raise _gave_up(error, attempts, time.monotonic() - started) from error
            # Not a sleep: closing the pool must end every wait at once.
            if self._closed.wait(pause):
                raise HostError("ssh: connections are being closed", where=host.name)

    def disconnect(self, host: Host) -> None:
        """Close the connection to ``host``, if there is one."""
        with self._lock:
            entry = self._entries.pop(host, None)
        if entry is not None and entry.connection is not None:
            entry.connection.close()

    def close(self) -> None:
        """Close all connections; calls in progress end with an error."""
        self._closed.set()
        with self._lock:
            entries, self._entries = list(self._entries.values()), {}
            connections, self._retired = self._retired, []
        pooled = [entry.connection for entry in entries if entry.connection is not None]
        for connection in [*connections, *pooled]:
            connection.close()

    def _connect(self, host: Host, deadline: float, *, tcp_timeout_s: float | None = None) -> tuple[Connection, bool]:
        """Return an active connection, and True if it was just opened."""
        with self._lock:
            self._check_open(host)
            entry = self._entries.setdefault(host, _Entry())
        # Per host: threads for other hosts do not wait for a slow connection attempt.
        if not entry.lock.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise ConnectError("silent", "ssh: another attempt to connect is still waiting", where=host.name)
        try:
            connection = entry.connection
            if connection is not None and connection.transport.is_active():
                return connection, False
            timeout_s = max(0.1, min(self.timeout_s, deadline - time.monotonic()))
            connection = open_connection(host, timeout_s=timeout_s, tcp_timeout_s=tcp_timeout_s)
            self._store(host, entry, connection)
            return connection, True
        finally:
            entry.lock.release()

    def _check_open(self, host: Host) -> None:
        if self._closed.is_set():
            raise HostError("ssh: connections were closed", where=host.name)

    def _store(self, host: Host, entry: _Entry, connection: Connection) -> None:
        """Store a new connection; if the host was disconnected meanwhile, close it with all others at the end."""
        with self._lock:
            if self._closed.is_set():
                connection.close()
            elif self._entries.get(host) is entry:
                entry.connection = connection
            else:
                # Disconnected while it was being opened: no caller would close it.
                self._retired.append(connection)
            self._check_open(host)

    def _retire(self, host: Host, connection: Connection) -> None:
        """Give no new work to a connection that does not respond; commands that still run over it continue."""
        with self._lock:
            entry = self._entries.get(host)
            if entry is not None and entry.connection is connection:
                entry.connection = None
            self._retired = [retired for retired in [*self._retired, connection] if retired.transport.is_active()]

    def open_channel(
        self, host: Host, deadline: float, open_on: OpenChannel, *, prompt: bool = True
    ) -> paramiko.Channel:
        """Return a new channel; over a new connection if the pooled one turns out to be stale.

        :param deadline: moment on the monotonic clock.
        :param prompt: True if a healthy host responds at once, so that silence means a dead connection.
        """
        import paramiko

        while True:
            connection, is_new = self._connect(host, deadline)
            left = max(0.1, deadline - time.monotonic())
            # Half the time for a pooled connection: the rest is for a new one, should this one be stale.
            timeout_s = min(self.timeout_s, left / 2) if prompt and not is_new else left
            try:
                return call_with_timeout(partial(open_on, connection.transport, timeout_s), timeout_s)
            except (OSError, EOFError, paramiko.SSHException) as error:
                timed_out = isinstance(error, TimeoutError)
                if connection.transport.is_active() and not (timed_out and prompt):
                    raise _no_channel(host, timed_out) from error
                self._retire(host, connection)
                if is_new:
                    message = f"ssh: connected, but no response within {timeout_s:.1f} s"
                    raise ConnectError("lost", message, where=host.name) from error


def _no_channel(host: Host, timed_out: bool) -> HostError:
    reason = "the target does not respond" if timed_out else "the server or the target refused"
    return HostError(f"ssh: no channel: {reason}", where=host.name)


def _growing_pauses() -> Iterator[float]:
    pause = FIRST_PAUSE_S
    while True:
        yield pause
        pause = min(pause * GROWTH, LONGEST_PAUSE_S)


def _raise_if_failed(host: Host, failure_reason: Callable[[], str] | None, error: ConnectError) -> None:
    reason = failure_reason() if failure_reason else ""
    if reason:
        raise HostError(f"the VM stopped before SSH was up: {reason}", where=host.name) from error


def _gave_up(error: ConnectError, attempts: int, seconds: float) -> ConnectError:
    message = f"{error.message}; gave up after {seconds:.0f} s and {attempts} attempts"
    return ConnectError(error.kind, message, where=error.where, fix=error.fix)
