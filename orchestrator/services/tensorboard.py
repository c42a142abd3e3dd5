"""Use case: TensorBoard on a host, reached through a tunnel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.core.errors import HostsFailed
from orchestrator.core.events import EventHandler
from orchestrator.core.host import Host, HostSource
from orchestrator.core.next_step import NextStep
from orchestrator.hosts import parallel, tensorboard
from orchestrator.install import steps
from orchestrator.install.installer import Installer

if TYPE_CHECKING:
    from orchestrator.config.settings import InstallSettings
    from orchestrator.hosts.tunnels import Tunnels
    from orchestrator.ssh import SshClient

FIRST_PORT = 6006
"""TensorBoard's usual port."""


@dataclass(frozen=True)
class TensorBoardPage:
    """An open tunnel to a host's TensorBoard.

    :param logs: folder that it shows, as it was named.
    :param url: address for a browser on this computer.
    :param close: closes the tunnel; TensorBoard continues.
    """

    host: str
    logs: str
    url: str
    close: Callable[[], None] = field(repr=False)


@dataclass(frozen=True)
class TensorBoardStop:
    """End of a host's TensorBoards.

    :param count: number of those that ran.
    """

    host: str
    count: int


@dataclass(frozen=True)
class TensorBoardService:
    """TensorBoard on the hosts of one source.

    :param logs_folder: returns the folder of the hosts' install logs.
    """

    source: HostSource
    ssh: SshClient
    tunnels: Tunnels
    settings: InstallSettings
    on_event: EventHandler
    logs_folder: Callable[[], Path]

    def open(self, logs: str, name: str = "", run_id: str = "") -> TensorBoardPage:
        """Install and start TensorBoard on a host, or find the one that runs there, and open a tunnel to it.

        It continues without this computer, on the host's loopback address.

        :param logs: folder on the host: absolute, or relative to the working directory of a run.
        :param name: of the host; the first when empty.
        :param run_id: the run's id, or its end; the newest on the host when empty.
        :raises UsageError: there is no such run or folder.
        :raises HostsFailed: it could not be installed.
        """
        host = self._host(name)
        self._install(host)
        port = tensorboard.start(self.ssh, host, logs, run_id)
        tunnel = self.tunnels.open(host, port, purpose="TensorBoard", port=FIRST_PORT)
        return TensorBoardPage(host.name, logs, f"http://{tunnel.address}:{tunnel.port}/", tunnel.close)

    def stop(self, name: str = "") -> TensorBoardStop:
        """End all TensorBoards on a host.

        :param name: of the host; the first when empty.
        """
        host = self._host(name)
        return TensorBoardStop(host.name, tensorboard.stop(self.ssh, host))

    def _host(self, name: str) -> Host:
        return self.source.hosts([name] if name else [])[0]

    def _install(self, host: Host) -> None:
        again = NextStep("TensorBoard")
        installer = Installer(
            self.ssh,
            steps.tensorboard_plan(self.settings),
            self.logs_folder(),
            self.on_event,
            timeout_s=self.settings.timeout,
            again=again,
        )
        outcomes = parallel.for_each([host], lambda item: installer(self.source.ready(item)), clock=self.ssh.clock)
        self.source.all_ready()
        if outcomes.failed:
            raise HostsFailed("TensorBoard could not be installed", outcomes.errors, fix=again + " tries again")
