"""Use case: TensorBoard on a host, reached through a tunnel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrator.core.next_step import NextStep
from orchestrator.hosts import tensorboard
from orchestrator.install import steps

if TYPE_CHECKING:
    from orchestrator.hosts.tunnels import Tunnels
    from orchestrator.install.host_tools import HostTools

FIRST_PORT = 6006
"""TensorBoard's usual port."""

PURPOSE = "TensorBoard"
"""Of its tunnels, in their list."""


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

    :param tools: installs it.
    """

    tools: HostTools
    tunnels: Tunnels

    def open(self, logs: str, name: str = "", run_id: str = "") -> TensorBoardPage:
        """Install and start TensorBoard on a host, or find the one that runs there, and open a tunnel to it.

        It continues without this computer, on the host's loopback address.

        :param logs: folder on the host: absolute, or relative to the working directory of a run.
        :param name: of the host; the first when empty.
        :param run_id: the run's id, or its end; the newest on the host when empty.
        :raises UsageError: there is no such run or folder.
        :raises HostsFailed: it could not be installed.
        """
        host = self.tools.host(name)
        self.tools.install(host, steps.tensorboard_plan(self.tools.settings), "TensorBoard", NextStep("TensorBoard"))
        port = tensorboard.start(self.tools.ssh, host, logs, run_id)
        tunnel = self.tunnels.open(host, port, purpose=PURPOSE, port=FIRST_PORT)
        return TensorBoardPage(host.name, logs, f"http://{tunnel.address}:{tunnel.port}/", tunnel.close)

    def stop(self, name: str = "") -> TensorBoardStop:
        """End all TensorBoards on a host, and close the tunnels to them.

        :param name: of the host; the first when empty.
        """
        host = self.tools.host(name)
        count = tensorboard.stop(self.tools.ssh, host)
        self.tunnels.close(host, PURPOSE)
        return TensorBoardStop(host.name, count)
