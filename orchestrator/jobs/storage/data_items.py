"""Inputs of a job: folders of this computer, prefixes of S3, and folders of shared file systems."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from orchestrator.config.schema import SettingsReader
from orchestrator.core.errors import UsageError
from orchestrator.core.next_step import NextStep, Text

_FILE_SYSTEM = re.compile(r"(fs-(?:[0-9a-f]{8}|[0-9a-f]{17})):((?:/[A-Za-z0-9._-]+)+|/)/?")
MOUNTS = "data/.mounts"
"""Folder below ``~/stratus`` with a link to each shared file system, by its name; disks.sh makes them."""

WORDS = ("copy", "stream", "mount", "shard", "public", "requester_pays")
MODES = WORDS[:3]


@dataclass(frozen=True)
class DataItem:
    """Input of a job.

    :param source: ``s3://bucket/prefix``, ``fs-0123456789abcdef0:/folder`` of EFS or FSx for Lustre, or a folder or
        file relative to the job's folder.
    :param name: its name in the job's working directory.
    :param mode: ``copy``: files on the VM's disk; ``stream``: a text file with the objects' URLs; ``mount``: a folder
        whose files are read from S3 when they are opened.
    :param is_sharded: each VM of a run gets a part of the objects.
    :param is_public: read without credentials.
    :param requester_pays: the reader pays for requests and transfer.
    :param mount_name: name of its file system in ``[file_systems]``; empty if the VMs do not have it.
    """

    source: str
    name: str
    mode: str = "copy"
    is_sharded: bool = False
    is_public: bool = False
    requester_pays: bool = False
    mount_name: str = ""

    @property
    def is_staged_at_start(self) -> bool:
        """True if it depends on the run, or is no copy: it is prepared when a run starts, not by the install."""
        return self.mode != "copy" or self.is_sharded

    @property
    def flags(self) -> tuple[str, ...]:
        """Options of ``stage.py``."""
        names = {"--public": self.is_public, "--requester-pays": self.requester_pays}
        return tuple(name for name, is_set in names.items() if is_set)

    @property
    def id_text(self) -> str:
        """Text that differs between items that need different places on a host."""
        extra = "" if self.mode == "copy" and not self.is_sharded else f"\0{self.mode}\0{self.is_sharded}"
        return f"\0{self.name}{extra}"

    @property
    def is_s3(self) -> bool:
        """True if the VMs fetch it themselves."""
        return self.source.startswith("s3://")

    @property
    def is_file_system(self) -> bool:
        """True if it is used where it is: a folder of a shared file system."""
        return _FILE_SYSTEM.fullmatch(self.source) is not None

    @property
    def is_local(self) -> bool:
        """True if it is on this computer, which sends it."""
        return not (self.is_s3 or self.is_file_system)

    @property
    def file_system(self) -> tuple[str, str]:
        """Id of its file system, and the folder there, which begins with a slash."""
        match = _FILE_SYSTEM.fullmatch(self.source)
        return (match[1], match[2]) if match else ("", "")

    def check_mounted(self) -> None:
        """Check that the VMs have the file system of an item, if it is on one.

        :raises UsageError: they do not.
        """
        if self.is_file_system and not self.mount_name:
            identifier, _ = self.file_system
            raise UsageError(
                f"the VMs do not have the file system {identifier}",
                where=self.source,
                fix=f"in the config, before a launch: [file_systems] shared = efs {identifier} at /shared (or lustre)",
            )

    @property
    def mounted_path(self) -> str:
        """Path of a folder of a file system on the VMs, below ``~/stratus``."""
        return f"{MOUNTS}/{self.mount_name}{self.file_system[1]}".rstrip("/")


def read_data(
    reader: SettingsReader, lines: tuple[str, ...], sample: str, folder: Path, *, needs_data: bool = True
) -> tuple[DataItem, ...]:
    """Return the inputs that lines ``source -> name`` describe; mistakes are added to the reader.

    :param needs_data: False if local data need not exist.
    """
    items: list[DataItem] = []
    for line in lines:
        source, arrow, rest = (part.strip() for part in line.partition("->"))
        name, *flags = (part.strip() for part in rest.split(","))
        item = _item(source, name or PurePosixPath(source.rstrip("/")).name, flags)
        if problem := _words_problem(item, flags):
            reader.add_problem("job", "data", f"{line!r}: {problem}")
        elif re.match(r"fs-[^/]*:", source) and (not item.is_file_system or ".." in item.file_system[1].split("/")):
            example = "fs-0123456789abcdef0:/folder -> data"
            reader.add_problem("job", "data", f"{line!r} is not a folder of a file system: write {example}")
        elif not arrow and not item.is_local:
            reader.add_problem("job", "data", f"{line!r} has no destination: write {line} -> data")
        elif item.is_local and relative_source(folder, source) == ".":
            reader.add_problem("job", "data", f"{line!r} is the job's whole folder: write the name of a folder in it")
        elif not is_inside(item.name):
            reader.add_problem("job", "data", f"{line!r} is outside the working directory")
        elif other := next((other for other in items if _overlap(item.name, other.name)), None):
            place = f"the destination of {f'{other.source} -> {other.name}'!r}, or inside it, or around it"
            reader.add_problem("job", "data", f"{line!r} has {place}: write another name after ->")
        elif needs_data and item.is_local and not _is_there(folder / source, sample):
            missing = _missing_data(reader.document.path, source, sample)
            reader.add_problem("job", "data", missing if len(lines) == 1 else f"{line!r}: " + missing)
        items.append(item)
    return tuple(items)


def _item(source: str, name: str, flags: Sequence[str]) -> DataItem:
    mode = next((word for word in flags if word in MODES), "copy")
    return DataItem(source, name, mode, "shard" in flags, "public" in flags, "requester_pays" in flags)


def _words_problem(item: DataItem, flags: Sequence[str]) -> str:
    """Return what is wrong with the flags after a destination; empty if they fit."""
    if unknown := next((word for word in flags if word not in WORDS), ""):
        return f"{unknown!r} is none of {', '.join(WORDS)}"
    if flags and not item.is_s3:
        return f"{flags[0]} is for data on S3"
    if sum(word in MODES for word in flags) > 1:
        return "it has more than one of " + ", ".join(MODES)
    if item.mode == "mount" and item.is_sharded:
        return "what is mounted cannot be sharded: write stream, or copy"
    if item.is_public and item.requester_pays:
        return "public data is read without credentials, to which nothing can be billed"
    return ""


def relative_source(folder: Path, source: str) -> str:
    """Return the path of local data from the job's folder; it begins with .. elsewhere."""
    return os.path.relpath(folder / source, folder)


def _overlap(one: str, other: str) -> bool:
    """Return True if two paths are the same, or one is inside the other."""
    paths = PurePosixPath(one), PurePosixPath(other)
    return paths[0].is_relative_to(paths[1]) or paths[1].is_relative_to(paths[0])


def _is_there(path: Path, sample: str) -> bool:
    # Without a command that creates it, an empty folder may be intended: a job that looks for files and finds none.
    return has_content(path) if sample else path.exists()


def has_content(path: Path) -> bool:
    """Return True for a file, and for a folder with a file in it: an interrupted command leaves empty folders."""
    return any(file.is_file() for file in path.rglob("*")) if path.is_dir() else path.exists()


def _missing_data(file: Path, source: str, sample_data_command: str) -> Text:
    path = file.parent / source
    problem = f"{path} is empty" if path.exists() else f"{path} does not exist"
    if not sample_data_command:
        return problem
    # By name, not as the default: this need not be the job of the config file.
    job = file.parent if file.name == "job.ini" else file
    return problem + "; to create sample data: " + NextStep("SampleData", as_typed(job))


def as_typed(path: Path) -> str:
    """Return a path as it is typed in the working directory."""
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def is_inside(name: str) -> bool:
    """Return True if a path stays in the working directory."""
    # The name becomes a path on the host, where start.sh removes what is there before it links the data.
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts
