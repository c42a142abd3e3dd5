"""Use of hosts through tunnels: a tunnel that is only open must not keep a host from its idle shutdown.

A host counts open SSH connections as use. While tunnels are open, it is told once a minute whether anything moved over
the connection besides: ``remote/tunnel_use.sh``, which ``idle.sh`` reads.
"""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrator.core import remote_scripts
from orchestrator.core.errors import StratusError
from orchestrator.core.host import Host

if TYPE_CHECKING:
    from orchestrator.ssh import SshClient, Tunnel

INTERVAL_S = 60.0
TIMEOUT_S = 20.0


@dataclass
class _Watch:
    """Tunnels to one host, and the thread that reports their use.

    :param counted: those whose traffic is use -> bytes until the last report.
    :param is_open: number of tunnels.
    """

    host: Host
    counted: dict[Tunnel, int] = field(default_factory=dict)
    is_open: int = 0
    ended: threading.Event = field(default_factory=threading.Event)


class TunnelUses:
    """Reports of the use of hosts through tunnels; safe to use from many threads.

    :param interval_s: seconds between two reports.
    """

    def __init__(self, ssh: SshClient, interval_s: float = INTERVAL_S) -> None:
        self._ssh, self._interval_s = ssh, interval_s
        self._watches: dict[str, _Watch] = {}
        self._lock = threading.Lock()

    def add(self, host: Host, tunnel: Tunnel, *, counts: bool) -> None:
        """Report the use of a host from now on, until its tunnels are closed.

        :param counts: what moves through the tunnel is use; it alone being open never is.
        """
        with self._lock:
            watch = self._watches.get(host.name)
            if watch is None or watch.ended.is_set():
                watch = self._watches[host.name] = _Watch(host)
                threading.Thread(target=self._report, args=(watch,), name="tunnel-use", daemon=True).start()
            watch.is_open += 1
            if counts:
                watch.counted[tunnel] = tunnel.moved_bytes
        tunnel.at_close(lambda: self._remove(watch, tunnel))

    def _remove(self, watch: _Watch, tunnel: Tunnel) -> None:
        with self._lock:
            watch.is_open -= 1
            watch.counted.pop(tunnel, None)
            if not watch.is_open:
                watch.ended.set()

    def _report(self, watch: _Watch) -> None:
        started, _ = self._ssh.uses(watch.host)
        while not watch.ended.is_set():
            now_started, has_open = self._ssh.uses(watch.host)
            is_used = has_open or now_started != started or self._has_moved(watch)
            self._tell(watch.host, "used" if is_used else "quiet")
            # Its own command is no use.
            started, _ = self._ssh.uses(watch.host)
            watch.ended.wait(self._interval_s)
        self._tell(watch.host, "closed")

    def _has_moved(self, watch: _Watch) -> bool:
        with self._lock:
            moved = any(tunnel.moved_bytes != before for tunnel, before in watch.counted.items())
            watch.counted = {tunnel: tunnel.moved_bytes for tunnel in watch.counted}
        return moved

    def _tell(self, host: Host, use: str) -> None:
        # A host that does not answer now is told a minute later, over a new connection.
        with contextlib.suppress(StratusError):
            self._ssh.run(host, remote_scripts.inline_command("tunnel_use.sh", use), timeout_s=TIMEOUT_S)
