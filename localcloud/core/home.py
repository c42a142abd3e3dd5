"""The folder in which a cloud keeps everything: ``LOCALCLOUD_HOME``, by default below the user's data folder."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Home:
    """The files of one cloud."""

    folder: Path

    @property
    def daemon_lock(self) -> Path:
        """Locked by the daemon for as long as it lives: the lock, not a pid, says whether a cloud is up."""
        return self.folder / "daemon.lock"

    @property
    def start_lock(self) -> Path:
        """Locked while somebody starts or ends the daemon."""
        return self.folder / "turn.lock"

    @property
    def log(self) -> Path:
        """What the daemon says, one line per API call."""
        return self.folder / "daemon.log"

    @property
    def state_file(self) -> Path:
        """Written by the daemon once it answers: its environment and options."""
        return self.folder / "cloud.json"

    @property
    def hosts_folder(self) -> Path:
        """Holds one folder for each instance."""
        return self.folder / "machines"

    @property
    def aws_config(self) -> Path:
        """AWS config and credentials in one, given out so that the user's own are never read: one profile, empty."""
        return self.folder / "aws.ini"

    def host_folder(self, instance_id: str) -> Path:
        """The folder of one instance: its disk, as it were."""
        return self.hosts_folder / instance_id

    def console(self, instance_id: str) -> bytes:
        """What an instance wrote while booting; empty when it has no folder."""
        try:
            return (self.host_folder(instance_id) / "console.log").read_bytes()
        except FileNotFoundError:
            return b""

    def read_state(self) -> dict[str, Any]:
        """What the daemon wrote when it came up.

        :raises FileNotFoundError: it never did.
        """
        facts: dict[str, Any] = json.loads(self.state_file.read_text(encoding="utf-8"))
        return facts


def find_home(folder: Path | str | None = None) -> Home:
    """The home that is named or, if none is, the one that the environment names, or the default one."""
    chosen = folder or os.environ.get("LOCALCLOUD_HOME")
    if not chosen:
        import platformdirs

        chosen = platformdirs.user_data_dir("localcloud", appauthor=False)
    return Home(Path(chosen).expanduser().absolute())
