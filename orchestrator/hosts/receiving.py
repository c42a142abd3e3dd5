"""Files of a host received piece by piece: what is here already is not sent again. remote/transfers/offer.py sends.

A file that is incomplete has a name of its own beside its place until it is complete; the next transfer continues it.
Everything that the host sends is untrusted.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shlex
import shutil
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.core import remote_scripts
from orchestrator.core.errors import HostError
from orchestrator.core.host import Host
from orchestrator.ssh.channel import Timeouts
from orchestrator.ssh.client import MIN_BYTES
from orchestrator.ssh.line_stream import SILENCE_TIMEOUT_S
from orchestrator.ssh.receive import nothing_at
from orchestrator.ssh.tar_stream import (
    ChunkReader,
    OnSkipped,
    UnpackBudget,
    link_or_copy,
    make_folder,
    remove,
    resolve_links,
    safe_name,
)

if TYPE_CHECKING:
    from orchestrator.core.transfer_meter import Meter
    from orchestrator.ssh import SshClient
    from orchestrator.ssh.channel import ChannelSession

PIECE_BYTES = 1 << 20
DIGEST_BYTES = 32
MAX_TEXT_BYTES = 64 << 10
"""Of a frame that holds no piece of a file."""

MAX_BATCH = 500
HEADER = struct.Struct(">cI")
START = b"@@offer\n"
MAX_LINK_BYTES = 256 << 20
"""Names and targets of all links: they are held in memory."""

_PIECES = (b"=", b"P", b"Z")


@dataclass(frozen=True)
class Offer:
    """A file as the host announces it.

    :param name: checked; relative to the folder here.
    """

    name: str
    size: int
    mtime_ns: int
    is_executable: bool

    def length(self, number: int) -> int:
        """Return the bytes of a piece."""
        return max(0, min(PIECE_BYTES, self.size - number * PIECE_BYTES))


class Part:
    """A file that is incomplete, and the file at its place, whose pieces may be the same."""

    def __init__(self, folder: Path, offer: Offer) -> None:
        self.offer, self.place = offer, folder / offer.name
        short = hashlib.sha256(os.fsencode(self.place.name)).hexdigest()[:16]
        self.path = self.place.with_name(f".stratus-{short}.part")
        self.base = next((path for path in (self.path, self.place) if _is_own_file(path)), None)
        has_bytes = min(offer.size, self.base.stat().st_size) if self.base else 0
        # The last piece counts only as a whole.
        self.count = has_bytes // PIECE_BYTES if has_bytes < offer.size else -(-has_bytes // PIECE_BYTES)

    def digests(self) -> list[bytes]:
        """Return the SHA-256 of the pieces that are here."""
        if self.base is None:
            return []
        with self.base.open("rb") as file:
            return [hashlib.sha256(file.read(self.offer.length(number))).digest() for number in range(self.count)]

    def open(self) -> Any:
        """Open it for writing, with the bytes of the file at its place if it is new."""
        if self.base != self.path:
            self.path.unlink(missing_ok=True)
            if self.base:
                shutil.copyfile(self.base, self.path)
            else:
                self.path.touch()
            self.base = self.path
        return self.path.open("r+b")

    def finish(self, size: int, folder: Path) -> None:
        """Give it its name."""
        path = self.base or self.path
        if path == self.path or path.stat().st_size != size:
            with self.open() as file:
                file.truncate(size)
            path = self.path
        # Of the sender's mode, only the execute bit is kept.
        path.chmod(0o755 if self.offer.is_executable else 0o644)
        # A time of the sender that no file system can store.
        with contextlib.suppress(ValueError, OverflowError, OSError):
            os.utime(path, ns=(self.offer.mtime_ns, self.offer.mtime_ns))
        if path == self.path:
            remove(self.place, folder)
            os.replace(path, self.place)


def _is_own_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


@dataclass
class Receiving:
    """One transfer from a host.

    :ivar total: bytes of all files.
    :ivar failures: files that could not be read there.
    """

    host: Host
    remote: str
    folder: Path
    session: ChannelSession
    budget: UnpackBudget
    meter: Meter
    on_skipped: OnSkipped
    total: int = 0
    links: dict[str, str] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._link_bytes = 0
        self._source = ChunkReader(data for _, data in self.session.output())

    def run(self) -> int:
        """Receive everything; return the bytes of all files.

        :raises HostError: there is nothing, a file could not be read there or written here, or the host lies.
        """
        self._skip_greeting()
        kind, text = self._frame()
        if kind == b"N":
            raise nothing_at(self.host, self.remote)
        if kind != b"T" or not text.isdigit():
            raise self._lies("no offer")
        self.meter.total_bytes = int(text[:18])
        batch: list[Offer] = []
        for kind, content in self._frames():
            if kind == b"F":
                batch.append(self._offer(content))
                if len(batch) > MAX_BATCH:
                    raise self._lies("more files than it may send at once")
            elif kind == b"Q":
                self._receive([self._part(offer) for offer in batch])
                batch = []
            else:
                self._note(kind, content)
        resolve_links(
            self.links,
            self.folder,
            self.on_skipped,
            lambda target, path: link_or_copy(target, path, self.folder, self.budget, os.link),
        )
        if self.failures:
            raise HostError(f"could not receive {self.failures[0]}", where=self.host.name)
        return self.total

    def _skip_greeting(self) -> None:
        """Read what the shell of the login may say before the program starts."""
        text = bytearray()
        while not text.endswith(START):
            byte = self._source.read(1)
            if not byte or len(text) > MAX_TEXT_BYTES:
                self.session.exit_status()
                lines = bytes(text).decode("utf-8", errors="replace").strip().splitlines() or ["no answer"]
                reason = "".join(char for char in lines[-1] if char.isprintable())
                raise HostError(f"could not receive {self.remote}: {reason[:200]}", where=self.host.name)
            text += byte

    def _frames(self) -> Iterator[tuple[bytes, bytes]]:
        while (frame := self._frame())[0] != b"X":
            yield frame

    def _frame(self) -> tuple[bytes, bytes]:
        kind, length = HEADER.unpack(self._exactly(HEADER.size))
        if length > (PIECE_BYTES if kind in _PIECES else MAX_TEXT_BYTES) or kind not in b"TNDFLSQ!=PZEX":
            raise self._lies("no frame")
        return kind, self._exactly(length)

    def _exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            block = self._source.read(size - len(data))
            if not block:
                # Raises an error if the connection was lost.
                self.session.exit_status()
                raise HostError(f"could not receive {self.remote}: it ended early", where=self.host.name)
            data += block
        return bytes(data)

    def _values(self, content: bytes, *types: type) -> list[Any]:
        try:
            values = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise self._lies("damaged") from error
        if not isinstance(values, list) or [type(value) for value in values] != list(types):
            raise self._lies("damaged")
        return values

    def _offer(self, content: bytes) -> Offer:
        self.budget.take_file()
        name, size, mtime_ns, is_executable = self._values(content, str, int, int, bool)
        if not 0 <= size < 1 << 60:
            raise self._lies("a size that no file has")
        return Offer(self._name(name), size, mtime_ns, is_executable)

    def _name(self, text: str) -> str:
        name = safe_name(text)
        if name == ".":
            raise self._lies("no name")
        return name

    def _note(self, kind: bytes, content: bytes) -> None:
        if kind in (b"L", b"!"):
            self.budget.take_file()
            name, text = self._values(content, str, str)
            if kind == b"L":
                self._link_bytes += len(content)
                if self._link_bytes > MAX_LINK_BYTES:
                    raise self._lies("links without end")
                target = os.path.join(os.path.dirname(self._name(name)), text)
                self.links[self._name(name)] = os.path.normpath(target)
            else:
                shown = self.remote if name == "." else name
                self.failures.append(ascii(f"{shown}: {text}"[:200]))
                del self.failures[1:]
        elif kind in (b"D", b"S"):
            self.budget.take_file()
            (name,) = self._values(content, str)
            if kind == b"S":
                self.on_skipped(name, "neither a file nor a folder")
            else:
                self._prepare(self.folder / self._name(name))
        else:
            raise self._lies("out of order")

    def _prepare(self, folder: Path) -> None:
        """Make a folder below the target; files on the way to it are replaced."""
        if not folder.parent.resolve().is_relative_to(self.folder.resolve()):
            raise HostError(f"refused {folder.name!a}: a local link leads outside the folder", where=self.host.name)
        if folder.is_symlink():
            folder.unlink()
        make_folder(folder, self.folder)

    def _part(self, offer: Offer) -> Part:
        folder = (self.folder / offer.name).parent
        if folder != self.folder:
            self._prepare(folder)
        return Part(self.folder, offer)

    def _receive(self, parts: list[Part]) -> None:
        digests = [part.digests() for part in parts]
        answer = json.dumps([len(known) for known in digests]).encode() + b"\n"
        self.session.send([answer, *(b"".join(known) for known in digests)])
        for part, known in zip(parts, digests, strict=True):
            self._receive_file(part, known)

    def _receive_file(self, part: Part, known: list[bytes]) -> None:
        whole, size, number = hashlib.sha256(), 0, 0
        with contextlib.ExitStack() as stack:
            file = None
            while (frame := self._frame())[0] in _PIECES:
                kind, content = frame
                length = part.offer.length(number)
                if kind == b"=":
                    if number >= len(known):
                        raise self._lies("a piece that is not here is not the same")
                    whole.update(known[number])
                    size += length
                    self.meter.skip(length)
                else:
                    data = self._inflated(content, length) if kind == b"Z" else content
                    # A piece that is shorter is the last one: the file was cut.
                    if not 0 < len(data) <= length or size != number * PIECE_BYTES:
                        raise self._lies("a piece of another size")
                    self.budget.take_bytes(len(data))
                    file = file or stack.enter_context(part.open())
                    file.seek(size)
                    file.write(data)
                    whole.update(hashlib.sha256(data).digest())
                    size += len(data)
                number += 1
        if frame[0] != b"E":
            raise self._lies("out of order")
        state, digest = self._values(frame[1], str, str)
        if not digest:
            self.failures.append(ascii(f"{part.offer.name}: {state}"[:200]))
            return
        self._finish(part, size, state, whole.hexdigest() == digest)

    def _finish(self, part: Part, size: int, state: str, is_equal: bool) -> None:
        if not is_equal or (size != part.offer.size and not state):
            part.path.unlink(missing_ok=True)
            raise HostError(f"{part.offer.name!a}: the checksum is another one", where=self.host.name)
        if state:
            self.on_skipped(part.offer.name, "changed while it was received")
        part.finish(size, self.folder)
        self.total += size

    def _inflated(self, content: bytes, length: int) -> bytes:
        try:
            return zlib.decompressobj().decompress(content, length + 1)
        except zlib.error as error:
            raise self._lies("damaged") from error

    def _lies(self, what: str) -> HostError:
        return HostError(f"refused what it sent for {self.remote}: {what}", where=self.host.name)


def receive(
    ssh: SshClient,
    host: Host,
    remote: str,
    folder: Path,
    *,
    timeout_s: float,
    budget: UnpackBudget,
    meter: Meter,
    on_skipped: Callable[[str, str], None],
) -> int:
    """Receive a file, or the content of a folder, without the pieces that are here; return the bytes of all files.

    :param folder: created if missing; files of the same name are replaced, others stay.
    :param timeout_s: seconds for everything; less than 4 KiB in 30 s ends it sooner.
    :raises HostError: there is nothing, or it could not be read there or written here; the rest is received.
    :raises ConnectError: no session, or kind ``lost``; the next call continues.
    """
    command = shlex.join(["python3", "-c", remote_scripts.text("transfers/offer.py"), remote])
    timeouts = Timeouts(SILENCE_TIMEOUT_S, ssh.clock.monotonic() + timeout_s, MIN_BYTES)
    stream = ssh.open_stream(host, command, timeouts)
    with stream:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return Receiving(host, remote, folder, stream.session, budget, meter, on_skipped).run()
        except OSError as error:
            message = f"cannot write {error.filename or folder}: {error.strerror or error}"
            raise HostError(message, where=host.name) from error
        except HostError as error:
            error.where = error.where or host.name
            raise
