"""File systems that all VMs of a cluster share, EFS and FSx for Lustre: the lines of ``[file_systems]``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from orchestrator.config import ini
from orchestrator.config.disks import mount_points

EFS, LUSTRE = "efs", "lustre"
LUSTRE_STEP_GIB = 2400
"""Scratch file systems have 1200 GiB, 2400 GiB or a multiple of that:
https://docs.aws.amazon.com/fsx/latest/APIReference/API_CreateFileSystem.html (StorageCapacity)"""

_ID = r"fs-([0-9a-f]{8}|[0-9a-f]{17})"


@dataclass(frozen=True)
class FileSystem:
    """One shared file system.

    :param kind: ``efs`` or ``lustre``.
    :param id: of an existing one; empty to make one with the cluster.
    :param size: GiB of a new one for Lustre; EFS grows by itself.
    :param keep: True if a new one is kept when the cluster is terminated.
    :param read_only: True if it is mounted without the right to write.
    :param text: the line as it was written.
    """

    name: str
    kind: str
    mount_point: str
    id: str = ""
    size: int = 0
    keep: bool = False
    read_only: bool = False
    text: str = ""


def parse(name: str, text: str) -> FileSystem:
    """Return the file system of a line ``name = efs at /shared``.

    :raises ValueError: with a message that continues ``[file_systems] name = 'text'``.
    """
    if not re.fullmatch(mount_points.NAME_PATTERN, name):
        raise ValueError(f"has a name that is not {mount_points.NAME_SHAPE}")
    source, mount_point, options = mount_points.split_line(text)
    kind, _, rest = source.partition(" ")
    if kind not in (EFS, LUSTRE):
        hint = ini.suggest(kind, (EFS, LUSTRE))
        raise ValueError(f"begins with neither efs nor lustre: efs at /shared, or efs fs-... at /shared.{hint}")
    unknown = [option for option in options if option not in ("keep", "read-only")]
    if unknown:
        raise ValueError(f"has {unknown[0]!r}: keep or read-only.{ini.suggest(unknown[0], ('keep', 'read-only'))}")
    identifier, size = _source(kind, rest.strip())
    keep, read_only = "keep" in options, "read-only" in options
    if identifier and keep:
        raise ValueError("is an existing file system, which is always kept: leave out keep")
    if read_only and not identifier:
        raise ValueError("would be made empty: read-only is for an existing one (fs-...)")
    return FileSystem(name, kind, mount_point, identifier, size, keep, read_only, text)


def _source(kind: str, text: str) -> tuple[str, int]:
    """Return the id, or the size of a new one."""
    if re.fullmatch(_ID, text):
        return text, 0
    if text.startswith("fs-"):
        raise ValueError(f"has {text!r}, which is not fs- and 8 or 17 hexadecimal digits")
    if kind == EFS:
        if text:
            raise ValueError(f"has {text!r} before the mount point: EFS takes no size, it is billed by what it holds")
        return "", 0
    size = mount_points.size_gib(text)
    if size is None:
        raise ValueError("needs its size: lustre 1200 GiB at /fast")
    if size != LUSTRE_STEP_GIB // 2 and (not size or size % LUSTRE_STEP_GIB):
        raise ValueError("has a size that FSx for Lustre does not have: 1200 GiB, or a multiple of 2400 GiB")
    return "", size
