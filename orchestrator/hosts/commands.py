"""Run one command on many hosts, and read the output of remote scripts."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.core.errors import ConnectError, HostError
from orchestrator.core.host import Host
from orchestrator.core.next_step import NextStep
from orchestrator.hosts import parallel

if TYPE_CHECKING:
    from orchestrator.ssh import CommandResult, SshClient

MAX_LINES = 10_000
"""Lines of output kept per host; all of them are handed to ``on_line``."""

PROBE_TIMEOUT_S = 5.0
"""Seconds in which a host that is not lost answers."""

MAX_CHARACTERS = 4 << 20
"""Characters of output kept per host: a line may have 64 KiB."""


@dataclass(frozen=True)
class CommandOutput:
    """Result of a command on one host.

    :param exit_status: of the command; -1 when a signal ended it.
    :param lines: the last 10,000 lines of its output, of 4 Mi characters at most.
    """

    host: str
    exit_status: int
    lines: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class CommandReport:
    """Result of a command on all hosts.

    :param failed: name of every host whose exit status is unknown -> error.
    """

    command: str
    hosts: tuple[CommandOutput, ...]
    failed: Mapping[str, Exception]


class _Tail:
    """The last lines of an output; a command may print without end."""

    def __init__(self) -> None:
        self.lines: deque[str] = deque()
        self._characters = 0

    def append(self, line: str) -> None:
        """Add a line, and drop the first ones if there are too many."""
        self.lines.append(line)
        self._characters += len(line)
        while len(self.lines) > MAX_LINES or self._characters > MAX_CHARACTERS:
            self._characters -= len(self.lines.popleft())


def run(
    ssh_client: SshClient,
    hosts: Sequence[Host],
    command: str,
    *,
    on_line: Callable[[str, str], None],
    timeout_s: float,
) -> CommandReport:
    """Run a shell command on every host at the same time.

    :param on_line: called with (host, line) for every line, from one thread per host.
    :param timeout_s: seconds that it may take, in all and without output.
    """
    clock = ssh_client.clock

    def run_on(host: Host) -> CommandOutput:
        started = clock.monotonic()
        lines = _Tail()

        def keep_line(line: str) -> None:
            lines.append(line)
            on_line(host.name, line)

        try:
            # A command may be silent for its whole time, so silence has the same limit.
            status = ssh_client.stream(
                host, command, on_line=keep_line, silence_timeout_s=timeout_s, timeout_s=timeout_s
            )
        except HostError as error:
            if clock.monotonic() - started < timeout_s or (isinstance(error, ConnectError) and error.kind != "lost"):
                raise
            # A silent command is no lost host, which does not answer another one either.
            ssh_client.run(host, "true", timeout_s=PROBE_TIMEOUT_S)
            raise _overdue(host, command, timeout_s, has_output=bool(lines.lines)) from error
        return CommandOutput(host.name, status, tuple(lines.lines), clock.monotonic() - started)

    outcomes = parallel.for_each(hosts, run_on, clock=clock)
    return CommandReport(command, tuple(outcomes.successful_values()), outcomes.errors)


def _overdue(host: Host, command: str, timeout_s: float, *, has_output: bool) -> HostError:
    """Return the error of a command that takes longer than it may."""
    longer = NextStep("RunCommand", command, timeout=max(1, round(timeout_s * 10)))
    problem = "not done after" if has_output else "no output for"
    return HostError(f"{problem} {timeout_s:g} s (timeout)", where=host.name, fix=longer + "  gives it more time")


def marked_lines(output: str, mark: str) -> list[str]:
    """Return the lines of a remote script's output that begin with a mark, such as ``@@host``, without the mark."""
    return [line.removeprefix(f"{mark} ") for line in output.splitlines() if line.startswith(f"{mark} ")]


def script_error(result: CommandResult, message: str) -> HostError:
    """Return the error for a remote script whose output lacks the expected lines; it quotes the last line."""
    lines = (result.stderr or result.stdout).strip().splitlines()
    return HostError(f"{message}: {lines[-1] if lines else f'exit {result.exit_status}'}", where=result.host)
