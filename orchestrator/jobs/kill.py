"""Kill every process of jobs on hosts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.core import remote_scripts
from orchestrator.core.host import Host
from orchestrator.hosts import parallel
from orchestrator.hosts.commands import marked_lines, script_error

if TYPE_CHECKING:
    from orchestrator.ssh import SshClient

KILL_TIMEOUT_S = 90.0
"""Every run gets 5 s to end by itself, and its containers another 5 s; all runs of a host at once."""


@dataclass(frozen=True)
class HostKill:
    """What an end to all runs did on one host.

    :param runs: those that something was left of.
    :param left: processes and containers that would not go; 0 is the answer to expect.
    :param stuck: what they are, a line each.
    """

    host: str
    runs: tuple[str, ...]
    left: int
    stuck: tuple[str, ...] = ()


@dataclass(frozen=True)
class KillReport:
    """What an end to all runs did.

    :param failed: name of every host that could not be asked -> why.
    """

    hosts: tuple[HostKill, ...]
    failed: Mapping[str, Exception]


def kill_all(ssh: SshClient, hosts: Sequence[Host]) -> KillReport:
    """End every process and container of every run of ours, also those that nobody follows and whose folder is gone."""
    content = remote_scripts.bundle(remote_scripts.scripts(("killall.sh", "cancel.sh")))

    def one(host: Host) -> HostKill:
        reply = ssh.run(host, remote_scripts.bundle_command("killall.sh"), stdin=content, timeout_s=KILL_TIMEOUT_S)
        left = marked_lines(reply.stdout, "@@left")
        if not left:
            raise script_error(reply, "its runs could not be ended")
        stuck = [line for line in reply.stdout.splitlines() if not line.startswith("@@")]
        return HostKill(host.name, tuple(marked_lines(reply.stdout, "@@ended")), int(left[-1]), tuple(stuck))

    outcomes = parallel.for_each(hosts, one, clock=ssh.clock)
    return KillReport(tuple(outcomes.successful_values()), outcomes.errors)
