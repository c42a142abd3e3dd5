"""Use case: a Dask client of this computer on the cluster of a run that works, through a tunnel."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.core.errors import HostError, UsageError
from orchestrator.core.host import HostSource
from orchestrator.core.next_step import NextStep
from orchestrator.jobs import query

if TYPE_CHECKING:
    from orchestrator.hosts.tunnels import Tunnels
    from orchestrator.ssh import SshClient

_PEM = re.compile(r"-----BEGIN ([A-Z ]{1,30})-----\n[A-Za-z0-9+/=\n]{1,10000}-----END \1-----\n")


@dataclass(frozen=True)
class DaskCluster:
    """The scheduler of a run, at the end of an open tunnel.

    :param host: that it runs on.
    :param address: for a client on this computer.
    :param ca: certificate that its processes trust, as PEM text.
    :param cert: certificate of its members.
    :param key: private key of ``cert``.
    :param close: closes the tunnel; the cluster continues.
    """

    run_id: str
    host: str
    address: str
    ca: str = field(repr=False)
    cert: str = field(repr=False)
    key: str = field(repr=False)
    close: Callable[[], None] = field(repr=False)


@dataclass(frozen=True)
class DaskService:
    """Dask clusters of the runs on the hosts of one source.

    :param runs_folder: with the records of this computer.
    """

    source: HostSource
    ssh: SshClient
    tunnels: Tunnels
    runs_folder: Path

    def open(self, run_id: str = "") -> DaskCluster:
        """Open a tunnel to the scheduler of a run.

        :param run_id: its id, or the end of it; the newest when empty.
        :raises UsageError: the run has no Dask cluster, or it has ended.
        """
        located = query.locate(self.ssh, self.source.hosts(), run_id, self.runs_folder)
        run = located.run
        if run.framework != "dask" or not run.dashboard_port:
            fix = NextStep("RunMultiVMComputing") + " of a dask job starts one"
            raise UsageError(f"{run.run_id} has no Dask cluster", fix=fix)
        if run.state != "running":
            fix = NextStep("RunMultiVMComputing", detach=True) + " starts another one"
            raise UsageError(f"{run.run_id} is {run.state}: its Dask cluster has ended with it", fix=fix)
        (first,) = located.require_hosts(run.hosts[:1])
        folder = f"stratus/runs/{run.run_id}/tls"
        result = self.ssh.run(first, f"cd {folder} && cat ca.pem cert.pem key.pem")
        parts = [match[0] for match in _PEM.finditer(result.stdout)]
        try:
            ca, cert, key = parts
        except ValueError:
            raise HostError(f"run {run.run_id}: no certificates in {folder}", where=first.name) from None
        # The framework's layout: the dashboard has the port after the scheduler's.
        port = run.dashboard_port - 1
        # Each client closes its own.
        tunnel = self.tunnels.open(first, port, purpose="Dask scheduler", target_address="", is_shared=False)
        address = f"tls://{tunnel.address}:{tunnel.port}"
        return DaskCluster(run.run_id, first.name, address, ca, cert, key, tunnel.close)
