"""Use cases on hosts, independent of any run: usage, commands, terminals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.core.events import EventHandler, ignore_event
from orchestrator.core.host import HostSource
from orchestrator.hosts import commands
from orchestrator.hosts.recent_hosts import RecentHosts

# A command needs nothing but `commands`.
if TYPE_CHECKING:
    from orchestrator.hosts import usage
    from orchestrator.hosts.transfer import HostTransfer
    from orchestrator.hosts.tunnels import OpenTunnel, PortTunnel, Tunnels
    from orchestrator.install.sending import HostTransfers
    from orchestrator.ssh import SshClient

COMMAND_TIMEOUT_S = 600.0
ALL = "all"
"""In the place of names: every host."""


class HostService:
    """The hosts of one source.

    :param ssh_folder: folder of this computer for OpenSSH's config and known hosts.
    :param logs_folder: returns the folder of the hosts' install logs.
    :param tunnels: returns the open tunnels.
    :param recent: the hosts of the same source, for commands that follow one another.
    """

    def __init__(
        self,
        source: HostSource,
        ssh: SshClient,
        ssh_folder: Path,
        tunnels: Callable[[], Tunnels],
        recent: RecentHosts,
        logs_folder: Callable[[], Path],
        on_event: EventHandler = ignore_event,
    ) -> None:
        self._on_event = on_event
        self._logs_folder = logs_folder
        self._recent = recent
        self.source = source
        self._tunnels = tunnels
        self.ssh = ssh
        self.ssh_folder = ssh_folder

    def usage(self, names: Sequence[str] = ()) -> usage.UsageReport:
        """Return the load of hosts: GPUs, cores and processes.

        :param names: only these hosts; all when empty.
        """
        from orchestrator.hosts import usage
        from orchestrator.hosts.disk_room import FullDisks

        full_disks = FullDisks(self._logs_folder, self.ssh.clock.now)
        return usage.query(self.ssh, self._recent.hosts(names), full_disks)

    def run_command(
        self,
        command: str,
        *,
        names: Sequence[str] = (),
        timeout_s: float = COMMAND_TIMEOUT_S,
        on_line: Callable[[str, str], None] = lambda host, line: None,
    ) -> commands.CommandReport:
        """Run a shell command on every host at the same time.

        :param names: only these hosts; all when empty.
        :param timeout_s: seconds after which it counts as failed on a host.
        :param on_line: called with (host, line), from one thread per host.
        """
        return commands.run(self.ssh, self._recent.hosts(names), command, on_line=on_line, timeout_s=timeout_s)

    def send(self, path: Path, names: Sequence[str] = (), remote: str = "") -> HostTransfers:
        """Send a file or a folder to hosts; of several, each gets it from this computer or from another one.

        :param names: of the hosts; the first when empty, all for ``all``.
        :param remote: its path there, absolute or below the login's home; empty for the same name.
        """
        from orchestrator.install.sending import Sending

        hosts = self.source.hosts([] if list(names) == [ALL] else names)
        return Sending(self.ssh, self._on_event, self._logs_folder).send(hosts if names else hosts[:1], path, remote)

    def receive(self, remote: str, path: Path, name: str = "") -> HostTransfer:
        """Receive a file, or the content of a folder, of a host into a folder here.

        :param name: of the host; the first when empty.
        """
        from orchestrator.hosts.transfer import Transfers

        return Transfers(self.ssh, self._on_event).receive(self.source.hosts([name] if name else [])[0], remote, path)

    def tunnel(self, name: str, port: int) -> PortTunnel:
        """Open a tunnel to a port on a host's loopback address; it makes a new connection when it has lost one.

        :param port: the same on this computer, or another one if a program has it or it needs root.
        """
        return self._tunnels().open(self.source.hosts([name])[0], port, port=port)

    def open_tunnels(self) -> tuple[OpenTunnel, ...]:
        """Return the tunnels to this cluster that processes of this computer hold open."""
        return self._tunnels().listed()

    def ssh_command(self, name: str) -> list[str]:
        """Return the argv of an OpenSSH session to a host, with its host key pinned."""
        # Imported when needed: paramiko takes a third of a second.
        from orchestrator.ssh import command_line

        return command_line(self.source.hosts([name])[0], self.ssh_folder, self.ssh.clock)
