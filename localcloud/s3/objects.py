"""moto's S3 objects with their bytes in files: what a request carries and what its answer carries bypass moto.

While a request runs, ``request`` of this module holds its bytes; moto handles everything else with empty bodies.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.s3 import models
from moto.s3.exceptions import EntityTooSmall, InvalidPart, MalformedXML
from moto.settings import S3_UPLOAD_PART_MIN_SIZE
from moto.utilities.utils import md5_hash

from localcloud.aws.error_responses import ApiError
from localcloud.s3 import checksums
from localcloud.s3.content import Content


@dataclass
class Body:
    """The bytes of a request to S3, as they were received.

    :param md5: hexadecimal.
    :param checksums: algorithm -> checksum, Base64.
    """

    content: Content
    md5: str = ""
    checksums: dict[str, str] = field(default_factory=dict)


@dataclass
class Transfer:
    """The bytes of a request that moto handles at present.

    :param body: of the object that the request writes, until moto has created that object.
    :param takes: ``answer``: the object that moto reads becomes ``taken``; ``copy``: it becomes ``body``.
    :param taken: bytes of the answer.
    :param copy_range: first byte and byte after the last of a copy of a part; None means all.
    :param expected: checksums of a completed upload, as the client computed them.
    :param wants_checksum: the answer names the type of the checksum.
    """

    body: Body | None = None
    takes: str = ""
    taken: Content | None = None
    copy_range: tuple[int, int] | None = None
    expected: dict[str, str] = field(default_factory=dict)
    wants_checksum: bool = False


class Placeholder(bytes):
    """Bytes that moto measures and slices for an answer, without their being read."""

    def __new__(cls, content: Content, transfer: Transfer) -> Placeholder:
        """Create a placeholder, and note its content as that of the answer."""
        placeholder = super().__new__(cls)
        placeholder._content, placeholder._transfer = content, transfer
        transfer.taken = content
        return placeholder

    _content: Content
    _transfer: Transfer

    def __len__(self) -> int:
        """Return the size of the content, in bytes."""
        return self._content.size

    def __getitem__(self, key: Any) -> Any:
        """Return the placeholder of a range."""
        start, stop, _ = key.indices(self._content.size)
        return Placeholder(self._content.slice(start, stop), self._transfer)


_running = threading.local()


@contextmanager
def handling(transfer: Transfer) -> Iterator[Transfer]:
    """Make the bytes of a request known to the objects that moto creates and reads in this thread."""
    _running.transfer = transfer
    try:
        yield transfer
    finally:
        _running.transfer = None


def _transfer() -> Transfer:
    return getattr(_running, "transfer", None) or Transfer()


class StoredKey(models.FakeKey):
    """An object, or a part of an upload, whose bytes are in a file."""

    def __new__(cls, *_: Any, **__: Any) -> StoredKey:
        """Create an object that moto does not track: moto's list of all objects would keep deleted ones."""
        return object.__new__(cls)

    def __init__(self, *args: Any, **options: Any) -> None:
        self.checksums: dict[str, str] = {}
        super().__init__(*args, **options)

    @property
    def content(self) -> Content:
        """The object's bytes."""
        content: Any = self._value_buffer
        return content  # type: ignore[no-any-return]

    @property
    def value(self) -> bytes:
        """All bytes; none while a request takes the content."""
        transfer = _transfer()
        if not transfer.takes:
            return b"".join(self.content.chunks())
        content = self.content.slice(0, self.content.size)
        if transfer.takes == "answer":
            return Placeholder(content, transfer)
        transfer.body = Body(content.slice(*transfer.copy_range) if transfer.copy_range else content)
        return b""

    @value.setter
    def value(self, new_value: bytes) -> None:
        transfer, self._value_buffer = _transfer(), Content()  # type: ignore[assignment]
        body = transfer.body
        if body is None or new_value:
            data = new_value.encode() if isinstance(new_value, str) else new_value
            body = Body(Content.of(data))
        else:
            transfer.body = None
        self._value_buffer, self.contentsize = body.content, body.content.size  # type: ignore[assignment]
        self.checksums = body.checksums
        self._etag = self._etag or body.md5 or None

    @property
    def response_dict(self) -> dict[str, Any]:
        """Headers of answers about the object."""
        headers: dict[str, Any] = super().response_dict
        if _transfer().wants_checksum and self.checksum_value:
            headers["x-amz-checksum-type"] = self.checksum_type or "FULL_OBJECT"
        return headers

    def checksum(self, algorithm: str) -> str:
        """Return a checksum of all bytes, computed once."""
        if algorithm not in self.checksums:
            self.checksums[algorithm] = checksums.of_chunks(algorithm, self.content.chunks())
        return self.checksums[algorithm]


class StoredUpload(models.FakeMultipart):
    """A multipart upload whose parts become the object without being copied."""

    def __new__(cls, *_: Any, **__: Any) -> StoredUpload:
        """Create an upload that moto does not track."""
        return object.__new__(cls)

    def complete(self, body: Iterator[tuple[int, str]]) -> tuple[bytes, str, tuple[str, str, int] | None]:
        """Join the named parts.

        :raises ApiError: the object has not the checksum that the client expects.
        """
        parts = self._named(body)
        etag = md5_hash(b"".join(bytes.fromhex(part.etag.strip('"')) for part in parts))
        details = self._checksum(parts)
        _check(_transfer().expected, details, sum(part.contentsize for part in parts), self.metadata)
        _transfer().body = Body(Content([extent for part in parts for extent in part.content.extents]))
        return b"", f"{etag.hexdigest()}-{len(parts)}", details

    def _named(self, body: Iterator[tuple[int, str]]) -> list[StoredKey]:
        parts: list[Any] = []
        for number, etag in body:
            part = self.parts.get(number)
            if part is None or part.etag.strip('"') != etag.strip('"'):
                raise InvalidPart()
            if parts and parts[-1].contentsize < S3_UPLOAD_PART_MIN_SIZE:
                raise EntityTooSmall()
            parts.append(part)
        if not parts:
            raise MalformedXML
        return parts

    def _checksum(self, parts: list[StoredKey]) -> tuple[str, str, int] | None:
        algorithm = self.metadata.get("x-amz-checksum-algorithm", "")
        if algorithm not in checksums.COMPUTED:
            return None
        values = [part.checksum(algorithm) for part in parts]
        if self.metadata.get("x-amz-checksum-type") == "FULL_OBJECT":
            whole = checksums.combined_crc32(zip(values, [part.contentsize for part in parts], strict=True))
            return "FULL_OBJECT", whole, 1
        return "COMPOSITE", checksums.composite(algorithm, values), len(parts)


def _check(expected: dict[str, str], details: tuple[str, str, int] | None, size: int, metadata: Any) -> None:
    algorithm = metadata.get("x-amz-checksum-algorithm", "")
    checksum = expected.get(algorithm, "")
    if details and checksum and checksum != details[1]:
        raise ApiError("BadDigest", f"The {algorithm} you specified did not match the calculated checksum.")
    if expected.get("size", str(size)) != str(size):
        raise ApiError("InvalidRequest", "The provided 'x-amz-mp-object-size' header does not match what was computed")


def check_upload(path: str, upload_id: str) -> None:
    """Check that the upload of a part is there, which moto does not.

    :raises ApiError: it was completed or aborted.
    """
    if _upload(path, upload_id) is None:
        raise ApiError("NoSuchUpload", "The specified upload does not exist.", 404)


def _upload(path: str, upload_id: str) -> Any:
    bucket = models.s3_backends[DEFAULT_ACCOUNT_ID]["aws"].buckets.get(path.lstrip("/").partition("/")[0])
    return bucket.multiparts.get(upload_id) if bucket else None


def add_checksums(path: str, upload_id: str, answer: bytes) -> bytes:
    """Return the answer to ListParts with the checksums of the parts, which moto leaves out."""
    upload = _upload(path, upload_id)
    algorithm = upload.metadata.get("x-amz-checksum-algorithm", "") if upload else ""

    def insert(match: re.Match[bytes]) -> bytes:
        value = upload.parts[int(match[1])].checksums.get(algorithm, "")
        return match[0] + (f"<Checksum{algorithm}>{value}</Checksum{algorithm}>".encode() if value else b"")

    return re.sub(rb"<PartNumber>(\d+)</PartNumber>", insert, answer) if algorithm else answer


def install() -> None:
    """Let moto create objects and uploads of this module."""
    replaced: Any = models
    replaced.FakeKey, replaced.FakeMultipart = StoredKey, StoredUpload
