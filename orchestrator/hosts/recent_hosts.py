"""Hosts for short commands: connections open while the cloud confirms the hosts, and a confirmation serves for seconds.

Connections begin before the cloud's library is imported. A command goes to a host only if a call of this session has
shown it as the cluster's, at most `REUSED_S` ago. Until then a connection is a login to an address of the last command,
which has to present the host key pinned for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.core import json_file
from orchestrator.core.host import Host, HostSource
from orchestrator.hosts.host_keys import KnownHostKeys

if TYPE_CHECKING:
    from orchestrator.ssh import SshClient

REUSED_S = 5.0
"""Age at which the hosts are looked up again. EC2's own answers may lag by as much after a change."""


class RecentHosts:
    """The hosts of one source, for commands that follow one another.

    :param known_keys: host keys that this computer has seen in force; other hosts are not connected to early.
    :param path: of the file with the hosts of the last command; its name must not depend on a call to the cloud.
    :param changes: returns how many calls of this session may have changed something in the cloud.
    :param in_threads: False: connect to nothing early, so that a test in virtual time can be repeated.
    """

    def __init__(
        self,
        source: HostSource,
        ssh: SshClient,
        known_keys: KnownHostKeys,
        path: Path,
        changes: Callable[[], int],
        *,
        in_threads: bool,
    ) -> None:
        self._source = source
        self._ssh = ssh
        self._known_keys = known_keys
        self._path = path
        self._changes = changes
        self._in_threads = in_threads
        self._confirmed: dict[str, Host] = {}
        self._confirmed_at: tuple[float, int] = (float("-inf"), 0)

    def hosts(self, names: Sequence[str] = ()) -> list[Host]:
        """Return the hosts that are up, as :meth:`HostSource.hosts` does; from the last call if it was just made."""
        at_s, changes = self._confirmed_at
        is_recent = self._ssh.clock.monotonic() - at_s <= REUSED_S and changes == self._changes()
        if is_recent and self._confirmed and set(names) <= self._confirmed.keys():
            return [self._confirmed[name] for name in names or self._confirmed]
        return self._look_up(names)

    def _look_up(self, names: Sequence[str]) -> list[Host]:
        # Before the call: what happens while it is under way may not be in its answer.
        now = (self._ssh.clock.monotonic(), self._changes())
        # In the first call of a session: after that, connections are there.
        early = self._connect_early(names) if self._in_threads and not self._confirmed else []
        hosts: list[Host] = []
        try:
            hosts = self._source.hosts(names)
        finally:
            for host in set(early) - set(hosts):
                self._ssh.disconnect(host)
        if not names:
            self._confirmed, self._confirmed_at = {host.name: host for host in hosts}, now
            self._keep(hosts)
        return hosts

    def _connect_early(self, names: Sequence[str]) -> list[Host]:
        """Begin to connect to the hosts of the last command; return them."""
        hosts = [host for host in self._kept() if not names or host.name in names]
        # The command connects again, and its error is the one that is shown.
        self._ssh.connect_in_background(hosts)
        return hosts

    def _kept(self) -> list[Host]:
        entries = json_file.load(self._path.parent, self._path.name).get("hosts")
        hosts = [_host(entry) for entry in entries] if isinstance(entries, list) else []
        known = [(host, self._known_keys.get(host.identity)) for host in hosts if host is not None]
        return [replace(host, host_key=key, boot_key="") for host, key in known if key]

    def _keep(self, hosts: Sequence[Host]) -> None:
        entries = [{**asdict(host), "key_file": str(host.key_file)} for host in hosts]
        # On a full disk, or in a read-only folder, the next session connects after the call.
        with suppress(OSError):
            if json_file.load(self._path.parent, self._path.name).get("hosts") != entries:
                json_file.save(self._path.parent, self._path.name, {"hosts": entries})


def _host(entry: object) -> Host | None:
    """Return the host of an entry of the file; None if it is damaged."""
    if not isinstance(entry, dict) or entry.keys() != {field.name for field in fields(Host)}:
        return None
    texts = {
        name: value for name, value in entry.items() if isinstance(value, str) and name not in ("port", "key_file")
    }
    if len(texts) != len(entry) - 2 or not isinstance(entry["port"], int) or not isinstance(entry["key_file"], str):
        return None
    return Host(**texts, port=entry["port"], key_file=Path(entry["key_file"]))
