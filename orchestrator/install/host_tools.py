"""Programs with a page, such as JupyterLab: installed on a host when they are opened, in environments of their own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.core.errors import HostsFailed
from orchestrator.core.events import EventHandler
from orchestrator.core.host import Host, HostSource
from orchestrator.core.next_step import NextStep
from orchestrator.hosts import parallel
from orchestrator.install.installer import Installer

if TYPE_CHECKING:
    from orchestrator.config.settings import InstallSettings
    from orchestrator.install.steps import InstallPlan
    from orchestrator.ssh import SshClient


@dataclass(frozen=True)
class HostTools:
    """Installs programs on the hosts of one source.

    :param logs_folder: returns the folder of the hosts' install logs.
    """

    source: HostSource
    ssh: SshClient
    settings: InstallSettings
    on_event: EventHandler
    logs_folder: Callable[[], Path]

    def host(self, name: str = "") -> Host:
        """Return a host.

        :param name: the first host when empty.
        :raises UsageError: no host is up, or none of that name.
        """
        return self.source.hosts([name] if name else [])[0]

    def install(self, host: Host, plan: InstallPlan, tool: str, again: NextStep) -> None:
        """Install a program on a host, or check that it is there.

        :param tool: its name, for the error.
        :param again: verb that tries again.
        :raises HostsFailed: it could not be installed.
        """
        installer = Installer(
            self.ssh, plan, self.logs_folder(), self.on_event, timeout_s=self.settings.timeout, again=again
        )
        outcomes = parallel.for_each([host], lambda item: installer(self.source.ready(item)), clock=self.ssh.clock)
        self.source.all_ready()
        if outcomes.failed:
            raise HostsFailed(f"{tool} could not be installed", outcomes.errors, fix=again + " tries again")
