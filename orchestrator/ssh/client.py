"""The only opener of SSH connections: commands, streams, folders and tunnels over connections that are kept.

Every call ends by its deadline, whatever the network does. Every failure to connect is a ConnectError whose ``kind``
says which fault it was. A host proves itself with the key that was made for it at launch, or nothing is sent to it.
"""

from __future__ import annotations

import shlex
import tarfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.core.clock import Clock
from orchestrator.core.errors import ConnectError, HostError, UsageError
from orchestrator.core.host import Host
from orchestrator.ssh.channel import WINDOW_BYTES, ChannelSession, LineSplitter, Timeouts, close_in_background
from orchestrator.ssh.connect import Connection, call_with_timeout
from orchestrator.ssh.connection_pool import LOGIN_PAUSES_S, ConnectionPool
from orchestrator.ssh.openssh import command_line, write_ssh_config
from orchestrator.ssh.tar_stream import ChunkReader, OnSkipped, pack, unpack
from orchestrator.ssh.tunnel import Tunnel

if TYPE_CHECKING:
    import paramiko

__all__ = ["CommandResult", "Connection", "SshClient", "Tunnel", "command_line", "quote", "write_ssh_config"]

SILENCE_TIMEOUT_S = 30.0

_NOTHING_THERE = 66

Respond = Callable[[str], Iterable[bytes] | None]
"""Told every line of output; what it returns is sent to the command as input."""


def quote(*words: str) -> str:
    """Return ``words`` as one command for a POSIX shell that sees each of them unchanged, whatever it holds.

    :raises UsageError: for a NUL, which no argument of a command can hold.
    """
    if any("\0" in word for word in words):
        raise UsageError("a NUL byte cannot be part of a command")
    return shlex.join(words)


@dataclass(frozen=True)
class CommandResult:
    """What a command answered.

    :param host: name of the host.
    :param exit_status: None when the command was killed by a signal.
    :param seconds: from the question to the whole answer.
    """

    host: str
    command: str
    stdout: str
    stderr: str
    exit_status: int | None
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether the command ended with exit status 0."""
        return self.exit_status == 0

    def raise_if_failed(self, message: str) -> CommandResult:
        """Return this reply if it is ok.

        :param what: what failed otherwise, in words.
        :raises HostError: with the last line that the command said.
        """
        if self.ok:
            return self
        said = (self.stderr.strip() or self.stdout.strip()).splitlines()
        how = "killed by a signal" if self.exit_status is None else f"exit {self.exit_status}"
        raise HostError(f"{message}: {said[-1].strip() if said else 'no word why'} ({how})", where=self.host)


class SshClient:
    """Connections to hosts: opened when first needed, kept, shared by all threads, reopened once when they went stale.

    :param clock: time for work on hosts done with this client; its own deadlines follow the system's clock, as those
        of sockets do.
    :param connect_timeout_s: seconds for opening a connection, all in all.
    :param login_pauses_s: seconds between login attempts of :meth:`wait_until_ready`; one attempt more than pauses.
    """

    def __init__(
        self, clock: Clock, *, connect_timeout_s: float = 10.0, login_pauses_s: tuple[float, ...] = LOGIN_PAUSES_S
    ) -> None:
        self.clock = clock
        self._new_pool = partial(ConnectionPool, connect_timeout_s, login_pauses_s)
        self._pool = self._new_pool()
        self._tunnels: list[Tunnel] = []

    def __enter__(self) -> SshClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def connect(self, host: Host) -> Connection:
        """Return a living connection to ``host``, the kept one if there is one.

        :raises ConnectError: see :func:`orchestrator.ssh.connect.open_connection` for its kinds.
        """
        return self._pool.connect(host)

    def wait_until_ready(
        self, host: Host, *, timeout_s: float, failure_reason: Callable[[], str] | None = None
    ) -> float:
        """Wait until a session with ``host`` is up.

        :param deadline: seconds to wait at most.
        :param alive: asked between attempts; says why the machine died, or nothing while it lives.
        :return: seconds waited.
        :raises ConnectError: the last attempt's, at the deadline; at once for a wrong host key or an unusable key
            file; after a few tries for a refused login.
        :raises HostError: when the machine died meanwhile.
        """
        return self._pool.wait_until_ready(host, timeout_s, failure_reason)

    def run(self, host: Host, command: str, *, timeout_s: float = 30.0, stdin: bytes = b"") -> CommandResult:
        """Ask a short question: run ``command`` in the login shell and return all it says.

        Safe to call from many threads: each call has a channel of its own on the shared connection.

        :param timeout: seconds for everything, connecting included; it holds in a silent partition, too.
        :param stdin: the command's whole input.
        :raises ConnectError: no session, or kind ``lost``: no answer in time, or the connection ended meanwhile.
        :raises HostError: when the command talked, but was not done in time.
        """
        started = time.monotonic()
        limits = Timeouts(deadline=started + timeout_s)
        said = {1: bytearray(), 2: bytearray()}
        with self._exchange(host, command, limits, eof=not stdin) as talk:
            if stdin:
                talk.send([stdin])
                talk.end_input()
            for stream, data in talk.output():
                said[stream] += data
            status = talk.exit_status()
        out, err = (bytes(data).decode("utf-8", errors="replace") for data in said.values())
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
        """Run ``command`` and hand on its lines (both outputs, merged) as they come.

        :param on_line: called with every line, in this thread; a line longer than 64 KiB comes in pieces.
        :param feed: called with every line after ``on_line``; the chunks that it returns go to the command's input, in
            order, and are asked for (on another thread) only as the host takes them. Without it, input ends after
            ``stdin``; with it, when the command does.
        :param stdin: first input; chunks of an iterable are treated as those of ``feed``.
        :param silence: seconds without output, and without input being taken, after which the host counts as lost.
        :param deadline: seconds for everything; None: as long as it takes.
        :return: exit status; -1 when the command was killed by a signal.
        :raises ConnectError: no session, or kind ``lost``.
        :raises HostError: when the deadline passed. What ``on_line``, ``feed`` and their chunks raise is handed on.
        """
        limits = Timeouts(silence_timeout_s, None if timeout_s is None else time.monotonic() + timeout_s)
        with self._exchange(host, command, limits, merge=True, eof=not stdin and respond is None) as talk:
            if stdin:
                talk.send([stdin] if isinstance(stdin, bytes) else stdin)
            if stdin and respond is None:
                talk.end_input()
            for line in _each_line(talk):
                on_line(line)
                answer = respond(line) if respond else None
                if answer is not None:
                    talk.send(answer)
            status = talk.exit_status()
        return -1 if status is None else status

    def fetch(
        self, host: Host, remote: str, local: Path, *, timeout_s: float = 3600.0, on_skipped: OnSkipped | None = None
    ) -> int:
        """Copy the content of the folder ``remote`` into ``local``, as one compressed stream.

        :param remote: absolute, or relative to the login's home.
        :param local: made if need be; files there are replaced, others stay.
        :param timeout: seconds for everything; silence of 30 s ends it sooner.
        :param left_out: called with (name, why) for devices, and for links to anything but a file inside the folder.
        :return: bytes of all files.
        :raises HostError: nothing is at ``remote``, it could not be read or written here, or a name points outside.
        :raises ConnectError: no session, or kind ``lost``.
        """
        folder = remote if remote.startswith("/") else f"./{remote}"
        command = f"test -d {quote(folder)} || exit {_NOTHING_THERE}; exec tar -C {quote(folder)} -czf - ."
        complaints = bytearray()
        problem: Exception | None = None
        total = 0
        with self._exchange(host, command, Timeouts(SILENCE_TIMEOUT_S, time.monotonic() + timeout_s), eof=True) as talk:
            source = ChunkReader(_only_stdout(talk, complaints))
            try:
                local.mkdir(parents=True, exist_ok=True)
                total = unpack(source, local, on_skipped or _ignore)
            except (tarfile.TarError, EOFError) as error:
                problem = error
            except OSError as error:
                what = f"cannot write {error.filename or local}: {error.strerror or error}"
                raise HostError(what, where=host.name) from error
            source.skip_rest()
            status = talk.exit_status()
        # Exit 1 of tar means that a file changed while it was read: the job still writes.
        if problem is not None or status not in (0, 1):
            raise _not_fetched(host, remote, status, complaints) from problem
        return total

    def send(self, host: Host, source: Path | bytes, remote: str, *, timeout_s: float = 3600.0) -> None:
        """Copy bytes to the file ``remote``, or the content of a local folder into the folder ``remote``.

        :raises HostError: when it could not be written there.
        :raises ConnectError: no session, or kind ``lost``.
        """
        place = quote(remote if remote.startswith("/") else f"./{remote}")
        said: list[str] = []
        if isinstance(source, bytes):
            command, content = f"cat >{place}", iter([source])
        else:
            command, content = f"mkdir -p {place} && exec tar -C {place} -xzf -", pack(source)
        status = self.stream(host, command, stdin=content, on_line=said.append, timeout_s=timeout_s)
        CommandResult(host.name, command, "\n".join(said), "", status, 0.0).raise_if_failed(f"could not write {remote}")

    def forward(self, host: Host, port: int, *, target_address: str = "", local_port: int = 0) -> Tunnel:
        """Open a tunnel: ``Tunnel.address`` and ``Tunnel.port`` on this computer lead to ``port`` over there.

        :param to: the target's address as ``host`` sees it; empty: the host's own private address.
        :param local_port: 0 takes a free one.
        :raises ConnectError: no session.
        :raises HostError: when the local port is taken.
        """
        self._pool.connect(host)
        tunnel = Tunnel(partial(self._dial, host, (target_address or host.private_address, port)), local_port)
        self._tunnels.append(tunnel)
        return tunnel

    def disconnect(self, host: Host) -> None:
        """Close the connection to ``host``, if there is one: the machine is gone, or about to be."""
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
        """A channel to ``target`` as ``host`` reaches it."""

        def opening(transport: paramiko.Transport, seconds: float) -> paramiko.Channel:
            # One second more than our own limit: a timeout of paramiko's cannot be told from a refusal.
            return transport.open_channel("direct-tcpip", target, source, window_size=WINDOW_BYTES, timeout=seconds + 1)

        return self._pool.open_channel(host, time.monotonic() + self._pool.timeout_s, opening, prompt=False)

    def _exchange(
        self, host: Host, command: str, limits: Timeouts, *, merge: bool = False, eof: bool = False
    ) -> ChannelSession:
        """Begin a command.

        :param merge: both outputs come as one.
        :param eof: it gets no input.
        """
        import paramiko

        started = time.monotonic()
        until = started + (limits.silence_s or SILENCE_TIMEOUT_S) if limits.deadline is None else limits.deadline
        channel = self._pool.open_channel(host, until, _session)
        try:
            call_with_timeout(partial(_begin, channel, command, merge, eof), until - time.monotonic())
            return ChannelSession(host, channel, limits, started)
        except (OSError, EOFError, paramiko.SSHException) as error:
            # Not tried again: nobody can tell whether the command has begun.
            transport = channel.transport
            close_in_background(channel)
            if not isinstance(error, TimeoutError) and transport is not None and transport.is_active():
                raise HostError("ssh: the server refused to run a command", where=host.name) from error
            waited = time.monotonic() - started
            raise ConnectError("lost", f"ssh: no answer within {waited:.0f} s", where=host.name) from error


def _session(transport: paramiko.Transport, seconds: float) -> paramiko.Channel:
    # One second more than our own limit: a timeout of paramiko's cannot be told from a refusal.
    return transport.open_session(window_size=WINDOW_BYTES, timeout=seconds + 1)


def _begin(channel: paramiko.Channel, command: str, merge: bool, eof: bool) -> None:
    """Start the command; paramiko waits for the server's word without any limit, so the caller must set one."""
    channel.set_combine_stderr(merge)
    # Names of files need not be UTF-8, and must arrive as they are.
    channel.exec_command(command.encode("utf-8", "surrogateescape"))
    if eof:
        channel.shutdown_write()


def _each_line(talk: ChannelSession) -> Iterator[str]:
    lines = LineSplitter()
    for _, data in talk.output():
        yield from lines.feed(data)
    yield from lines.flush()


def _only_stdout(talk: ChannelSession, complaints: bytearray) -> Iterator[bytes]:
    """The standard output; the end of the error output is kept aside."""
    for stream, data in talk.output():
        if stream == 1:
            yield data
        else:
            complaints += data
            del complaints[:-4096]


def _not_fetched(host: Host, remote: str, status: int | None, complaints: bytearray) -> HostError:
    if status == _NOTHING_THERE:
        return HostError(f"nothing at {remote}: no such folder", where=host.name)
    said = complaints.decode("utf-8", errors="replace").strip().splitlines()
    return HostError(f"could not fetch {remote}: {said[-1] if said else f'tar ended with {status}'}", where=host.name)


def _ignore(name: str, why: str) -> None:
    """Not everyone wants to know."""
