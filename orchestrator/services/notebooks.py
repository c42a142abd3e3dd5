"""Use case: JupyterLab on a host, reached through a tunnel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrator.core.errors import StratusError
from orchestrator.core.next_step import NextStep
from orchestrator.hosts import notebooks
from orchestrator.install import steps

if TYPE_CHECKING:
    from orchestrator.hosts.tunnels import Tunnels
    from orchestrator.install.host_tools import HostTools

FIRST_PORT = 8888
"""Jupyter's usual port."""

PURPOSE = "JupyterLab"
"""Of its tunnels, in their list."""

AGAIN = NextStep("Jupyter")


@dataclass(frozen=True)
class NotebookPage:
    """An open tunnel to a host's JupyterLab.

    :param url: address for a browser on this computer, with the token that gives access.
    :param close: closes the tunnel; JupyterLab continues.
    """

    host: str
    url: str
    close: Callable[[], None] = field(repr=False)


@dataclass(frozen=True)
class NotebookStop:
    """End of a host's JupyterLab.

    :param ran: False if there was none.
    """

    host: str
    ran: bool


@dataclass(frozen=True)
class NotebookService:
    """JupyterLab on the hosts of one source.

    :param tools: installs it.
    :param job_name: returns the name of the job in the settings; empty if it cannot be read.
    """

    tools: HostTools
    tunnels: Tunnels
    job_name: Callable[[], str]

    def open(self, name: str = "", kernel: str = "") -> NotebookPage:
        """Install and start JupyterLab on a host, or find the one that runs there, and open a tunnel to it.

        It continues without this computer. A tunnel that loses its connection makes a new one when it is used.

        :param name: of the host; the first when empty.
        :param kernel: job whose packages a new notebook has; empty for the one of the settings, if it is installed.
        :raises UsageError: the host has no such kernel.
        :raises HostsFailed: it could not be installed.
        :raises HostError: it could not be started.
        """
        # Before the install, which takes its time.
        notebooks.check_kernel(kernel)
        host = self.tools.host(name)
        self.tools.install(host, steps.notebook_plan(self.tools.settings), "JupyterLab", AGAIN)
        server = notebooks.start(self.tools.ssh, host, job=kernel or self._job(), is_needed=bool(kernel))
        # From a port that stays the same if it can: the browser's page reconnects to it.
        tunnel = self.tunnels.open(host, server.port, purpose=PURPOSE, port=FIRST_PORT, counts_as_use=False)
        return NotebookPage(host.name, f"http://{tunnel.address}:{tunnel.port}/lab?token={server.token}", tunnel.close)

    def stop(self, name: str = "") -> NotebookStop:
        """End JupyterLab on a host, and its kernels, and close the tunnel to it.

        :param name: of the host; the first when empty.
        """
        host = self.tools.host(name)
        ran = notebooks.stop(self.tools.ssh, host)
        self.tunnels.close(host, PURPOSE)
        return NotebookStop(host.name, ran)

    def _job(self) -> str:
        try:
            return self.job_name()
        # A notebook needs no job: one that cannot be read has no kernel.
        except StratusError:
            return ""
