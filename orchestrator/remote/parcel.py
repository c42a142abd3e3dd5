"""Receive a folder from the client, without the content that this host has already; run by steps/parcel.sh.

    python3 parcel.py NAME DEST        with the upload channel on standard input

It requests the list of files (@@want NAME: a line with a length, then that many bytes, deflated: six fields per file,
each ended by NUL: name, SHA-256, size, mode, time of change in ns, target if it is a link), then the contents that
are missing (@@missing NAME BITMAP), which arrive in the order of the list as one stream in chunks: each
a line "LENGTH raw" or "LENGTH zlib" and that many bytes; large uploads are received by pieces.py instead. A content is
known by its SHA-256. It is taken from DEST as it is, from an interrupted upload, or from another upload's folder. Needs
Python 3.9 and its standard library only, of which it imports what starts quickly: it runs on every host before every
run of changed code.
"""

from __future__ import annotations

import binascii
import errno
import fcntl
import hashlib
import os
import stat
import sys
import zlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

BLOCK_BYTES = 1 << 20
MAX_BITMAP_BYTES = 45_000
"""The bitmap has to fit into one line of 64 KiB; contents beyond it are always sent."""

FICLONE = 0x40049409
"""Request of ioctl(2) that shares the blocks of a file with a copy of it, on file systems that can."""

FIELDS = 6


class Problem(Exception):
    """A reason to give up, in one line."""


class File:
    """One file of the list.

    :ivar digest: SHA-256 of its content.
    :ivar link: target, if it is a symbolic link.
    """

    def __init__(self, name: str, digest: str, size: str, mode: str, mtime_ns: str, link: str) -> None:
        self.name, self.digest, self.link = name, digest, link
        self.size, self.mode, self.mtime_ns = int(size), int(mode), int(mtime_ns)


def records(data: bytes) -> Iterator[list[str]]:
    """Yield the fields of each record."""
    fields = data.decode("utf-8", "surrogateescape").split("\0")
    for start in range(0, len(fields) - FIELDS + 1, FIELDS):
        yield fields[start : start + FIELDS]


def facts(status: os.stat_result) -> list[int]:
    """Return everything that changes when the file does: ctime cannot be set back."""
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def sha256_of(path: str) -> str:
    """Return the digest of a file; empty if it cannot be read."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb", buffering=0) as file:
            while block := file.read(BLOCK_BYTES):
                digest.update(block)
    except OSError:
        return ""
    return digest.hexdigest()


class Stream:
    """Bytes of all contents, read from chunks."""

    def __init__(self, source: BinaryIO) -> None:
        self.source = source
        self.rest = memoryview(b"")
        # Line that was read before its turn.
        self.first: list[bytes] = []

    def exactly(self, size: int) -> bytes:
        """Return that many bytes of the source."""
        data = self.source.read(size)
        if len(data) < size:
            raise Problem("the upload was interrupted; files that have arrived are kept for the next one")
        return data

    def line(self) -> list[bytes]:
        """Return the fields of a line of the source."""
        fields = self.source.readline(256).split()
        if not fields:
            raise Problem("the upload was interrupted; files that have arrived are kept for the next one")
        return fields

    def blocks(self, size: int) -> Iterator[memoryview]:
        """Yield the next bytes of the contents."""
        while size:
            if not self.rest:
                length, form = self.first or self.line()
                self.first = []
                data = self.exactly(int(length))
                self.rest = memoryview(zlib.decompress(data) if form == b"zlib" else data)
            block, self.rest = self.rest[:size], self.rest[size:]
            size -= len(block)
            yield block


class Index:
    """Digests of the files in the folders of all uploads, as they were when they arrived.

    :param state: folder with a file per upload.
    """

    def __init__(self, state: str) -> None:
        self.state = state
        # Path -> digest and the file's stat then.
        self.files: dict[str, tuple[str, list[int]]] = {}
        self.paths: dict[str, list[str]] = {}
        for name in sorted(os.listdir(state)):
            if name.startswith("parcel-") and name.endswith(".files"):
                self._load(os.path.join(state, name))

    def _load(self, path: str) -> None:
        try:
            with open(path, "rb") as file:
                for name, digest, *numbers in records(file.read()):
                    self.files[name] = (digest, [int(number) for number in numbers])
                    self.paths.setdefault(digest, []).append(name)
        # A damaged index costs time only: contents are compared instead.
        except (OSError, ValueError):
            pass

    def holds(self, path: str, digest: str, size: int) -> bool:
        """Return True if a file has this content; its bytes are read unless it is as it was when it arrived."""
        try:
            status = os.lstat(path)
        except OSError:
            return False
        if status.st_size != size or not stat.S_ISREG(status.st_mode):
            return False
        known = self.files.get(path)
        return (known[0] if known and known[1] == facts(status) else sha256_of(path)) == digest

    def find(self, digest: str, size: int) -> str:
        """Return the path of a file with this content; empty if there is none."""
        return next((path for path in self.paths.get(digest, ()) if self.holds(path, digest, size)), "")

    def save(self, name: str, files: dict[str, tuple[str, list[int]]]) -> None:
        """Write one upload's files, as they are: digest and facts of each path."""
        path = os.path.join(self.state, f"parcel-{name}.files")
        part = f"{path}.{os.getpid()}"
        text = "".join("\0".join([path, digest, *map(str, numbers), ""]) for path, (digest, numbers) in files.items())
        with open(part, "wb") as file:
            file.write(text.encode("utf-8", "surrogateescape"))
        os.replace(part, path)


class Parcel:
    """One upload."""

    def __init__(self, name: str, dest: str, files: list[File], index: Index) -> None:
        self.name, self.dest, self.new, self.partial = name, dest, f"{dest}.new", f"{dest}.partial"
        self.files, self.index = files, index
        # Name of a file that was sent -> its digest, and its facts if it has its mode and time.
        self.arrived: dict[str, tuple[str, list[int]]] = {}
        # Folders in which a file may be under its own name.
        self.folders = [dest, self.partial]
        # As tar does: root keeps the modes, for others the umask holds.
        os.umask(umask := os.umask(0o077))
        self.mask = 0o777 if os.geteuid() == 0 else 0o777 & ~umask

    def open_folder(self) -> None:
        """Create the new folder; one that an interrupted upload left becomes a source of contents."""
        parent, own = os.path.split(self.dest)
        os.makedirs(parent, exist_ok=True)
        for name in os.listdir(parent):
            if name.startswith(f"{own}.old."):
                remove(os.path.join(parent, name))
        if os.path.isdir(self.new):
            remove(self.partial)
            os.rename(self.new, self.partial)
        self.folders = [folder for folder in self.folders if os.path.isdir(folder)]
        os.makedirs(self.new)
        for folder in sorted({os.path.dirname(file.name) for file in self.files} - {""}):
            os.makedirs(os.path.join(self.new, folder), exist_ok=True)

    def take_present(self) -> list[int]:
        """Bring everything that this host has into the new folder; return the numbers of the files that it lacks."""
        lacking = []
        # Contents that several files share are sent once.
        requested: set[str] = set()
        for number, file in enumerate(self.files):
            if file.link:
                os.symlink(file.link, os.path.join(self.new, file.name))
            elif number >= 8 * MAX_BITMAP_BYTES or file.digest in requested or not self.take(file):
                requested.add(file.digest)
                lacking.append(number)
        return lacking

    def take(self, file: File) -> bool:
        """Bring one file into the new folder, if this host has its content."""
        path = os.path.join(self.new, file.name)
        for folder in self.folders:
            old = os.path.join(folder, file.name)
            if self.index.holds(old, file.digest, file.size) and link(old, path):
                return True
        source = self.index.find(file.digest, file.size)
        if source:
            copy(source, path)
        return bool(source)

    def receive(self, lacking: list[int], stream: Stream) -> None:
        """Write the contents that arrive, each to the files that have it."""
        # Digest -> name of the file that it was received for.
        first: dict[str, str] = {}
        for file in (self.files[number] for number in lacking):
            path = os.path.join(self.new, file.name)
            if file.digest in first:
                copy(os.path.join(self.new, first[file.digest]), path)
                # Its own digest: the file may have changed on the client since the list was made.
                self.arrived[file.name] = (self.arrived[first[file.digest]][0], [])
            else:
                self.arrived[file.name] = self.receive_one(path, file, stream)
                first[file.digest] = file.name

    def receive_one(self, path: str, file: File, stream: Stream) -> tuple[str, list[int]]:
        """Write one file, with its time and, if the owner may write it, its mode; return its digest, and facts if so.

        One that is incomplete, because the upload is interrupted, is found by its size; pieces.py goes on writing it.
        """
        mode, digest = file.mode & self.mask | 0o600, hashlib.sha256()
        target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        try:
            for block in stream.blocks(file.size):
                digest.update(block)
                while block:
                    block = block[os.write(target, block) :]
            # The umask holds for root, too, and a folder may have rules of its own.
            if os.fstat(target).st_mode & 0o7777 != mode:
                os.fchmod(target, mode)
            os.utime(target, ns=(file.mtime_ns, file.mtime_ns))
            return digest.hexdigest(), facts(os.fstat(target)) if mode == file.mode & self.mask else []
        finally:
            os.close(target)

    def finish(self) -> None:
        """Set modes and times, and put the new folder in the place of the old one."""
        files = [file for file in self.files if not file.link]
        for file in files:
            if not self.arrived.get(file.name, ("", []))[1]:
                finish_file(os.path.join(self.new, file.name), file.mode & self.mask, file.mtime_ns)
        # Moved away before it is removed: a job's container may have written files into it that only root can remove.
        old = f"{self.dest}.old.{os.getpid()}"
        if os.path.lexists(self.dest):
            os.rename(self.dest, old)
        # Renamed when complete: a broken transfer never leaves a partial folder under the real name.
        os.rename(self.new, self.dest)
        for folder in (old, self.partial):
            remove(folder)
        # After the removal, which changes ctime of files that were in both folders.
        self.index.save(self.name, {os.path.join(self.dest, file.name): self.known(file) for file in files})

    def known(self, file: File) -> tuple[str, list[int]]:
        """Return the digest and the facts of a file in its place."""
        digest, numbers = self.arrived.get(file.name, (file.digest, []))
        return digest, numbers or facts(os.lstat(os.path.join(self.dest, file.name)))


def remove(folder: str) -> None:
    """Remove a folder, as far as possible, or a file."""
    for top, folders, names in os.walk(folder, topdown=False):
        for name in names:
            attempt(os.unlink, os.path.join(top, name))
        for name in folders:
            path = os.path.join(top, name)
            attempt(os.unlink if os.path.islink(path) else os.rmdir, path)
    if os.path.lexists(folder):
        attempt(os.unlink if not os.path.isdir(folder) or os.path.islink(folder) else os.rmdir, folder)


def attempt(change: Callable[[str], None], path: str) -> None:
    """Change a path; what cannot be removed stays, and is tried again at the next upload."""
    # Without contextlib, whose import takes as long as the rest of the start.
    try:  # noqa: SIM105
        change(path)
    except OSError:
        pass


def finish_file(path: str, mode: int, mtime_ns: int) -> None:
    """Set the mode and the time of a file, where they differ."""
    status = os.stat(path)
    if status.st_mode & 0o7777 != mode:
        os.chmod(path, mode)
    if status.st_mtime_ns != mtime_ns:
        os.utime(path, ns=(mtime_ns, mtime_ns))


def link(old: str, path: str) -> bool:
    """Give a file a second name: its old folder is about to go, so that it needs no copy; False if that failed."""
    before = os.stat(old)
    # Of another user, such as root in a container: its mode could not be set.
    if before.st_uid != os.geteuid():
        return False
    try:
        os.link(old, path)
    except OSError:
        return False
    after = os.stat(path)
    # A link changes ctime. Had a job written at this moment, its time of change would differ.
    if (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns):
        return True
    os.unlink(path)
    return False


def copy(source: str, path: str) -> None:
    """Copy a file; a second name would let a job that writes into one folder change the other."""
    with open(source, "rb") as reader, open(path, "wb") as writer:
        try:
            fcntl.ioctl(writer.fileno(), FICLONE, reader.fileno())
        except OSError:
            while block := reader.read(BLOCK_BYTES):
                writer.write(block)


def bitmap(numbers: list[int]) -> str:
    """Return the numbers as bits, the lowest first, in Base64."""
    bits = bytearray(min(MAX_BITMAP_BYTES, max(numbers, default=-1) // 8 + 1))
    for number in numbers:
        if number < 8 * len(bits):
            bits[number // 8] |= 1 << number % 8
    return binascii.b2a_base64(bits, newline=False).decode()


def receive(name: str, dest: str, source: BinaryIO) -> None:
    """Bring the folder up to date."""
    stream = Stream(source)
    print(f"@@want {name}", flush=True)
    files = [File(*fields) for fields in records(zlib.decompress(stream.exactly(int(stream.line()[0]))))]
    parcel = Parcel(name, dest, files, Index(os.path.join(os.environ["STRATUS_ROOT"], "state")))
    parcel.open_folder()
    lacking = parcel.take_present()
    if lacking:
        print(f"@@missing {name} {bitmap(lacking)}", flush=True)
    if any(files[number].size for number in lacking):
        stream.first = stream.line()
    if stream.first[:1] == [b"pieces"]:
        receive_pieces(parcel, lacking, stream)
        return
    parcel.receive(lacking, stream)
    parcel.finish()


def receive_pieces(parcel: Parcel, lacking: list[int], stream: Stream) -> None:
    """Bring a folder up to date that lacks much."""
    # Here: their imports take longer than a small upload.
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    import pieces

    sizes, stream.first = stream.first[1:], []
    try:
        receiver = pieces.receive(parcel, lacking, stream, sizes)
    except pieces.Refused as error:
        raise Problem(f"{error}; upload it again") from None
    for file in (parcel.files[number] for number in lacking):
        if receiver.holders[file.digest] != file.name:
            copy(os.path.join(parcel.new, receiver.holders[file.digest]), os.path.join(parcel.new, file.name))
    parcel.finish()
    receiver.finish()


def main(name: str, dest: str) -> int:
    """Receive one upload; return the exit status."""
    try:
        receive(name, dest, sys.stdin.buffer)
    except Problem as problem:
        print(problem)
        return 1
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        print(f"{error.filename or dest}: {'the disk is full' if full else error.strerror or error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
