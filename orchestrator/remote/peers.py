"""Pass on pieces of an upload to other hosts of the cluster, in a process of its own; started by pieces.py.

Both sides of a connection present a certificate that the client has made for this upload, and accept no other. A host
that connects sends the pieces that it lacks as bits (length, then bytes), and gets them in order, each as soon as this
host has it: a header (kind, number), then the bytes. While there is none it gets heartbeats.
"""

from __future__ import annotations

import os
import select
import socket
import ssl
import struct
import threading
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

BEAT_S, SILENT_S, HANDSHAKE_S = 2.0, 10.0, 5.0
IDLE_S = 60.0
"""Without a connection for so long, a host whose upload is complete stops serving: all others have theirs, too."""

LONGEST_S = 3600.0
"""Of serving after the upload, whatever connects."""

MAX_CONNECTIONS = 16
MAX_REQUEST_BYTES = 1 << 20
SLICE_BYTES = 1 << 16
PIECE, BEAT, GONE = range(3)
HEADER = struct.Struct(">BI")
NUMBER = struct.Struct(">I")
FINISHED = 0xFFFFFFFF


class Piece:
    """Part of a content: all of a small file, or 1 MiB of a large one.

    :ivar digest: SHA-256; empty if this host has the file.
    """

    __slots__ = ("digest", "name", "offset", "size")

    def __init__(self, name: str, offset: int, size: int, digest: bytes) -> None:
        self.name, self.offset, self.size, self.digest = name, offset, size, digest


class Link:
    """Limit of a host's bandwidth, shared by its connections.

    :param bytes_per_s: 0 for none.
    """

    def __init__(self, bytes_per_s: float) -> None:
        self._rate = bytes_per_s
        self._free_at = 0.0
        self._lock = threading.Lock()

    def take(self, count: int) -> None:
        """Wait until so many bytes may pass."""
        if not self._rate:
            return
        with self._lock:
            now = time.monotonic()
            self._free_at = max(self._free_at, now) + count / self._rate
            pause_s = self._free_at - now
        # Shorter pauses take longer than asked for.
        if pause_s > 0.005:
            time.sleep(pause_s)


def context(purpose: int, tls: dict[str, str]) -> ssl.SSLContext:
    """Return a TLS context that accepts only certificates of the send."""
    result = ssl.SSLContext(purpose)
    result.check_hostname = purpose == ssl.PROTOCOL_TLS_CLIENT
    result.verify_mode = ssl.CERT_REQUIRED
    result.minimum_version = ssl.TLSVersion.TLSv1_2
    result.load_verify_locations(cadata=tls["ca"])
    # OpenSSL reads a key from a file only. The bundle's folder is the user's own, and is removed after the install.
    path = os.path.join(os.environ["STRATUS_BUNDLE"], f"peer.{os.getpid()}.pem")
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(file, (tls["key"] + tls["cert"]).encode())
        result.load_cert_chain(path)
    finally:
        os.close(file)
        os.unlink(path)
    return result


class Store:
    """Pieces that this host has.

    :param folders: where its files are: while they arrive, and afterwards.
    :param have: 1 for each piece that is here.
    """

    def __init__(self, folders: tuple[str, str], pieces: Sequence[Piece], have: bytearray) -> None:
        self.folders, self.pieces, self.have = folders, pieces, have
        self.changed = threading.Condition()
        self.is_ended = False
        # Name -> stat at the end of the upload: a job may change its files.
        self.facts: dict[str, tuple[int, ...]] = {}

    def add(self, numbers: Sequence[int]) -> None:
        """Note pieces that have arrived."""
        with self.changed:
            for number in numbers:
                if number == FINISHED:
                    self._finish()
                else:
                    self.have[number] = 1
            self.changed.notify_all()

    def end(self) -> None:
        """Note that no more pieces arrive."""
        with self.changed:
            self.is_ended = True
            self.changed.notify_all()

    def _finish(self) -> None:
        for name in {piece.name for piece in self.pieces}:
            try:
                self.facts[name] = _facts(os.stat(os.path.join(self.folders[1], name)))
            except OSError:
                self.facts[name] = ()

    def wait(self, number: int) -> bool:
        """Wait a moment for a piece; return True if it is here.

        :raises LookupError: it will not come.
        """
        with self.changed:
            if not self.have[number] and not self.is_ended:
                self.changed.wait(BEAT_S)
            if not self.have[number] and self.is_ended:
                raise LookupError(number)
            return bool(self.have[number])

    def read(self, number: int) -> bytes:
        """Return a piece.

        :raises LookupError: it is not as it was when it arrived.
        """
        piece = self.pieces[number]
        # In this order: the folder of the arriving files gets the name of the other in one step.
        for folder in self.folders:
            try:
                file = os.open(os.path.join(folder, piece.name), os.O_RDONLY | os.O_NOFOLLOW)
            except OSError:
                continue
            try:
                data = os.pread(file, piece.size, piece.offset)
                if len(data) == piece.size and self.facts.get(piece.name) in (None, _facts(os.fstat(file))):
                    return data
            finally:
                os.close(file)
        raise LookupError(number)


def _facts(stat: os.stat_result) -> tuple[int, ...]:
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino


class Server:
    """Connections of other hosts."""

    def __init__(self, store: Store, tls: ssl.SSLContext, link: Link) -> None:
        self.store, self.tls, self.link = store, tls, link
        self.connections = 0
        self.used_at = time.monotonic()
        self._lock = threading.Lock()

    def run(self, listener: socket.socket, pipe: int) -> None:
        """Serve until the upload has ended, and no host has connected for a while.

        :param pipe: numbers of pieces, as they arrive; its end is that of the upload.
        """
        rest, ended_at = b"", 0.0
        while not (ended_at and self._is_over(ended_at)):
            sources: list[socket.socket | int] = [listener] if ended_at else [listener, pipe]
            ready = select.select(sources, [], [], 1.0)[0]
            if pipe in ready:
                data = os.read(pipe, 1 << 16)
                rest += data
                whole = len(rest) // NUMBER.size * NUMBER.size
                self.store.add([number for (number,) in NUMBER.iter_unpack(rest[:whole])])
                rest = rest[whole:]
                if not data:
                    ended_at = time.monotonic()
                    self.store.end()
            if listener in ready:
                self._accept(listener)

    def _is_over(self, ended_at: float) -> bool:
        now = time.monotonic()
        # Without its files there is nothing to serve.
        idle_s = IDLE_S if self.store.facts else 0.0
        return now - ended_at > LONGEST_S or (not self.connections and now - max(ended_at, self.used_at) > idle_s)

    def _accept(self, listener: socket.socket) -> None:
        connection = listener.accept()[0]
        with self._lock:
            if self.connections >= MAX_CONNECTIONS:
                connection.close()
                return
            self.connections += 1
        threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            connection.settimeout(HANDSHAKE_S)
            with self.tls.wrap_socket(connection, server_side=True) as peer:
                peer.settimeout(SILENT_S)
                for data in self._answers(_wanted(peer, len(self.store.pieces))):
                    view = memoryview(data)
                    for start in range(0, len(view), SLICE_BYTES):
                        part = view[start : start + SLICE_BYTES]
                        self.link.take(len(part))
                        peer.sendall(part)
        # The other host asks elsewhere.
        except (OSError, ValueError):
            pass
        finally:
            connection.close()
            with self._lock:
                self.connections -= 1
                self.used_at = time.monotonic()

    def _answers(self, numbers: Sequence[int]) -> Iterator[bytes]:
        for number in numbers:
            try:
                while not self.store.wait(number):
                    yield HEADER.pack(BEAT, 0)
                data = self.store.read(number)
                yield HEADER.pack(PIECE, number)
                yield data
            except LookupError:
                yield HEADER.pack(GONE, number)
                return


def _wanted(peer: ssl.SSLSocket, count: int) -> list[int]:
    """Read a request, and return the numbers of its pieces."""
    (length,) = NUMBER.unpack(_exactly(peer, NUMBER.size))
    if length > MAX_REQUEST_BYTES:
        raise ValueError(length)
    bits = _exactly(peer, length)
    return [number for number in range(min(count, 8 * length)) if bits[number // 8] >> number % 8 & 1]


def _exactly(peer: ssl.SSLSocket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        block = peer.recv(size - len(data))
        if not block:
            raise OSError("closed")
        data += block
    return data


def start(store: Store, tls: dict[str, str], link: Link, *, is_temporary: bool = False) -> tuple[int, int]:
    """Start serving; return the port and the pipe for the numbers of pieces that arrive. Port 0: it is not possible.

    :param is_temporary: the files are removed in the end.
    """
    try:
        family = socket.AF_INET6 if ":" in tls["address"] else socket.AF_INET
        listener = socket.create_server((tls["address"], 0), family=family)
    # The address that others use may not be one of this host itself: behind NAT.
    except OSError:
        return 0, -1
    port = int(listener.getsockname()[1])
    reader, writer = os.pipe()
    server = Server(store, context(ssl.PROTOCOL_TLS_SERVER, tls), link)
    if os.fork():
        listener.close()
        os.close(reader)
        return port, writer
    try:
        _detach({listener.fileno(), reader})
        server.run(listener, reader)
        if is_temporary:
            # Here: its imports take longer than a small upload.
            import shutil

            shutil.rmtree(store.folders[1], ignore_errors=True)
    finally:
        os._exit(0)


def _detach(kept: set[int]) -> None:
    """Leave the session and all files of the install: it must not wait for this process, nor end it."""
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(null, number)
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) not in kept:
            try:
                os.close(int(name))
            # The listing's own.
            except OSError:
                continue
