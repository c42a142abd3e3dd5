"""Behavior of a hostile host, and the file on its disk that holds it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path

PORTS = ("endless-banner", "slow-banner", "slow-handshake", "cut-handshake", "endless-packet")
"""Behavior of the SSH port, to every connection."""

LOGINS = ("endless-login-banner",)
"""Behavior of the SSH server during a login."""

ANSWERS = (
    "endless-output",
    "endless-errors",
    "slow-output",
    "cut-output",
    "escapes",
    "lies",
    "archive-bomb",
    "archive-links",
)
"""Answers to commands, in place of running them."""


@dataclass(frozen=True)
class Hostility:
    """Behavior of a hostile host.

    :param how: one of `PORTS`, `LOGINS` or `ANSWERS`.
    :param commands: pattern of the commands that are answered in this way; others are run.
    """

    how: str
    commands: str = "*"

    @property
    def is_port(self) -> bool:
        """True if the SSH port itself is hostile."""
        return self.how in PORTS

    @property
    def is_login(self) -> bool:
        """True if logins never end."""
        return self.how in LOGINS

    def answers(self, command: str | None) -> bool:
        """Return True if a command is answered instead of being run; a login shell never is."""
        return self.how in ANSWERS and command is not None and fnmatchcase(command, self.commands)


def file_of(folder: Path) -> Path:
    """Return the file on a host's disk."""
    return folder / "etc" / "hostile.json"


def write(folder: Path, hostility: Hostility) -> None:
    """Make a host hostile: its answers and logins at once, its port from its next boot on.

    :raises OSError: the host has no disk.
    """
    path = file_of(folder)
    new = path.with_name(f"{path.name}.new")
    new.write_text(json.dumps(asdict(hostility)))
    # A reader finds all of it, or nothing.
    new.replace(path)


def read(folder: Path) -> Hostility | None:
    """Return the behavior of a host; None if it is not hostile."""
    try:
        return Hostility(**json.loads(file_of(folder).read_text()))
    except FileNotFoundError:
        return None
