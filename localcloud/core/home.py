"""Folder in which a cloud keeps everything: ``LOCALCLOUD_HOME``, by default in the user's data folder."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Home:
    """Files of one cloud."""

    folder: Path

    @property
    def daemon_lock(self) -> Path:
        """Lock file held by the daemon: the lock, not a process id, tells whether a cloud is running."""
        return self.folder / "daemon.lock"

    @property
    def start_lock(self) -> Path:
        """Lock file held while a daemon is started or stopped."""
        return self.folder / "turn.lock"

    @property
    def log(self) -> Path:
        """Log of the daemon, one line per API call."""
        return self.folder / "daemon.log"

    @property
    def state_file(self) -> Path:
        """State of the daemon, written once it answers: environment and settings."""
        return self.folder / "cloud.json"

    @property
    def hosts_folder(self) -> Path:
        """Folder of the hosts' disks."""
        return self.folder / "machines"

    @property
    def jobs_folder(self) -> Path:
        """Folder of the disks of SageMaker's instances."""
        return self.folder / "jobs"

    @property
    def aws_config(self) -> Path:
        """AWS config and credentials file with one empty profile, used so that the user's own are never read."""
        return self.folder / "aws.ini"

    def host_folder(self, instance_id: str) -> Path:
        """Return the folder that is an instance's disk."""
        return self.hosts_folder / instance_id

    def console(self, instance_id: str) -> bytes:
        """Return the boot messages of an instance; empty if it has no folder."""
        try:
            return (self.host_folder(instance_id) / "console.log").read_bytes()
        except FileNotFoundError:
            return b""

    def read_state(self) -> dict[str, Any]:
        """Return what the daemon wrote when it started.

        :raises FileNotFoundError: no daemon is running.
        """
        state: dict[str, Any] = json.loads(self.state_file.read_text(encoding="utf-8"))
        return state


def find_home(folder: Path | str | None = None) -> Home:
    """Return the home in ``folder``, else in LOCALCLOUD_HOME, else in the user's data folder."""
    path = folder or os.environ.get("LOCALCLOUD_HOME")
    if not path:
        # Imported late: hosts and most commands have a home already.
        import platformdirs

        path = platformdirs.user_data_dir("localcloud", appauthor=False)
    return Home(Path(path).expanduser().absolute())
