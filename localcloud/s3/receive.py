"""Bodies of PutObject and UploadPart, written to files as they come in, with their checksums."""

from __future__ import annotations

import base64
import hashlib
import weakref
from collections.abc import Iterator
from typing import Any

from localcloud.aws.error_responses import ApiError
from localcloud.s3 import checksums
from localcloud.s3.content import CHUNK_BYTES, IN_MEMORY_BYTES, Arena, Content, Extent
from localcloud.s3.objects import Body
from localcloud.s3.requests import Environ, query

_READ_BYTES = CHUNK_BYTES // 4


class Receiver:
    """Receives bodies; the parts of an upload share a file for as long as one of them exists."""

    def __init__(self) -> None:
        self._arenas: weakref.WeakValueDictionary[str, Arena] = weakref.WeakValueDictionary()

    def receive(self, environ: Environ) -> Body:
        """Read a request's body.

        :raises ApiError: the sender stopped early, or a checksum differs.
        """
        stream = _Stream(environ)
        declared = _declared_checksums(environ)
        algorithms = {_algorithm(environ), *declared} & set(checksums.COMPUTED)
        digests = {algorithm: checksums.new(algorithm) for algorithm in algorithms}
        md5: Any = hashlib.md5(usedforsecurity=False)
        content = self._store(environ, stream.size, _update(stream.chunks(), md5, *digests.values()))
        values = {algorithm: checksums.encode(digest.digest()) for algorithm, digest in digests.items()}
        _compare(environ, declared | stream.trailers, values, md5)
        return Body(content, md5.hexdigest(), values)

    def _store(self, environ: Environ, size: int, chunks: Iterator[bytes]) -> Content:
        if size <= IN_MEMORY_BYTES:
            return Content.of(b"".join(chunks))
        arena = self._arena(environ)
        extent, offset = arena.reserve(size), 0
        for chunk in chunks:
            arena.write(chunk, extent, offset)
            offset += len(chunk)
        return Content([Extent(arena, extent.start, offset)])

    def _arena(self, environ: Environ) -> Arena:
        upload = query(environ).get("uploadId", [""])[0]
        return self._arenas.setdefault(upload, Arena()) if upload else Arena()


class _Stream:
    """A body as it comes in, without the frames of ``aws-chunked``.

    :param size: of the decoded body, in bytes.
    """

    def __init__(self, environ: Environ) -> None:
        self._input = environ["wsgi.input"]
        self._framed = environ.get("HTTP_X_AMZ_CONTENT_SHA256", "").startswith("STREAMING-")
        length = environ.get("HTTP_X_AMZ_DECODED_CONTENT_LENGTH") if self._framed else environ.get("CONTENT_LENGTH")
        if not (length or "").isdigit():
            raise ApiError("MissingContentLength", "You must provide the Content-Length HTTP header.", 411)
        self.size = int(length or 0)
        self.trailers: dict[str, str] = {}

    def chunks(self) -> Iterator[bytes]:
        received = 0
        for size in self._frames() if self._framed else [self.size]:
            for chunk in self._block(size):
                received += len(chunk)
                yield chunk
        if received != self.size:
            raise _incomplete()

    def _frames(self) -> Iterator[int]:
        """Yield the size of each frame; its bytes must be read before the next one."""
        while True:
            line = self._input.readline(200)
            size = int(line.partition(b";")[0].strip() or b"-1", 16)
            if size < 0:
                raise _incomplete()
            if not size:
                return self._read_trailers()
            yield size
            self._input.readline(4)

    def _block(self, size: int) -> Iterator[bytes]:
        while size:
            chunk = self._input.read(min(size, _READ_BYTES))
            if not chunk:
                raise _incomplete()
            size -= len(chunk)
            yield chunk

    def _read_trailers(self) -> None:
        while line := self._input.readline(400).decode("latin-1").strip():
            name, _, value = line.partition(":")
            prefix, _, algorithm = name.lower().rpartition("-")
            if prefix == "x-amz-checksum":
                self.trailers[algorithm.upper()] = value.strip()


def _incomplete() -> ApiError:
    message = "You did not provide the number of bytes specified by the Content-Length HTTP header"
    return ApiError("IncompleteBody", message, 400)


def _update(chunks: Iterator[bytes], *digests: checksums.Hash) -> Iterator[bytes]:
    for chunk in chunks:
        for digest in digests:
            digest.update(chunk)
        yield chunk


def _algorithm(environ: Environ) -> str:
    trailer: str = environ.get("HTTP_X_AMZ_TRAILER", "").rpartition("-")[2]
    return str(environ.get("HTTP_X_AMZ_SDK_CHECKSUM_ALGORITHM") or trailer).upper()


def _declared_checksums(environ: Environ) -> dict[str, str]:
    names = {algorithm: f"HTTP_X_AMZ_CHECKSUM_{algorithm}" for algorithm in checksums.COMPUTED}
    return {algorithm: environ[name] for algorithm, name in names.items() if environ.get(name)}


def _compare(environ: Environ, declared: dict[str, str], values: dict[str, str], md5: Any) -> None:
    for algorithm, checksum in declared.items():
        if values.get(algorithm, checksum) != checksum:
            raise ApiError("BadDigest", f"The {algorithm} you specified did not match the calculated checksum.")
    content_md5 = environ.get("HTTP_CONTENT_MD5")
    if content_md5 and base64.b64decode(content_md5) != md5.digest():
        raise ApiError("BadDigest", "The Content-MD5 you specified did not match what we received.")
