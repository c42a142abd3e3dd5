"""The owner id of this computer: it tells apart the people and computers behind one IAM role.

It is made once and kept in the file ``owner-id`` of the home folder; the setting ``[cluster] owner_id`` replaces it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

FILE = "owner-id"
LENGTH = 12
"""Hexadecimal digits: 48 bits, few enough to type."""

_MAX_BYTES = 256


@dataclass(frozen=True)
class OwnerId:
    """The owner id that is kept on this computer.

    :param value: empty if there is none.
    :param problem: why there is none; empty if there is one.
    """

    value: str
    problem: str = ""


def load(home: Path, new_id: Callable[[], str]) -> OwnerId:
    """Return the id of this computer; it is made if there is none yet.

    :param home: folder of everything that is kept on this computer.
    :param new_id: returns random hexadecimal digits.
    """
    path = home / FILE
    try:
        if not path.exists():
            _create(path, new_id()[:LENGTH])
    except OSError as error:
        return OwnerId("", f"{path}: cannot be written: {error.strerror or error}")
    return read(home)


def read(home: Path) -> OwnerId:
    """Return the id of this computer; empty if there is none."""
    path = home / FILE
    try:
        with path.open("rb") as file:
            value = file.read(_MAX_BYTES).decode(errors="replace").strip()
    except (FileNotFoundError, NotADirectoryError):
        return OwnerId("", f"{path}: there is none")
    except OSError as error:
        return OwnerId("", f"{path}: cannot be read: {error.strerror or error}")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}", value):
        return OwnerId("", f"{path}: damaged")
    return OwnerId(value)


def _create(path: Path, value: str) -> None:
    """Write the file as a whole, unless another process has just done so."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f"{FILE}.{value}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(f"{value}\n")
            file.flush()
            os.fsync(file.fileno())
        # A link is never half written, and fails where a rename would replace the other process's id.
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        with suppress(OSError):
            draft.unlink()
