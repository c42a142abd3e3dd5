"""Connections that are kept: one per host, shared by all threads, reopened once when they went stale."""

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
"""Pauses between attempts while a machine boots: short enough to notice at once, growing to spare the rest."""

TCP_ATTEMPT_S = 2.0
"""Seconds for one TCP attempt while waiting: the kernel repeats a dropped packet only after 1, 3, 7... s, we sooner."""

LOGIN_PAUSES_S = (3.0, 12.0)
"""Pauses between attempts to log in: cloud-init may bring the key late, but a wrong key stays wrong."""

OpenChannel = Callable[["paramiko.Transport", float], "paramiko.Channel"]
"""Asks a transport for a channel, within that many seconds."""


@dataclass
class _Kept:
    """One host's connection, and the lock that lets one thread at a time open it."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    connection: Connection | None = None


class ConnectionPool:
    """Opens connections when they are first needed, and keeps them.

    :param timeout: seconds for opening a connection, all in all.
    :param login_pauses: seconds between attempts of :meth:`wait` to log in; one attempt more than pauses.
    """

    def __init__(self, timeout_s: float, login_pauses_s: tuple[float, ...] = LOGIN_PAUSES_S) -> None:
        self.timeout_s = timeout_s
        self._login_pauses = login_pauses_s
        self._guard = threading.Lock()
        self._kept: dict[Host, _Kept] = {}
        self._retired: list[Connection] = []
        self._closed = threading.Event()

    def connect(self, host: Host) -> Connection:
        """Return a living connection to ``host``."""
        return self._connect(host, time.monotonic() + self.timeout_s)[0]

    def wait_until_ready(self, host: Host, deadline: float, alive: Callable[[], str] | None) -> float:
        """Try until a session with ``host`` is up, and return the seconds it took; see ``Links.wait``."""
        started = time.monotonic()
        pauses, logins, tries = _growing(), iter(self._login_pauses), 0
        while True:
            try:
                self._connect(host, started + deadline, knock=TCP_ATTEMPT_S)
                return time.monotonic() - started
            except ConnectError as error:
                tries += 1
                pause = next(logins, None) if error.kind == "auth" else next(pauses)
                if error.kind in ("host-key", "key-file") or pause is None:
                    raise
                _check_alive(host, alive, error)
                left = started + deadline - time.monotonic()
                if left <= pause:
                    raise _gave_up(error, tries, time.monotonic() - started) from error
            if self._closed.wait(pause):
                raise HostError("waiting was given up: connections are being closed", where=host.name)

    def disconnect(self, host: Host) -> None:
        """Close the connection to ``host``, if there is one."""
        with self._guard:
            kept = self._kept.pop(host, None)
        if kept is not None and kept.connection is not None:
            kept.connection.close()

    def close(self) -> None:
        """Close all connections; calls under way end with an error."""
        self._closed.set()
        with self._guard:
            kept, self._kept = list(self._kept.values()), {}
            connections, self._retired = self._retired, []
        for connection in [*connections, *(one.connection for one in kept if one.connection is not None)]:
            connection.close()

    def _connect(self, host: Host, until: float, *, knock: float | None = None) -> tuple[Connection, bool]:
        """A living connection, and whether it was opened just now."""
        with self._guard:
            self._check_open(host)
            kept = self._kept.setdefault(host, _Kept())
        if not kept.lock.acquire(timeout=max(0.0, until - time.monotonic())):
            raise ConnectError("silent", "ssh: another attempt to connect is still waiting", where=host.name)
        try:
            connection = kept.connection
            if connection is not None and connection.transport.is_active():
                return connection, False
            within = max(0.1, min(self.timeout_s, until - time.monotonic()))
            connection = open_connection(host, timeout_s=within, tcp_timeout_s=knock)
            self._keep(host, kept, connection)
            return connection, True
        finally:
            kept.lock.release()

    def _check_open(self, host: Host) -> None:
        if self._closed.is_set():
            raise HostError("ssh: connections were closed", where=host.name)

    def _keep(self, host: Host, kept: _Kept, connection: Connection) -> None:
        """Note a new connection; one that was forgotten while it opened is closed with all others at the end."""
        with self._guard:
            if self._closed.is_set():
                connection.close()
            elif self._kept.get(host) is kept:
                kept.connection = connection
            else:
                self._retired.append(connection)
            self._check_open(host)

    def _retire(self, host: Host, connection: Connection) -> None:
        """Give no new work to a connection that does not answer, but leave it to what still runs over it."""
        with self._guard:
            kept = self._kept.get(host)
            if kept is not None and kept.connection is connection:
                kept.connection = None
            self._retired = [one for one in [*self._retired, connection] if one.transport.is_active()]

    def open_channel(self, host: Host, until: float, opening: OpenChannel, *, prompt: bool = True) -> paramiko.Channel:
        """A new channel; over a new connection when the kept one turns out to be stale.

        :param until: moment on the monotonic clock.
        :param prompt: a host in good health answers this at once, so that silence means a dead connection.
        """
        import paramiko

        while True:
            connection, fresh = self._connect(host, until)
            left = max(0.1, until - time.monotonic())
            seconds = min(self.timeout_s, left / 2) if prompt and not fresh else left
            try:
                return call_with_timeout(partial(opening, connection.transport, seconds), seconds)
            except (OSError, EOFError, paramiko.SSHException) as error:
                mute = isinstance(error, TimeoutError)
                if connection.transport.is_active() and not (mute and prompt):
                    raise _no_channel(host, mute) from error
                self._retire(host, connection)
                if fresh:
                    what = f"ssh: connected, but nothing more came within {seconds:.1f} s"
                    raise ConnectError("lost", what, where=host.name) from error


def _no_channel(host: Host, mute: bool) -> HostError:
    what = "the target does not answer" if mute else "the server or the target refused"
    return HostError(f"ssh: no channel: {what}", where=host.name)


def _growing() -> Iterator[float]:
    pause = FIRST_PAUSE_S
    while True:
        yield pause
        pause = min(pause * GROWTH, LONGEST_PAUSE_S)


def _check_alive(host: Host, alive: Callable[[], str] | None, error: ConnectError) -> None:
    reason = alive() if alive else ""
    if reason:
        raise HostError(f"the machine ended before SSH was up: {reason}", where=host.name) from error


def _gave_up(error: ConnectError, tries: int, seconds: float) -> ConnectError:
    what = f"{error.message}; gave up after {seconds:.0f} s and {tries} tries"
    return ConnectError(error.kind, what, where=error.where, fix=error.fix)
