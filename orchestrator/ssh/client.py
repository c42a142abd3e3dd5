"""SSH client: commands, streams, folders and tunnels over pooled connections.

Every call ends by its deadline, whatever the network does. Every failure to connect is a ConnectError whose ``kind``
names the fault. A host must present the host key pinned for it, or nothing is sent to it.
"""

from __future__ import annotations

import shlex
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.core.clock import Clock
from orchestrator.core.errors import ConnectError, HostError, UsageError
from orchestrator.core.host import Host
from orchestrator.ssh.channel import WINDOW_BYTES, ChannelSession, Timeouts, close_in_background, open_session
from orchestrator.ssh.connect import Connection, call_with_timeout, defer_invoke, seconds
from orchestrator.ssh.connection_pool import LOGIN_PAUSES_S, ConnectionPool
from orchestrator.ssh.line_stream import SILENCE_TIMEOUT_S, LineStream, Respond
from orchestrator.ssh.openssh import command_line, write_ssh_config
from orchestrator.ssh.receive import Part, nothing_at, receive_parts, send_command
from orchestrator.ssh.receive_limits import MAX_OUTPUT_BYTES
from orchestrator.ssh.tar_stream import OnSkipped, UnpackBudget, pack
from orchestrator.ssh.tunnel import Tunnel

if TYPE_CHECKING:
    import paramiko

__all__ = ["CommandResult", "Connection", "Part", "SshClient", "Tunnel", "command_line", "quote", "write_ssh_config"]

MIN_BYTES = 4096
"""Bytes of an archive, or of a log, that must arrive within the limit of silence: one now and then is no transfer."""


def quote(*words: str) -> str:
    """Return ``words`` as one command line for a POSIX shell, quoted so that each arrives unchanged.

    :raises UsageError: for a NUL byte, which no argument can contain.
    """
    if any("\0" in word for word in words):
        raise UsageError("a NUL byte cannot be part of a command")
    # shlex quotes everything but NUL, at which the kernel ends an argument.
    return shlex.join(words)


@dataclass(frozen=True)
class CommandResult:
    """Result of a command on one host.

    :param host: name of the host.
    :param exit_status: None when the command was killed by a signal.
    :param seconds: from the request to the end of its output.
    """

    host: str
    command: str
    stdout: str
    stderr: str
    exit_status: int | None
    seconds: float

    @property
    def ok(self) -> bool:
        """True if the command ended with exit status 0."""
        return self.exit_status == 0

    def raise_if_failed(self, message: str) -> CommandResult:
        """Return this result if it is ok.

        :param message: what failed.
        :raises HostError: with the last line of the command's output.
        """
        if self.ok:
            return self
        lines = (self.stderr.strip() or self.stdout.strip()).splitlines()
        ending = "killed by a signal" if self.exit_status is None else f"exit {self.exit_status}"
        raise HostError(f"{message}: {lines[-1].strip() if lines else 'no output'} ({ending})", where=self.host)


class SshClient:
    """Connections to hosts: opened on first use, kept, shared by all threads, reopened once when stale.

    :param clock: time for work on hosts done with this client; its own deadlines follow the system's clock, as those
        of sockets do.
    :param connect_timeout_s: seconds for opening a connection, all in all.
    :param login_pauses_s: seconds between login attempts of :meth:`wait_until_ready`; one attempt more than pauses.
    """

    def __init__(
        self, clock: Clock, *, connect_timeout_s: float = 10.0, login_pauses_s: tuple[float, ...] = LOGIN_PAUSES_S
    ) -> None:
        defer_invoke()
        self.clock = clock
        self._new_pool = partial(ConnectionPool, connect_timeout_s, login_pauses_s)
        self._pool = self._new_pool()
        # Kept to close them with the client; their ports would stay open otherwise.
        self._tunnels: list[Tunnel] = []
        # By the name of a host.
        self._started: dict[str, int] = {}
        self._channels: dict[str, weakref.WeakSet[paramiko.Channel]] = {}

    def __enter__(self) -> SshClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def connect(self, host: Host) -> Connection:
        """Return an active connection to ``host``, the pooled one if there is one.

        :raises ConnectError: see :func:`orchestrator.ssh.connect.open_connection` for its kinds.
        """
        return self._pool.connect(host)

    def connect_in_background(self, hosts: Sequence[Host]) -> None:
        """Begin to connect to hosts; an error is that of the first use, which connects again."""
        if not hosts:
            return
        # Here and now: in the threads it would contend with the work that the caller goes on with.
        import paramiko  # noqa: F401

        for host in hosts:
            threading.Thread(target=self._try_to_connect, args=(host,), name="early-ssh", daemon=True).start()

    def _try_to_connect(self, host: Host) -> None:
        with suppress(HostError):
            self._pool.connect(host)

    def wait_until_ready(
        self, host: Host, *, timeout_s: float, failure_reason: Callable[[], str] | None = None
    ) -> float:
        """Wait until a session with ``host`` is up.

        :param timeout_s: seconds to wait at most.
        :param failure_reason: called between attempts; returns why the VM failed, or nothing while it has not.
        :return: seconds waited.
        :raises ConnectError: the last attempt's, at the deadline; at once for a wrong host key or an unusable key
            file; after a few attempts for a refused login.
        :raises HostError: the VM failed meanwhile.
        """
        return self._pool.wait_until_ready(host, timeout_s, failure_reason)

    def run(self, host: Host, command: str, *, timeout_s: float = 30.0, stdin: bytes = b"") -> CommandResult:
        """Run a short command in the login shell and return its whole output.

        Safe to call from many threads: each call has a channel of its own on the shared connection.

        :param timeout_s: seconds for everything, connecting included; it holds in a silent network partition, too.
        :param stdin: the whole input of the command.
        :raises ConnectError: no session, or kind ``lost``: no answer in time, or the connection ended meanwhile.
        :raises HostError: the command produced output, but did not finish in time.
        """
        started = time.monotonic()
        timeouts = Timeouts(deadline=started + timeout_s)
        output = {1: bytearray(), 2: bytearray()}
        # Without input, its end is sent at once: commands that read standard input would wait for it.
        with self._start_command(host, command, timeouts, eof=not stdin) as session:
            if stdin:
                session.send([stdin])
                session.end_input()
            for stream, data in session.output():
                output[stream] += data
                if len(output[stream]) > MAX_OUTPUT_BYTES:
                    raise HostError(f"more than {MAX_OUTPUT_BYTES >> 20} MiB of output", where=host.name)
            status = session.exit_status()
        out, err = (bytes(data).decode("utf-8", errors="replace") for data in output.values())
        return CommandResult(host.name, command, out, err, status, time.monotonic() - started)

    def stream(
        self,
        host: Host,
        command: str,
        *,
        on_line: Callable[[str], None],
        respond: Respond | None = None,
        stdin: bytes | Iterable[bytes] = b"",
        silence_timeout_s: float = SILENCE_TIMEOUT_S,
        timeout_s: float | None = None,
    ) -> int:
        """Run ``command`` and pass on its lines (standard and error output merged) as they arrive.

        :param on_line: called with every line, in this thread; a line longer than 64 KiB arrives in pieces, and a line
            with carriage returns state by state. Each is an :class:`OutputLine`, which has the bytes, too.
        :param respond: called with every line after ``on_line``; the chunks it returns go to the command's input, in
            order, and are consumed (on another thread) only as the host accepts them. Without it, input ends after
            ``stdin``; with it, when the command does.
        :param stdin: first input; chunks of an iterable are treated as those of ``respond``.
        :param silence_timeout_s: seconds without output and without accepted input after which the host counts as lost.
            With ``respond`` or without ``timeout_s``, the command has to end a line in that time.
        :param timeout_s: seconds for everything; None: no limit. With it, a command without input counts as silent that
            sends less than 4 KiB.
        :return: exit status; -1 when the command was killed by a signal.
        :raises ConnectError: no session, or kind ``lost``.
        :raises HostError: the time is up. Errors of ``on_line``, ``respond`` and the chunks are passed on.
        """
        eof = not stdin and respond is None
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        # A job's own output, which has no limit of time, may be a line now and then. Its heartbeats are lines, as are
        # those of an install: a host that sends single bytes must not hold the reader forever.
        has_heartbeats = deadline is None or respond is not None
        timeouts = Timeouts(silence_timeout_s, deadline, MIN_BYTES if eof and deadline else 1, has_heartbeats)
        with self.open_stream(host, command, timeouts, stdin=stdin, eof=eof) as stream:
            if stdin and respond is None:
                stream.session.end_input()
            stream.read(on_line, respond=respond)
            return stream.exit_status()

    def open_stream(
        self, host: Host, command: str, timeouts: Timeouts, *, stdin: bytes | Iterable[bytes] = b"", eof: bool = False
    ) -> LineStream:
        """Start a command whose output is read in parts.

        :param stdin: first input; more may follow.
        :param eof: give it no input.
        :raises ConnectError: no session, or kind ``lost``.
        """
        session = self._start_command(host, command, timeouts, merge=True, eof=eof)
        if stdin:
            session.send([stdin] if isinstance(stdin, bytes) else stdin)
        return LineStream(session)

    def fetch(
        self,
        host: Host,
        remote: str,
        local: Path,
        *,
        timeout_s: float = 3600.0,
        on_skipped: OnSkipped | None = None,
        budget: UnpackBudget | None = None,
    ) -> int:
        """Copy the content of the folder ``remote``, or a file, into ``local``, as one compressed stream.

        :param remote: absolute, or relative to the home folder of the login.
        :param local: created if missing; files of the same name are replaced, others stay.
        :param timeout_s: seconds for everything; less than 4 KiB in 30 s ends it sooner.
        :param on_skipped: called with (name, why) for special files, and links to anything but a file in the folder.
        :param budget: bytes and files that may be unpacked; None for its defaults.
        :return: bytes of all files.
        :raises HostError: nothing is at ``remote``, it could not be read or written here, or a name points outside.
        :raises LimitReached: the budget is spent; what was unpacked before is kept.
        :raises ConnectError: no session, or kind ``lost``.
        """
        parts = [Part(remote, local, on_skipped=on_skipped)]
        (size_bytes,) = self.fetch_parts(host, parts, timeout_s=timeout_s, budget=budget)
        if size_bytes is None:
            raise nothing_at(host, remote)
        return size_bytes

    def fetch_parts(
        self, host: Host, parts: Sequence[Part], *, timeout_s: float = 3600.0, budget: UnpackBudget | None = None
    ) -> list[int | None]:
        """Copy folders and files of a host with one command; otherwise as :meth:`fetch`.

        :return: bytes of the files of each part; None where the host has nothing.
        """
        timeouts = Timeouts(SILENCE_TIMEOUT_S, time.monotonic() + timeout_s, MIN_BYTES)
        with self._start_command(host, quote(*send_command(parts)), timeouts, eof=True) as session:
            return receive_parts(session, host, parts, budget or UnpackBudget())

    def send(
        self,
        host: Host,
        source: Path | bytes,
        remote: str,
        *,
        timeout_s: float = 3600.0,
        on_bytes: Callable[[int], object] = lambda count: None,
    ) -> None:
        """Copy bytes to the file ``remote``, or the content of a local folder into the folder ``remote``.

        :param on_bytes: called with the size of each block of the compressed stream.
        :raises HostError: it could not be written there.
        :raises ConnectError: no session, or kind ``lost``.
        """
        target = quote(remote if remote.startswith("/") else f"./{remote}")
        lines: list[str] = []
        if isinstance(source, bytes):
            command, content = f"cat >{target}", iter([source])
        else:
            command, content = f"mkdir -p {target} && exec tar -C {target} -xzf -", pack(source)
        status = self.stream(
            host, command, stdin=_counted(content, on_bytes), on_line=lines.append, timeout_s=timeout_s
        )
        CommandResult(host.name, command, "\n".join(lines), "", status, 0.0).raise_if_failed(
            f"could not write {remote}"
        )

    def uses(self, host: Host) -> tuple[int, bool]:
        """Return how many commands were started on a host, and whether one of them is still open."""
        channels = list(self._channels.get(host.name, ()))
        return self._started.get(host.name, 0), any(not channel.closed for channel in channels)

    def forward(self, host: Host, port: int, *, target_address: str = "", local_port: int = 0) -> Tunnel:
        """Open a tunnel from ``Tunnel.address`` and ``Tunnel.port`` on this computer to ``port`` on the target.

        :param target_address: as ``host`` reaches it; empty: the private address of the host itself.
        :param local_port: 0 takes a free one.
        :raises ConnectError: no session.
        :raises PortTaken: something else listens on the local port.
        """
        # Now rather than at the first use: an unreachable host is an error of this call.
        self._pool.connect(host)
        tunnel = Tunnel(partial(self._dial, host, (target_address or host.private_address, port)), local_port)
        self._tunnels.append(tunnel)
        return tunnel

    def disconnect(self, host: Host) -> None:
        """Close the connection to ``host``, if there is one."""
        self._pool.disconnect(host)

    def disconnect_all(self) -> None:
        """Close all tunnels and connections; calls under way end with an error, later ones connect anew."""
        pool, self._pool = self._pool, self._new_pool()
        self._close_tunnels()
        pool.close()

    def close(self) -> None:
        """Close all tunnels and connections for good; calls under way end with an error."""
        self._close_tunnels()
        self._pool.close()

    def _close_tunnels(self) -> None:
        tunnels, self._tunnels = self._tunnels, []
        for tunnel in tunnels:
            tunnel.close()

    def _dial(self, host: Host, target: tuple[str, int], source: tuple[str, int]) -> paramiko.Channel:
        """Return a channel to ``target`` as ``host`` reaches it."""

        def open_channel(transport: paramiko.Transport, timeout_s: float) -> paramiko.Channel:
            # Longer than the caller's own limit: paramiko reports a timeout and a refusal as the same error.
            return transport.open_channel(
                "direct-tcpip", target, source, window_size=WINDOW_BYTES, timeout=timeout_s + 1
            )

        return self._pool.open_channel(host, time.monotonic() + self._pool.timeout_s, open_channel, prompt=False)

    def _start_command(
        self, host: Host, command: str, timeouts: Timeouts, *, merge: bool = False, eof: bool = False
    ) -> ChannelSession:
        """Start a command.

        :param merge: merge error output into standard output.
        :param eof: give it no input.
        """
        import paramiko

        started = time.monotonic()
        deadline = (
            started + (timeouts.silence_s or SILENCE_TIMEOUT_S) if timeouts.deadline is None else timeouts.deadline
        )
        channel = self._pool.open_channel(host, deadline, open_session)
        self._started[host.name] = self._started.get(host.name, 0) + 1
        self._channels.setdefault(host.name, weakref.WeakSet()).add(channel)
        try:
            call_with_timeout(partial(_begin, channel, command, merge, eof), deadline - time.monotonic())
            return ChannelSession(host, channel, timeouts, started)
        except (OSError, EOFError, paramiko.SSHException) as error:
            # Not repeated: whether the command has started is unknown, and it may not be idempotent.
            transport = channel.transport
            close_in_background(channel)
            if not isinstance(error, TimeoutError) and transport is not None and transport.is_active():
                raise HostError("ssh: the server refused to run a command", where=host.name) from error
            waited = time.monotonic() - started
            raise ConnectError("lost", f"ssh: no answer within {seconds(waited)}", where=host.name) from error


def _begin(channel: paramiko.Channel, command: str, merge: bool, eof: bool) -> None:
    """Start the command; paramiko waits for the server's reply without a limit, so the caller must set one."""
    channel.set_combine_stderr(merge)
    # File names need not be UTF-8: bytes that were not decoded are sent unchanged.
    channel.exec_command(command.encode("utf-8", "surrogateescape"))
    if eof:
        channel.shutdown_write()


def _counted(blocks: Iterable[bytes], on_bytes: Callable[[int], object]) -> Iterator[bytes]:
    for block in blocks:
        on_bytes(len(block))
        yield block
