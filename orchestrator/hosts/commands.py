"""Run one command on many hosts."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.core.host import Host
from orchestrator.hosts import parallel

if TYPE_CHECKING:
    from orchestrator.ssh import SshClient


MAX_LINES = 10_000


@dataclass(frozen=True)
class CommandOutput:
    """What a command came to on one host.

    :param status: its exit status; -1 when a signal ended it.
    :param lines: what it said, the last 10,000 lines of it.
    """

    host: str
    exit_status: int
    lines: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class CommandReport:
    """What a command came to on all hosts.

    :param failed: name of every host where nobody knows -> why.
    """

    command: str
    hosts: tuple[CommandOutput, ...]
    failed: Mapping[str, Exception]


def run(
    ssh_client: SshClient, hosts: Sequence[Host], command: str, *, on_line: Callable[[str, str], None], timeout_s: float
) -> CommandReport:
    """Run a shell command on every host at the same time.

    :param on_line: called with (host, line) as lines come, from one thread per host.
    :param timeout: seconds that it may take.
    """

    def one(host: Host) -> CommandOutput:
        began = time.monotonic()
        said: deque[str] = deque(maxlen=MAX_LINES)

        def line(text: str) -> None:
            said.append(text)
            on_line(host.name, text)

        status = ssh_client.stream(host, command, on_line=line, silence_timeout_s=timeout_s, timeout_s=timeout_s)
        return CommandOutput(host.name, status, tuple(said), time.monotonic() - began)

    outcomes = parallel.for_each(hosts, one)
    return CommandReport(command, tuple(outcomes.successful_values()), outcomes.errors)
