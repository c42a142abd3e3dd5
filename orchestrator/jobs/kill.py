"""Kill every process of jobs on hosts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.core import remote_scripts
from orchestrator.core.host import Host
from orchestrator.hosts import parallel
from orchestrator.hosts.commands import script_error
from orchestrator.jobs import host_output

if TYPE_CHECKING:
    from orchestrator.ssh import SshClient

KILL_TIMEOUT_S = 90.0
"""Every run gets 5 s to end by itself, and its containers another 5 s; all runs of a host at once."""


@dataclass(frozen=True)
class HostKill:
    """Result of killing all runs on one host.

    :param runs: ids of those that had processes or containers left.
    :param left: number of processes and containers that could not be killed; 0 is the expected number.
    :param stuck: one line for each of them.
    """

    host: str
    runs: tuple[str, ...]
    left: int
    stuck: tuple[str, ...] = ()


@dataclass(frozen=True)
class KillReport:
    """Result of killing all runs.

    :param failed: name of every host that could not be reached -> why.
    """

    hosts: tuple[HostKill, ...]
    failed: Mapping[str, Exception]


def kill_all(ssh: SshClient, hosts: Sequence[Host]) -> KillReport:
    """Kill every process and container of every run, including those whose folder is gone."""
    # cancel.sh travels along: the copy in a run's folder may be gone, or of another version.
    content = remote_scripts.bundle(remote_scripts.scripts(("killall.sh", "cancel.sh")))

    def kill_on(host: Host) -> HostKill:
        result = ssh.run(host, remote_scripts.bundle_command("killall.sh"), stdin=content, timeout_s=KILL_TIMEOUT_S)
        output = host_output.parse_kill(result.stdout)
        if output.left is None:
            raise script_error(result, "its runs could not be killed")
        return HostKill(host.name, output.run_ids, output.left, output.stuck)

    outcomes = parallel.for_each(hosts, kill_on, clock=ssh.clock)
    return KillReport(tuple(outcomes.successful_values()), outcomes.errors)
