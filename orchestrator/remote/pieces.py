"""Receive what a host lacks of a large upload in pieces, from the client or from another host; used by parcel.py.

The client answers @@missing with a line "pieces A B", A bytes of JSON (certificates for connections to other hosts;
empty: there are none) and B bytes of digests: SHA-256 of each piece of those requested files that have several. The
host then asks where to get what it lacks: "@@lacks NAME PORT LOST WHY BITMAP" (its own port for other hosts, or 0; the
host that it got pieces from until now, and why it leaves that, or "-"). The answer is a line: "client", followed by
chunks as in parcel.py, "peer NAME ADDRESS PORT CERTIFICATE" (the name in its certificate), or "none". The host reports
its progress, "@@have NAME BYTES", to which "move" may come as an answer: leave that host. A piece of any sender is kept
only if it has the client's digest.
"""

from __future__ import annotations

import binascii
import hashlib
import json
import os
import select
import socket
import ssl
import sys
import time

import peers
from peers import BEAT, HEADER, NUMBER, PIECE, SILENT_S, Link, Piece

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from parcel import File, Parcel, Stream

PIECE_BYTES = 1 << 20
CONNECT_S, REPORT_S = 5.0, 0.5
PROBES = 16
"""Pieces by which an older version of a file is judged: all of it is read only if it has one of them."""

IMAGE = "image"
"""Upload that is needed until the engine has loaded it, and other hosts have got it."""


class Refused(Exception):
    """The client sent something else than it announced."""


class Lost(Exception):
    """Another host does not send what it was asked for; the message is the reason, one word."""


class Receiver:
    """Contents of one upload that this host lacks.

    :param lacking: numbers of the files.
    :param digests: of the pieces of large files among them.
    :ivar holders: digest of each content -> name of the file that has it.
    """

    def __init__(self, parcel: Parcel, lacking: Sequence[int], stream: Stream, digests: bytes) -> None:
        self.parcel, self.stream = parcel, stream
        self.holders = _holders(parcel.files, set(lacking))
        self.pieces = self._pieces(digests, [parcel.files[number] for number in lacking])
        missing = {parcel.files[number].name for number in lacking}
        self.have = bytearray(piece.name not in missing for piece in self.pieces)
        self.tls: dict[str, str] = {}
        self.link = Link(0)
        self.port, self.pipe = 0, -1
        self.done_bytes, self.reported_at = 0, 0.0

    def _pieces(self, digests: bytes, lacking: Sequence[File]) -> list[Piece]:
        known: dict[str, list[bytes]] = {}
        for file in lacking:
            if not file.link and file.size > PIECE_BYTES and file.digest not in known:
                count = -(-file.size // PIECE_BYTES)
                known[file.digest] = [digests[32 * number : 32 * (number + 1)] for number in range(count)]
                digests = digests[32 * count :]
        pieces, seen = [], set()
        for file in self.parcel.files:
            if file.link or file.digest in seen:
                continue
            seen.add(file.digest)
            for offset in range(0, file.size, PIECE_BYTES):
                size = min(PIECE_BYTES, file.size - offset)
                own = bytes.fromhex(file.digest) if size == file.size else b""
                digest = known[file.digest][offset // PIECE_BYTES] if file.digest in known else own
                pieces.append(Piece(self.holders[file.digest], offset, size, digest))
        return pieces

    def prepare(self, files: Sequence[File]) -> None:
        """Create the files that are missing, with what an interrupted upload or an older version has of them."""
        for file in files:
            path = os.path.join(self.parcel.new, file.name)
            partial = os.path.join(self.parcel.partial, file.name)
            # Of its own content only: a second name may be that of a file in use.
            is_begun = file.size > PIECE_BYTES and is_own(partial)
            if is_begun:
                os.rename(partial, path)
            target = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            try:
                os.ftruncate(target, file.size)
                if file.size > PIECE_BYTES:
                    self._take_old(file, target, is_begun=is_begun)
            finally:
                os.close(target)

    def _take_old(self, file: File, target: int, *, is_begun: bool) -> None:
        numbers = [number for number, piece in enumerate(self.pieces) if piece.name == file.name]
        path = os.path.join(self.parcel.dest, file.name)
        # Another kind of file may have come in its place: a job's pipe would not be opened at all.
        old = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK) if is_file(path) else -1
        sources = [source for source, is_there in ((target, is_begun), (old, old >= 0)) if is_there]
        probes = numbers[:: -(-len(numbers) // PROBES)]
        if old >= 0 and not any(self._read_piece(old, number) for number in probes):
            sources = sources[: int(is_begun)]
        for number in numbers if sources else ():
            for source in sources:
                if data := self._read_piece(source, number):
                    if source == old:
                        os.pwrite(target, data, self.pieces[number].offset)
                    self.have[number] = 1
                    break
        if old >= 0:
            os.close(old)

    def _read_piece(self, source: int, number: int) -> bytes:
        """Return a piece of an open file; nothing if that has other bytes there."""
        piece = self.pieces[number]
        data = os.pread(source, piece.size, piece.offset)
        return data if len(data) == piece.size and hashlib.sha256(data).digest() == piece.digest else b""

    def serve(self, tls: dict[str, str]) -> None:
        """Pass on what is here to other hosts from now on."""
        self.tls, self.link = tls, Link(float(tls["limit"]))
        store = peers.Store((self.parcel.new, self.parcel.dest), self.pieces, self.have)
        is_temporary = self.parcel.name == IMAGE
        self.port, self.pipe = peers.start(store, tls, Link(float(tls["limit"])), is_temporary=is_temporary)

    def run(self) -> None:
        """Receive all pieces that are missing."""
        lost = why = "-"
        while missing := self.missing():
            bits = binascii.b2a_base64(bits_of(missing), newline=False).decode()
            print(f"@@lacks {self.parcel.name} {self.port} {lost} {why} {bits}", flush=True)
            fields = self.stream.line()
            # An order that was given before the client knew of the loss.
            while fields == [b"move"]:
                fields = self.stream.line()
            if fields == [b"none"]:
                raise Refused("no other host has it any more")
            if fields == [b"client"]:
                self._receive_from_client(missing)
            else:
                lost, address, port, certificate = (field.decode() for field in fields[1:5])
                try:
                    self._receive_from_peer(missing, (address, int(port)), certificate)
                except Lost as reason:
                    why = str(reason)
        self.report(now=True)

    def finish(self) -> None:
        """Note that the files have their names: others may go on reading them."""
        self._announce(peers.FINISHED)
        if self.pipe >= 0:
            os.close(self.pipe)

    def _announce(self, number: int) -> None:
        """Tell the process that serves other hosts about a piece."""
        if self.pipe >= 0:
            try:
                os.write(self.pipe, NUMBER.pack(number))
            # It was killed: this host's own upload goes on.
            except OSError:
                os.close(self.pipe)
                self.port, self.pipe = 0, -1

    def missing(self) -> list[int]:
        """Return the numbers of the pieces that are missing."""
        return [number for number, here in enumerate(self.have) if not here]

    def _receive_from_client(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            blocks = []
            for block in self.stream.blocks(self.pieces[number].size):
                self.link.take(len(block))
                blocks.append(block)
            if not self._keep(number, b"".join(blocks)):
                raise Refused(f"{self.pieces[number].name} has changed on the client since the upload began")

    def _receive_from_peer(self, numbers: Sequence[int], address: tuple[str, int], certificate: str) -> None:
        try:
            plain = socket.create_connection(address, CONNECT_S)
            tls = peers.context(ssl.PROTOCOL_TLS_CLIENT, self.tls)
            peer = tls.wrap_socket(plain, server_hostname=certificate)
        except ssl.SSLError:
            raise Lost("untrusted") from None
        except OSError:
            raise Lost("unreachable") from None
        with peer:
            peer.settimeout(SILENT_S)
            bits = bits_of(numbers)
            try:
                peer.sendall(NUMBER.pack(len(bits)) + bits)
                peer.setblocking(False)
                self._read(peer, set(numbers))
            except TimeoutError:
                raise Lost("silent") from None
            except OSError:
                raise Lost("closed") from None

    def _read(self, peer: ssl.SSLSocket, numbers: set[int]) -> None:
        header, buffer = bytearray(HEADER.size), memoryview(bytearray(PIECE_BYTES))
        while numbers:
            self._fill(peer, memoryview(header))
            kind, number = HEADER.unpack(header)
            if kind == BEAT:
                continue
            if kind != PIECE or number not in numbers:
                raise Lost("incomplete")
            data = buffer[: self.pieces[number].size]
            self._fill(peer, data)
            numbers.discard(number)
            if not self._keep(number, data):
                raise Lost("wrong")

    def _fill(self, peer: ssl.SSLSocket, view: memoryview) -> None:
        """Read so many bytes of a host."""
        while view:
            try:
                count = peer.recv_into(view)
            except ssl.SSLWantReadError:
                self._wait(peer, SILENT_S)
                continue
            if not count:
                raise Lost("closed")
            self.link.take(count)
            view = view[count:]
            # A host that always has more must not keep an order of the client waiting.
            if self.report():
                self._wait(peer, 0)

    def _wait(self, peer: ssl.SSLSocket, timeout_s: float) -> None:
        """Wait until a host sends something; an order of the client ends it.

        :param timeout_s: seconds; 0 does not wait.
        """
        ready = select.select([peer, sys.stdin], [], [], timeout_s)[0]
        if timeout_s and not ready:
            raise Lost("silent")
        if sys.stdin in ready and self.stream.line() == [b"move"]:
            raise Lost("moved")

    def _keep(self, number: int, data: bytes | memoryview) -> bool:
        """Write a piece; return False if it is another than the client's."""
        piece = self.pieces[number]
        if hashlib.sha256(data).digest() != piece.digest:
            return False
        target = os.open(os.path.join(self.parcel.new, piece.name), os.O_WRONLY | os.O_NOFOLLOW)
        try:
            view, offset = memoryview(data), piece.offset
            while view:
                count = os.pwrite(target, view, offset)
                view, offset = view[count:], offset + count
        finally:
            os.close(target)
        self.have[number] = 1
        self.done_bytes += piece.size
        self._announce(number)
        self.report()
        return True

    def report(self, *, now: bool = False) -> bool:
        """Report the progress, twice a second at most; return True if that was done."""
        moment = time.monotonic()
        if not now and moment - self.reported_at < REPORT_S:
            return False
        self.reported_at = moment
        print(f"@@have {self.parcel.name} {self.done_bytes}", flush=True)
        return True


def _holders(files: Sequence[File], lacking: set[int]) -> dict[str, str]:
    holders: dict[str, str] = {}
    for has_it in (True, False):
        for number, file in enumerate(files):
            if not file.link and (number not in lacking) == has_it:
                holders.setdefault(file.digest, file.name)
    return holders


def is_file(path: str) -> bool:
    """Return True for a regular file that can be read."""
    return not os.path.islink(path) and os.path.isfile(path) and os.access(path, os.R_OK)


def is_own(path: str) -> bool:
    """Return True for a file that has no second name."""
    if not is_file(path):
        return False
    stat = os.lstat(path)
    return stat.st_nlink == 1 and stat.st_uid == os.geteuid()


def bits_of(numbers: Sequence[int]) -> bytes:
    """Return numbers as bits, the lowest first."""
    bits = bytearray(numbers[-1] // 8 + 1)
    for number in numbers:
        bits[number // 8] |= 1 << number % 8
    return bytes(bits)


def receive(parcel: Parcel, lacking: Sequence[int], stream: Stream, sizes: Sequence[bytes]) -> Receiver:
    """Receive the contents that are missing; the caller puts the files in place, and then calls `finish`.

    :param sizes: of the two parts of the client's answer.
    """
    tls, digests = (stream.exactly(int(size)) for size in sizes)
    receiver = Receiver(parcel, lacking, stream, digests)
    files = [parcel.files[number] for number in lacking]
    receiver.prepare([file for file in files if receiver.holders[file.digest] == file.name])
    if tls:
        receiver.serve(json.loads(tls))
    receiver.run()
    return receiver
