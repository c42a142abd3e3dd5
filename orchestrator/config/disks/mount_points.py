"""Mount points: which paths a disk may be mounted at, and the words of a line that names one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import Protocol

NAME_PATTERN = "[a-z][a-z0-9-]{0,30}"
NAME_SHAPE = "a lower-case letter, then up to 30 lower-case letters, digits or -"

_SYSTEM = ("/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/proc", "/run", "/sbin", "/sys", "/usr", "/snap")
"""Folders of the system: nothing is mounted there, nor below."""

_COMMON = ("/", "/home", "/mnt", "/media", "/opt", "/root", "/srv", "/tmp", "/var", "/var/lib", "/var/tmp", "~")
"""Folders that other things need: nothing is mounted there, but below."""


_OF_OTHERS = {"stratus": "Stratus", ".ssh": "SSH"}
"""Folders of a home that are in use; below them, too."""


class Mounted(Protocol):
    """A disk or file system with a name and a mount point."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def mount_point(self) -> str: ...  # noqa: D102


def parse(text: str) -> str:
    """Return a mount point without a slash at its end.

    :raises ValueError: nothing can be mounted there; the message continues ``[section] name = 'text'``.
    """
    path = text.rstrip("/") or "/"
    if path not in _COMMON and (not re.fullmatch(r"(~|)(/[A-Za-z0-9._-]+)+", path) or ".." in path.split("/")):
        shape = "an absolute path (/data) or one below the home (~/data), of letters, digits, . _ and -"
        raise ValueError(f"mounts at {text!r}, which is not {shape}")
    parents = {path, *map(str, PurePosixPath(path).parents)}
    # A home hides the SSH keys that admit this computer.
    in_home = re.fullmatch(r"(?:~|/home/[^/]+)(?:/(.*))?", path)
    if path in _COMMON or parents & set(_SYSTEM) or (in_home and not in_home[1]):
        raise ValueError(f"mounts at {path}, a folder of the system: choose another, such as /data")
    if in_home and in_home[1].split("/")[0] in _OF_OTHERS:
        owner = _OF_OTHERS[in_home[1].split("/")[0]]
        raise ValueError(f"mounts at {path}, a folder of {owner}: choose another, such as ~/data")
    return path


def split_line(text: str) -> tuple[str, str, list[str]]:
    """Return the parts of ``WHAT at PATH, option, option``.

    :raises ValueError: it has no ``at``.
    """
    first, *options = (part.strip() for part in text.split(","))
    match = re.fullmatch(r"(.*?)\s*\bat\s+(\S.*)", first)
    if not match:
        raise ValueError("needs a mount point: write ... at /data")
    return match[1], parse(match[2].strip()), options


def size_gib(text: str) -> int | None:
    """Return the GiB of ``500 GiB`` or ``2 TiB``; None for any other text."""
    match = re.fullmatch(r"([0-9]{1,6})\s*(GiB|TiB|GB|TB|G|T)", text, re.IGNORECASE)
    return int(match[1]) * (1024 if match[2][0] in "tT" else 1) if match else None


def conflicts(items: Iterable[Mounted]) -> Iterator[tuple[str, str]]:
    """Yield (name, complaint) for every mount point that is, or lies in, an earlier one."""
    earlier: dict[str, str] = {}
    for item in items:
        path = item.mount_point
        for other, name in earlier.items():
            if path == other:
                yield item.name, f"mounts at {path}, as {name} does"
            elif f"{path}/".startswith(f"{other}/") or f"{other}/".startswith(f"{path}/"):
                yield item.name, f"mounts at {path}, and {name} at {other}: one must not be in the other"
        earlier[path] = item.name
