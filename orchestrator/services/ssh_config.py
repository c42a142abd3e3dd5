"""The SSH config of a cluster, for plain ``ssh``, scp, rsync and editors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from orchestrator.core.clock import Clock
from orchestrator.core.errors import StratusError, UsageError
from orchestrator.core.events import Event, EventHandler
from orchestrator.core.host import Host, HostSource
from orchestrator.core.next_step import Text, as_message


@dataclass(frozen=True)
class SshConfigReport:
    """State of the SSH config.

    :param path: the config file of Stratus.
    :param hosts: those of this cluster in it.
    :param user_config: the user's own config file.
    :param is_included: True if the user's own file includes the other.
    :param problem: why there are no hosts, with what to type; empty if there are some.
    """

    path: Path
    hosts: tuple[Host, ...]
    user_config: Path
    is_included: bool
    problem: Text = ""


@dataclass(frozen=True)
class SshConfigFiles:
    """Files of the SSH config.

    :param folder: folder of Stratus for OpenSSH's config and known hosts.
    :param user_config: the user's own, ``~/.ssh/config``.
    """

    folder: Path
    user_config: Path

    @property
    def config(self) -> Path:
        """The config file that the user's own may include."""
        return self.folder / "config"


class SshConfigService:
    """The SSH config of one source of hosts.

    :param cluster: returns a name for the hosts of the source, apart from other clusters of this computer.
    """

    def __init__(
        self,
        source: HostSource,
        files: SshConfigFiles,
        cluster: Callable[[], str],
        *,
        clock: Clock,
        on_event: EventHandler,
    ) -> None:
        self.source = source
        self.files = files
        self._cluster = cluster
        self._clock = clock
        self._on_event = on_event

    def write(self) -> SshConfigReport:
        """Write the config of the hosts that are up; from then on :meth:`keep` keeps it true."""
        # Imported when needed: paramiko takes a third of a second.
        from orchestrator.ssh import write_ssh_config

        hosts, problem = self._hosts()
        path = write_ssh_config(hosts, self.files.folder, self._clock, cluster=self._cluster())
        return SshConfigReport(path, tuple(hosts), self.files.user_config, self.is_installed, problem)

    def install(self) -> SshConfigReport:
        """Write the config, and include it in the user's own."""
        from orchestrator.ssh import user_config

        # Before the file itself: a path that cannot be included leaves nothing half done.
        user_config.include(self.files.user_config, self.files.config)
        return self.write()

    def remove(self) -> SshConfigReport:
        """Remove the line that `install` added to the user's own config."""
        from orchestrator.ssh import user_config

        user_config.exclude(self.files.user_config, self.files.config)
        return self.write()

    @property
    def is_installed(self) -> bool:
        """True if the user's own config includes this one."""
        from orchestrator.ssh import user_config

        return user_config.is_included(self.files.user_config, self.files.config)

    def keep(self) -> None:
        """Bring the config up to date after a change of the hosts, if it is in use; a failure is reported only."""
        # Written on request only; makes no API call otherwise.
        if not self.files.config.exists():
            return
        try:
            self.write()
        except (StratusError, OSError) as error:
            text = f"the SSH config may be out of date: {str(error).splitlines()[0]}"
            self._on_event(Event("", "ssh config", "warning", text=text))

    def _hosts(self) -> tuple[list[Host], Text]:
        """Return the hosts, or none and the reason."""
        try:
            return self.source.hosts(), ""
        except UsageError as error:
            # None is running: what is left is an empty config.
            return [], f"{error.message}.  Next: " + as_message(error.fix) if error.fix else error.message
