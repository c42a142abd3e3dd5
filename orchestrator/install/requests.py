"""Requests of a host during an install, and the bytes that answer them: uploads, and the password of a registry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrator.core.clock import Clock
from orchestrator.core.errors import HostError
from orchestrator.core.events import Event, EventHandler
from orchestrator.core.host import Host
from orchestrator.install.fan_out import Tree, certificate_name
from orchestrator.install.image_share import ImageShare
from orchestrator.install.parcel import MAX_BITMAP_BYTES, Chunk, Parcel, Piece
from orchestrator.install.parcel import chunks as parcel_chunks
from orchestrator.install.upload import UploadFile

if TYPE_CHECKING:
    from orchestrator.install.registry_login import RegistryLogin

SHOWN_FROM_BYTES = 8_000_000
"""Smaller uploads are over before a line about them can be read."""

PROGRESS_INTERVAL_S = 0.5
MAX_PIECES = 8 * MAX_BITMAP_BYTES
MAX_PORT = 65535


@dataclass
class UploadProgress:
    """Progress of one upload to one host, as a line now and then.

    :param total_bytes: of the contents that the host lacks.
    """

    host: str
    total_bytes: int
    clock: Clock
    on_event: EventHandler
    done_bytes: int = 0

    def __post_init__(self) -> None:
        self._began = self._shown_at = self.clock.monotonic()

    def reach(self, done_bytes: int) -> None:
        """Note how much the host has received."""
        self.add(max(0, min(done_bytes, self.total_bytes) - self.done_bytes))

    def add(self, count_bytes: int) -> None:
        """Count bytes that the host has accepted."""
        self.done_bytes += count_bytes
        now = self.clock.monotonic()
        if self.total_bytes >= SHOWN_FROM_BYTES and now - self._shown_at >= PROGRESS_INTERVAL_S:
            self._shown_at = now
            self.on_event(Event(self.host, "", "progress", text=self.text(now)))

    def text(self, now: float) -> str:
        """Return the amounts, the rate and the time left."""
        rate = self.done_bytes / (now - self._began) if now > self._began else 0.0
        amounts = f"uploaded {_mb(self.done_bytes)} of {_mb(self.total_bytes)} MB"
        if not rate:
            return amounts
        minutes, seconds = divmod(int((self.total_bytes - self.done_bytes) / rate + 0.999), 60)
        return f"{amounts}   {rate / 1e6:.1f} MB/s   about {minutes}:{seconds:02} left"


def _mb(count_bytes: int) -> str:
    return f"{count_bytes / 1e6:,.0f}"


@dataclass
class HostRequests:
    """Requests of one host during one install; each upload may be requested once.

    :param parcels: uploads of the plan, by name.
    :param trees: of the same uploads: hosts that pass large ones on.
    :param share: of the image that one host builds for all; None: each builds its own.
    :ivar large: progress of uploads in pieces, by name.
    """

    host: Host
    parcels: Mapping[str, Parcel]
    trees: Mapping[str, Tree]
    login: RegistryLogin | None
    clock: Clock
    on_event: EventHandler
    share: ImageShare | None = None
    answered: set[str] = field(default_factory=set)
    large: dict[str, UploadProgress | None] = field(default_factory=dict)
    sent_bytes: int = 0

    def respond(self, line: str) -> Iterator[bytes] | None:
        """Return the bytes that answer a line of the host; None if it is no request.

        :raises HostError: the request is not part of the install.
        """
        mark, _, value = line.partition(" ")
        if mark == "@@want":
            return self._password(self.login) if value == "login" and self.login else self._listing(value)
        if mark == "@@missing":
            name, _, bitmap = value.partition(" ")
            return self._contents(name, bitmap)
        if mark == "@@lacks":
            return self._source(*[*value.split(), *[""] * 5][:5])
        if mark == "@@have":
            name, _, count = value.partition(" ")
            return self._note(name, count)
        return self._image(mark, value) if self.share else None

    def _image(self, mark: str, value: str) -> Iterator[bytes] | None:
        assert self.share
        if mark == "@@image-source" and mark not in self.answered:
            self.answered.add(mark)
            return self.share.source(self.host)
        if mark == "@@digests":
            self.share.add_digests(self.host, value)
        if mark == "@@offer":
            return self.share.offer(self.host, *[*value.split(), "", ""][:2])
        if mark == "@@serving":
            self.share.serve(self.host, value)
        return None

    def _listing(self, name: str) -> Iterator[bytes]:
        return iter([self._parcel(name, f"@@want {name}").listing])

    def _contents(self, name: str, bitmap: str) -> Iterator[bytes]:
        parcel = self._parcel(name, f"@@missing {name}")
        try:
            files = parcel.requested_files(bitmap)
        except ValueError as error:
            raise self._refused("files in an unknown format") from error
        chunks = list(parcel_chunks(files))
        total_bytes = sum(chunk.size_bytes for chunk in chunks)
        tree = self.trees.get(name)
        is_large = total_bytes and (not parcel.is_here or (tree and total_bytes >= tree.options.min_bytes))
        if tree and is_large and len(parcel.pieces) <= MAX_PIECES:
            self.large[name] = None
            return self._announcement(parcel, tree, files)
        return self._frames(parcel, chunks, UploadProgress(self.host.name, total_bytes, self.clock, self.on_event))

    def _announcement(self, parcel: Parcel, tree: Tree, files: list[UploadFile]) -> Iterator[bytes]:
        membership, digests = tree.membership(self.host), parcel.piece_digests(files)
        yield b"pieces %d %d\n" % (len(membership), len(digests)) + membership + digests

    def _source(self, name: str, port: str, lost: str, why: str, bitmap: str) -> Iterator[bytes]:
        if name not in self.large or not port.isdecimal() or int(port) > MAX_PORT:
            raise self._refused(name[:40])
        parcel, tree = self.parcels[name], self.trees[name]
        try:
            pieces = parcel.requested_pieces(bitmap)
        except ValueError as error:
            raise self._refused("files in an unknown format") from error
        size_bytes = sum(piece.size_bytes for piece in pieces)
        if self.large[name] is None:
            self.large[name] = UploadProgress(self.host.name, size_bytes, self.clock, self.on_event)
        if source := tree.source(self.host, int(port), lost, why):
            fields = ("peer", source.name, source.private_address, tree.port_of(source), certificate_name(source))
            return iter([(" ".join(map(str, fields)) + "\n").encode()])
        if not parcel.is_here:
            return iter([b"none\n"])
        # Twice at most: a host that has received everything could lose it all once.
        self.sent_bytes += size_bytes
        if self.sent_bytes > 2 * sum(piece.size_bytes for parcel in self.parcels.values() for piece in parcel.pieces):
            raise self._refused(f"{name[:40]} again and again")
        return self._direct(parcel, pieces)

    def _direct(self, parcel: Parcel, pieces: list[Piece]) -> Iterator[bytes]:
        yield b"client\n"
        for _, frame in parcel.frames(parcel.chunks_of(pieces), self.clock):
            yield frame

    def _note(self, name: str, count: str) -> Iterator[bytes] | None:
        progress = self.large.get(name)
        if progress is None or not (count.isascii() and count.isdecimal() and len(count) < 20):
            return None
        progress.reach(int(count))
        is_complete = progress.done_bytes == progress.total_bytes
        is_slow = self.trees[name].report(self.host, progress.done_bytes, is_complete=is_complete)
        return iter([b"move\n"]) if is_slow else None

    def _frames(self, parcel: Parcel, chunks: list[Chunk], progress: UploadProgress) -> Iterator[bytes]:
        for chunk, frame in parcel.frames(chunks, self.clock):
            yield frame
            progress.add(chunk.size_bytes)

    def _parcel(self, name: str, request: str) -> Parcel:
        # Once: a host that repeats a request would be sent the same bytes without end.
        if name not in self.parcels or request in self.answered:
            raise self._refused(f"{name[:40]!a}, which is not part of the install")
        self.answered.add(request)
        return self.parcels[name]

    def _refused(self, request: str) -> HostError:
        return HostError(f"it requests {request}", where=self.host.name)

    def _password(self, login: RegistryLogin) -> Iterator[bytes]:
        password = login.password().reveal().encode()
        yield b"%d\n" % len(password) + password
