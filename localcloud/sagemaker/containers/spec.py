"""Specification of a container, and the folder that it sees as /opt/ml."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ContainerSpec:
    """One container.

    :param host_name: ``algo-1``, also the name that it and the others resolve.
    :param folder: of this container only; ``ml`` in it is /opt/ml.
    :param command: program and arguments; the program is looked up in the container's PATH.
    :param environment: variables on top of those that every container has.
    :param hosts: address of every container of the job by its name, this one included.
    :param read_only: folders below /opt/ml that the container cannot change, without blanks.
    :param image: its name.
    :param shown: further paths that it sees.
    """

    host_name: str
    folder: Path
    command: tuple[str, ...]
    environment: Mapping[str, str]
    hosts: Mapping[str, str]
    read_only: tuple[str, ...] = ()
    image: str = ""
    shown: tuple[Path, ...] = ()

    @property
    def ml(self) -> Path:
        """Folder that is /opt/ml in the container."""
        return self.folder / "ml"
