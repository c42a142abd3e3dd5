"""Send a file, or the content of a folder, without the pieces that the other side has; run by hosts/receiving.py.

    python3 offer.py PATH

Standard output is the line @@offer, then frames: a letter, the length of the content in four bytes, the content. First
T (bytes of all files; 0: unknown) or N (there is nothing), then batches: D, F, L, S (folder, file, link, something
else, each as JSON), ! (a folder that cannot be read, with the reason) and Q. The answer to Q is a line, the numbers of
pieces that the other side has of each file of the batch, and their SHA-256. Then for each file its pieces in order, as
= (the same there), P or Z (compressed), and E, its end: what became of it, and the SHA-256 of those of its pieces. Then
X. Needs Python 3.7 and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import struct
import sys
import time
import zlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

PIECE_BYTES = 1 << 20
DIGEST_BYTES = 32
BATCH = 500
"""Entries between two questions."""

COUNT_S = 5.0
"""Longest time to count the bytes of all files: nothing is sent meanwhile."""

HEADER = struct.Struct(">cI")
SAME = bytes(64)
"""Content of a frame without one: a slow disk is not to look like a host that is lost."""


def put(kind: bytes, content: bytes = b"") -> None:
    """Send a frame."""
    sys.stdout.buffer.write(HEADER.pack(kind, len(content)) + content)


def put_json(kind: bytes, *values: object) -> None:
    """Send a frame with values as JSON; names that are no text have escapes of their bytes."""
    put(kind, json.dumps(values).encode())


def entries(top: str) -> Iterator[tuple[bytes, str, str]]:
    """Yield kind, name and path of everything in a folder; of a folder that cannot be read, the reason as its path."""
    errors: list[OSError] = []
    for folder, folders, files in os.walk(top, onerror=errors.append):
        folders.sort()
        for name in sorted([*folders, *files]):
            path = os.path.join(folder, name)
            kind = b"L" if os.path.islink(path) else b"D" if name in folders else b"F"
            yield kind, os.path.relpath(path, top), path
    for error in errors:
        yield b"!", os.path.relpath(str(error.filename), top), str(error.strerror)


def count(top: str) -> int:
    """Return the bytes of all files; 0 if that takes too long."""
    total, end = 0, time.monotonic() + COUNT_S
    for kind, _, path in entries(top):
        if time.monotonic() > end:
            return 0
        if kind == b"F":
            try:
                total += os.lstat(path).st_size
            except OSError:
                continue
    return total


def announce(kind: bytes, name: str, path: str) -> os.stat_result | None:
    """Send an entry; return the facts of a file."""
    if kind == b"L":
        put_json(b"L", name, os.readlink(path))
    elif kind == b"D":
        put_json(b"D", name)
    elif kind == b"!":
        put_json(b"!", name, path)
    else:
        facts = os.lstat(path)
        if stat.S_ISREG(facts.st_mode):
            put_json(b"F", name, facts.st_size, facts.st_mtime_ns, bool(facts.st_mode & 0o100))
            return facts
        put_json(b"S", name)
    return None


def send(batch: list[tuple[str, os.stat_result]]) -> None:
    """Ask what the other side has of some files, and send the rest."""
    put(b"Q")
    sys.stdout.buffer.flush()
    numbers = json.loads(sys.stdin.buffer.readline())
    digests = [sys.stdin.buffer.read(DIGEST_BYTES * number) for number in numbers]
    for (path, facts), own in zip(batch, digests):  # noqa: B905 - Python 3.9
        try:
            send_file(path, facts, own)
        except OSError as error:
            put_json(b"E", error.strerror or str(error), "")


def send_file(path: str, facts: os.stat_result, own: bytes) -> None:
    """Send the pieces of a file that differ, up to the size that it had."""
    # Another kind of file may have come in its place: a pipe would not be opened at all.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(descriptor, "rb", buffering=0) as file:
        whole, left, number = hashlib.sha256(), facts.st_size, 0
        while left:
            data = read(file, min(PIECE_BYTES, left))
            digest = hashlib.sha256(data).digest()
            whole.update(digest)
            if data and digest == own[DIGEST_BYTES * number : DIGEST_BYTES * (number + 1)]:
                put(b"=", SAME)
            elif data:
                packed = zlib.compress(data, 1)
                put(*((b"Z", packed) if len(packed) < len(data) else (b"P", data)))
            if len(data) < min(PIECE_BYTES, left):
                break
            left, number = left - len(data), number + 1
        now = os.fstat(descriptor)
    is_same = (now.st_size, now.st_mtime_ns) == (facts.st_size, facts.st_mtime_ns)
    put_json(b"E", "" if is_same else "changed", whole.hexdigest())


def read(file: object, size: int) -> bytes:
    """Return that many bytes, or all that are left."""
    data = b""
    while len(data) < size:
        block = file.read(size - len(data))  # type: ignore[attr-defined]
        if not block:
            break
        data += block
    return data


def main(path: str) -> None:
    """Send everything."""
    sys.stdout.buffer.write(b"@@offer\n")
    # Not between frames.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    if os.path.isfile(path):
        # Of a link, the file: its name is that of the link.
        real = os.path.realpath(path)
        put(b"T", b"%d" % os.stat(real).st_size)
        facts = announce(b"F", os.path.basename(path), real)
        send([(real, facts)] if facts else [])
    elif os.path.isdir(path):
        put(b"T", b"%d" % count(path))
        batch: list[tuple[str, os.stat_result]] = []
        for number, (kind, name, place) in enumerate(entries(path), 1):
            try:
                facts = announce(kind, name, place)
            except OSError:
                continue  # deleted since
            batch += [(place, facts)] if facts else []
            if number % BATCH == 0:
                send(batch)
                batch = []
        send(batch)
    else:
        put(b"N")
    put(b"X")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main(os.path.expanduser(sys.argv[1]))
