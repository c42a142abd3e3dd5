"""What can be asked of all hosts at once, whichever run they are at: a part of the session."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from orchestrator.hosts import commands, usage
from orchestrator.jobs import kill

if TYPE_CHECKING:
    from orchestrator.services.cluster import Cluster

COMMAND_S = 600.0


class Everywhere:
    """Methods of :class:`orchestrator.session.Session`."""

    cluster: Cluster

    def kill_all(self) -> kill.KillReport:
        """End every process and container of every run on every host, whatever started it."""
        return kill.kill_all(self.cluster.ssh, self.cluster.hosts())

    def use(self, names: Sequence[str] = ()) -> usage.UsageReport:
        """Return what the GPUs, cores and processes of the hosts are doing.

        :param names: only these hosts; all when empty.
        """
        return usage.query(self.cluster.ssh, self.cluster.hosts(names))

    def run_command(
        self,
        command: str,
        *,
        names: Sequence[str] = (),
        timeout: float = COMMAND_S,
        on_line: Callable[[str, str], None] = lambda host, line: None,
    ) -> commands.CommandReport:
        """Run a shell command on every host at the same time.

        :param names: only these hosts; all when empty.
        :param timeout: seconds that it may take.
        :param on_line: called with (host, line), from one thread per host.
        """
        hosts = self.cluster.hosts(names)
        return commands.run(self.cluster.ssh, hosts, command, on_line=on_line, timeout_s=timeout)
