"""SSH session of a host: a shell or a command, with or without a terminal, or a file transfer."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import asyncssh
from asyncssh.channel import SSHChannel
from asyncssh.stream import SSHServerStreamSession

from localcloud.hosts.hostile.behavior import Hostility
from localcloud.hosts.hostile.sender import HostileAnswer
from localcloud.hosts.process import pty
from localcloud.hosts.process.children import Child, Children, Command, StandardStreams
from localcloud.hosts.process.streams import InputStream, OutputStream, enlarge_pipe

Channel = asyncssh.SSHServerChannel[bytes]

# Commands that the client side of scp(1) sends; any other command of that name is run.
_SCP = re.compile(r"scp( -[A-Za-z]+)* (-[A-Za-z]*[tf][A-Za-z]*)( |$)")
_CANNOT_EXECUTE = 126
_SFTP_VERSION = 3


@dataclass(frozen=True)
class LoginEnvironment:
    """Settings of every session of a host.

    :param children: starts and reaps its programs.
    :param variables: returns the variables of every program.
    :param home: working directory.
    :param shell: login shell, which also runs commands.
    :param hostility: returns the behavior of a hostile host; None if it is not.
    """

    children: Children
    variables: Callable[[], dict[str, str]]
    home: Path
    shell: str
    hostility: Callable[[], Hostility | None] = lambda: None


class SshSession(asyncssh.SSHServerSession[bytes]):
    """A ``session`` channel with the behavior of OpenSSH's sshd.

    A program outlives its connection. Without a terminal the channel stays open until every holder of the program's
    output has closed it; with a terminal it closes as soon as the program ends.
    """

    def __init__(self, login: LoginEnvironment) -> None:
        self._login = login
        self._command: str | None = None
        self._terminal: pty.Terminal | None = None
        self._transfer: SSHServerStreamSession[bytes] | None = None
        self._child: Child | None = None
        self._inflow: InputStream | None = None
        self._outflows: list[OutputStream] = []
        self._master: int | None = None
        self._hostile: HostileAnswer | None = None

    def connection_made(self, chan: Channel) -> None:
        """Store the channel."""
        self._channel = chan

    def pty_requested(
        self, term_type: str, term_size: tuple[int, int, int, int], term_modes: Mapping[int, int]
    ) -> bool:
        """Store the client's terminal for the program."""
        self._terminal = pty.Terminal(term_type, term_size, term_modes)
        return True

    def shell_requested(self) -> bool:
        """Accept: a login shell is always allowed."""
        return True

    def exec_requested(self, command: str) -> bool:
        """Accept any command; scp's file transfers are served here, because the computer may have no scp."""
        self._command = command
        if _SCP.match(command):
            self._serve_files()
        return True

    def subsystem_requested(self, subsystem: str) -> bool:
        """Accept file transfer, the only subsystem."""
        if subsystem != "sftp":
            return False
        self._serve_files()
        return True

    def _serve_files(self) -> None:
        self._transfer = SSHServerStreamSession(None, _sftp_server, _SFTP_VERSION, True)
        self._transfer.connection_made(cast(Channel, _TransferChannel(self._channel)))

    def session_started(self) -> None:
        """Start the program or file transfer."""
        if self._transfer is not None:
            self._transfer.session_started()
            return
        if (hostility := self._login.hostility()) is not None and hostility.answers(self._command):
            self._hostile = HostileAnswer(self._channel, hostility.how)
            return
        try:
            self._start_program()
        except OSError as error:
            self._channel.write_stderr(f"{self._login.shell}: {error.strerror}\r\n".encode())
            self._channel.exit(_CANNOT_EXECUTE)

    def _start_program(self) -> None:
        environment = self._login.variables() | self._connection_variables()
        if self._command is None:
            argv = ["-" + os.path.basename(self._login.shell)]
        else:
            argv = [self._login.shell, "-c", self._command]
        command = Command(argv, environment, self._login.home, self._login.shell)
        child = self._on_terminal(command, self._terminal) if self._terminal else self._on_pipes(command)
        child.ended.add_done_callback(lambda _: self._close_when_done())
        self._child = child

    def _connection_variables(self) -> dict[str, str]:
        client, server = (self._channel.get_extra_info(name) for name in ("peername", "sockname"))
        variables = {"SSH_CONNECTION": f"{client[0]} {client[1]} {server[0]} {server[1]}"}
        return variables | ({"TERM": self._terminal.kind or "dumb"} if self._terminal else {})

    def _on_pipes(self, command: Command) -> Child:
        with contextlib.ExitStack() as child_ends, contextlib.ExitStack() as parent_ends:
            pipes = [os.pipe() for _ in range(3)]
            (stdin, stdin_writer), (stdout_reader, stdout), (stderr_reader, stderr) = pipes
            for end in (stdin, stdout, stderr):
                child_ends.callback(os.close, end)
            for end in (stdin_writer, stdout_reader, stderr_reader):
                parent_ends.callback(os.close, end)
                enlarge_pipe(end)
            child = self._login.children.spawn(command, StandardStreams(stdin, stdout, stderr))
            parent_ends.pop_all()
        self._take_input(stdin_writer)
        self._take_output(stdout_reader, self._channel.write)
        self._take_output(stderr_reader, self._channel.write_stderr)
        return child

    def _on_terminal(self, command: Command, terminal: pty.Terminal) -> Child:
        master, slave = pty.open_pair(terminal)
        try:
            child = self._login.children.spawn(command, StandardStreams(slave, slave, slave, pty.make_controlling))
        except OSError:
            os.close(master)
            raise
        finally:
            os.close(slave)
        self._master = master
        # Input and output are closed independently, so each needs a descriptor.
        self._take_input(os.dup(master))
        self._take_output(master, self._channel.write)
        return child

    def _take_input(self, descriptor: int) -> None:
        channel = self._channel
        self._inflow = InputStream(descriptor, pause=channel.pause_reading, resume=channel.resume_reading)

    def _take_output(self, descriptor: int, write: Callable[[bytes], None]) -> None:
        self._outflows.append(OutputStream(descriptor, write=write, ended=self._close_when_done))

    def _close_when_done(self) -> None:
        """End the session once its program has ended and all of its output was passed on."""
        if self._child is None or not self._child.ended.done():
            return
        if self._master is not None:
            for flow in self._outflows:
                flow.drain()
        if not any(flow.open for flow in self._outflows):
            self._finish(self._child.ended.result())

    def _finish(self, code: int) -> None:
        # The client may have closed the channel before the program ended.
        if self._channel.is_closing():
            return
        if code >= 0:
            self._channel.exit(code)
        else:
            # Real-time signals have no name in RFC 4254.
            is_named = -code in signal.Signals.__members__.values()
            self._channel.exit_with_signal(signal.Signals(-code).name.removeprefix("SIG") if is_named else "KILL")

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        """Pass the client's data on to the program."""
        if self._transfer is not None:
            self._transfer.data_received(data, datatype)
        elif self._inflow is not None:
            self._inflow.feed(data)

    def eof_received(self) -> bool:
        """Close the program's input once it has read everything; a terminal has no end of input, as with sshd."""
        if self._transfer is not None:
            return bool(self._transfer.eof_received())
        if self._inflow is not None and self._master is None:
            self._inflow.finish()
        return True

    def pause_writing(self) -> None:
        """Stop reading from the program: the client is slower."""
        if self._transfer is not None:
            self._transfer.pause_writing()
        if self._hostile is not None:
            self._hostile.pause()
        for flow in self._outflows:
            flow.pause()

    def resume_writing(self) -> None:
        """Continue reading from the program."""
        if self._transfer is not None:
            self._transfer.resume_writing()
        if self._hostile is not None:
            self._hostile.resume()
        for flow in self._outflows:
            flow.resume()

    def terminal_size_changed(self, width: int, height: int, pixwidth: int, pixheight: int) -> None:
        """Pass the new size on to the terminal."""
        if self._master is not None and any(flow.open for flow in self._outflows):
            pty.resize(self._master, (width, height, pixwidth, pixheight))

    def signal_received(self, signal: str) -> None:
        """Signal the program and its process group."""
        number = _signal_number(signal)
        if self._child is not None and number is not None:
            self._child.signal(number)

    def break_received(self, msec: int) -> bool:  # noqa: ARG002 - asyncssh passes it
        """Refuse: there is no serial line."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Close all streams. The program continues, and gets SIGPIPE or, on a terminal, SIGHUP."""
        if self._transfer is not None:
            self._transfer.connection_lost(exc)
        if self._hostile is not None:
            self._hostile.close()
        for flow in self._outflows:
            flow.close()
        if self._inflow is not None:
            self._inflow.close()


class _TransferChannel:
    """The channel of a file transfer, which ends with an exit status, as that of sshd's sftp-server does.

    asyncssh only closes it, which OpenSSH's scp and sftp report as a failure of everything that was transferred.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)

    def close(self) -> None:
        """Report success, and close; a failed transfer has reported its own status by then."""
        if not self._channel.is_closing():
            self._channel.exit(0)


def _signal_number(name: str) -> int | None:
    with contextlib.suppress(KeyError):
        return signal.Signals[f"SIG{name}"]
    return None


def _sftp_server(channel: SSHChannel[bytes]) -> asyncssh.SFTPServer:
    return asyncssh.SFTPServer(cast(Channel, channel))
