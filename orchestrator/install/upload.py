"""Uploads of folders from this computer to hosts: their files, their digest, and what changed since the last one."""

from __future__ import annotations

import fnmatch
import hashlib
import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.config.credentials import holds_credential, is_allowed, is_credential_file
from orchestrator.core import json_file
from orchestrator.install.file_hashes import KEPT_BYTES, FileHashes

ALWAYS_EXCLUDED = (
    *("__pycache__", ".git", ".hg", ".svn", ".venv", ".ipynb_checkpoints", ".DS_Store", "*.pyc", "node_modules"),
    *(".mypy_cache", ".pytest_cache", ".ruff_cache", ".tox", ".nox", ".idea", ".vscode"),
)
_ALWAYS_EXCLUDED = re.compile("|".join(fnmatch.translate(pattern) for pattern in ALWAYS_EXCLUDED))
VENV_MARK = "pyvenv.cfg"
"""File at the top of every virtual environment, https://docs.python.org/3/library/venv.html."""

MAX_LISTED_FILES = 5000
"""Of a folder whose files are noted for the next upload."""

MAX_CHANGED_FILES, MAX_CHANGED_BYTES = 20, 32 << 10
"""Of a change that is sent unasked: every host gets it, also one that cannot use it."""


@dataclass(frozen=True)
class UploadFile:
    """One file of an upload.

    :param name: relative to the folder on the host.
    :param digest: SHA-256 of its content, in hexadecimal.
    :param mode: its permission bits.
    :param link: target, if it is a symbolic link; it stays one.
    """

    path: Path
    name: str
    digest: str
    size_bytes: int
    mode: int
    mtime_ns: int
    link: str = ""


@dataclass
class Listing:
    """Entries of a folder that are not among the files of its upload, noted while it is listed.

    :param on_file: called for each file.
    :ivar others: links to folders, links that lead nowhere, and special files.
    :ivar bare_folders: those of which nothing else is uploaded.
    """

    on_file: Callable[[], object] = lambda: None
    others: list[str] = field(default_factory=list)
    bare_folders: list[str] = field(default_factory=list)

    @staticmethod
    def refuse(error: OSError) -> None:
        """Raise the error of a folder that cannot be read: its files would be missing without a word."""
        raise error


@dataclass(frozen=True)
class Change:
    """Difference that an edit made in a folder: a host that has the folder as it was needs nothing else.

    :param base: digest of the upload before; empty if there is none, or too much has changed.
    :param files: with another content, mode or time, or new.
    """

    base: str = ""
    files: tuple[UploadFile, ...] = ()


@dataclass(frozen=True)
class Upload:
    """A local folder (or single file) and its destination.

    :param name: unique among one job's uploads; the host keeps the digest of the last one under it.
    :param source: folder or file on this computer.
    :param remote_path: folder on the host, below ``~/stratus``.
    :param digest: of names and contents; the host requests the list of files only if it changed.
    :param left_out: what the folder has besides, and looks like a credential.
    :param change: since the last upload; None if that is not noted.
    """

    name: str
    source: Path
    remote_path: str
    digest: str
    files: tuple[UploadFile, ...]
    left_out: tuple[str, ...] = ()
    change: Change | None = None


def scan(
    name: str,
    source: Path,
    remote_path: str,
    *,
    excluded: tuple[str, ...] = (),
    allowed: tuple[str, ...] = (),
    withheld: Collection[Path] = (),
    hashes_folder: Path | None = None,
    listing: Listing | None = None,
) -> Upload:
    """Return the upload of a folder or file as it is now.

    :param excluded: paths in the folder, or patterns, that are not uploaded.
    :param allowed: names or patterns of files that are uploaded although they look like credentials.
    :param withheld: files that are not uploaded, by their resolved paths, unless they are ``allowed`` by name.
    :param hashes_folder: keeps digests of large files, and lists of small folders, between calls; None hashes anew.
    :param listing: notes what else is there; with it, folders that cannot be read are an error.
    :raises FileNotFoundError: ``source`` does not exist.
    """
    left_out: list[str] = []

    def is_left_out(path: str) -> bool:
        if is_credential := is_credential_file(path, allowed):
            left_out.append(path)
        return is_credential

    files = []
    with FileHashes(source, hashes_folder) as hashes:
        for path, relative in list_files(source, excluded, is_left_out, listing):
            is_exempt = is_allowed(relative, allowed)
            # Without a line: these are no files of the job.
            if withheld and not is_exempt and path.resolve() in withheld:
                continue
            file = _scan_file(path, relative, hashes, may_hold_credentials=is_exempt)
            if file is None:
                left_out.append(relative)
            else:
                files.append(file)
    digest = hashlib.sha256()
    for file in files:
        # Of the mode only the owner's execute bit: a umask is no change.
        digest.update(os.fsencode(f"{file.name}\0{file.size_bytes}\0{file.mode & 0o100}\0"))
        digest.update(bytes.fromhex(file.digest))
    change = None
    if hashes_folder and len(files) <= MAX_LISTED_FILES:
        key = hashlib.sha256(os.fsencode(f"{name}\0{source.absolute()}")).hexdigest()[:24]
        change = _change(digest.hexdigest(), files, hashes_folder, f"{key}.list.json")
    return Upload(name, source, remote_path, digest.hexdigest(), tuple(files), tuple(left_out), change)


def _change(digest: str, files: list[UploadFile], folder: Path, name: str) -> Change:
    """Return what changed since the last list of these files with another digest, and keep the new list."""
    present = {file.name: f"{file.digest} {file.mode} {file.mtime_ns}" for file in files}
    saved = _saved_lists(folder, name)
    lists = [entry for entry in saved if entry[0] != digest]
    if saved[-1:] != [(digest, present)]:
        # Lists save time only, as digests do: without room for them everything else goes on.
        with suppress(OSError):
            json_file.save(folder, name, {"lists": [*lists[-1:], [digest, present]]}, indent=None)
    if not lists or lists[-1][1].keys() - present.keys():
        return Change()
    changed = tuple(file for file in files if lists[-1][1].get(file.name) != present[file.name])
    is_small = len(changed) <= MAX_CHANGED_FILES and sum(file.size_bytes for file in changed) <= MAX_CHANGED_BYTES
    # sha256sum writes names with these characters in another form.
    is_plain = not any(file.link or {"\n", "\\"} & set(file.name) for file in changed)
    return Change(lists[-1][0], changed) if is_small and is_plain else Change()


def _saved_lists(folder: Path, name: str) -> list[tuple[str, dict[str, str]]]:
    """Return digests of uploads, each with its files; those that are damaged are left out."""
    lists: list[tuple[str, dict[str, str]]] = []
    entries = json_file.load(folder, name).get("lists")
    for entry in entries if isinstance(entries, list) else []:
        match entry:
            case [str(digest), dict(files)]:
                lists.append((digest, files))
    return lists


def _scan_file(path: Path, relative: str, hashes: FileHashes, *, may_hold_credentials: bool) -> UploadFile | None:
    """Return a file of an upload; None if its content is a credential, unless it may hold one."""
    status = os.lstat(path)
    mode = status.st_mode & 0o777
    if stat.S_ISLNK(status.st_mode):
        link = os.readlink(path)
        return UploadFile(path, relative, hashlib.sha256(os.fsencode(link)).hexdigest(), 0, mode, 0, link)
    if status.st_size >= KEPT_BYTES:
        digest = hashes.digest(path, status)
    else:
        content = path.read_bytes()
        if not may_hold_credentials and holds_credential(content):
            return None
        digest = hashlib.sha256(content).hexdigest()
    return UploadFile(path, relative, digest, status.st_size, mode, status.st_mtime_ns)


def list_files(
    source: Path,
    excluded: tuple[str, ...] = (),
    is_withheld: Callable[[str], bool] = is_credential_file,
    listing: Listing | None = None,
) -> Iterator[tuple[Path, str]]:
    """Yield (path, name in the archive) of every file, sorted, without caches, environments and version control.

    :param excluded: paths in the folder, or patterns.
    :param is_withheld: returns True for the path, in the folder, of what must not reach a VM.
    :param listing: notes what else is there.
    """
    if source.is_file():
        # A link to a single file is followed: alone on the host it would lead nowhere.
        yield source.resolve(), source.name
        return
    if not source.is_dir():
        raise FileNotFoundError(source)
    # Excluded folders are not entered: an environment alone has tens of thousands of files.
    for folder, folder_names, file_names in os.walk(source, onerror=listing.refuse if listing else None):
        top = Path(folder).relative_to(source)
        folder_names[:] = sorted(
            name
            for name in folder_names
            if not _is_excluded(top / name, excluded)
            and not (Path(folder) / name / VENV_MARK).is_file()
            and not is_withheld((top / name).as_posix())
        )
        is_bare, links = True, [name for name in folder_names if listing and (Path(folder) / name).is_symlink()]
        for name in sorted(file_names):
            path = Path(folder) / name
            relative = (top / name).as_posix()
            if _is_excluded(top / name, excluded):
                continue
            if path.is_file() and not is_withheld(relative):
                is_bare = False
                if listing:
                    listing.on_file()
                yield path, relative
            elif listing and not path.is_file():
                listing.others.append(relative)
        if listing:
            listing.others += [(top / name).as_posix() for name in links]
            if is_bare and len(links) == len(folder_names):
                listing.bare_folders.append(top.as_posix())


def _is_excluded(path: Path, excluded: tuple[str, ...]) -> bool:
    """Return True if a path is not uploaded.

    :param path: relative to the folder.
    :param excluded: paths in the folder, or patterns.
    """
    if _ALWAYS_EXCLUDED.match(path.name):
        return True
    # What is in an excluded folder is never asked for.
    return any(path.as_posix() == name or fnmatch.fnmatch(path.as_posix(), name) for name in excluded)


@dataclass(frozen=True)
class UploadSize:
    """Files of an upload.

    :param by_name: name at the top of the folder -> bytes.
    """

    files: int
    total_bytes: int
    by_name: Mapping[str, int]


def measure(source: Path, excluded: tuple[str, ...] = ()) -> UploadSize:
    """Return the size of an upload, without reading the files."""
    by_name: Counter[str] = Counter()
    files = 0
    for path, name in list_files(source, excluded):
        by_name[name.partition("/")[0]] += path.stat().st_size
        files += 1
    return UploadSize(files, by_name.total(), by_name)
