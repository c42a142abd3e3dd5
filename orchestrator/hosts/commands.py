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
    from orchestrator.ssh import Links


LINES_KEPT = 10_000


@dataclass(frozen=True)
class Answered:
    """What a command came to on one host.

    :param status: its exit status; -1 when a signal ended it.
    :param lines: what it said, the last 10,000 lines of it.
    """

    host: str
    status: int
    lines: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class CommandReport:
    """What a command came to on all hosts.

    :param failed: name of every host where nobody knows -> why.
    """

    command: str
    hosts: tuple[Answered, ...]
    failed: Mapping[str, Exception]


def run(
    links: Links, hosts: Sequence[Host], command: str, *, on_line: Callable[[str, str], None], timeout: float
) -> CommandReport:
    """Run a shell command on every host at the same time.

    :param on_line: called with (host, line) as lines come, from one thread per host.
    :param timeout: seconds that it may take.
    """

    def one(host: Host) -> Answered:
        began = time.monotonic()
        said: deque[str] = deque(maxlen=LINES_KEPT)

        def line(text: str) -> None:
            said.append(text)
            on_line(host.name, text)

        status = links.stream(host, command, on_line=line, silence=timeout, deadline=timeout)
        return Answered(host.name, status, tuple(said), time.monotonic() - began)

    outcomes = parallel.each(hosts, one)
    return CommandReport(command, tuple(outcomes.values_in_order()), outcomes.errors)
