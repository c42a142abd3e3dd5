"""Upload of one file: in parts that are sent in parallel, continued after a cut or a kill, and checked by S3."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from orchestrator.aws import errors
from orchestrator.aws.storage import crc32
from orchestrator.aws.storage.bucket import Access, StoredObject
from orchestrator.aws.storage.locations import S3Url
from orchestrator.aws.storage.unfinished import Unfinished, UploadState
from orchestrator.core.errors import StratusError, UsageError
from orchestrator.core.transfer_meter import Meter

PART_BYTES = 8 << 20
MOST_PARTS = 10_000
PARALLEL = 6
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class Source:
    """A file as it was when its upload began."""

    path: Path
    size: int
    modified_ns: int

    @classmethod
    def of(cls, path: Path) -> Source:
        """Return a file's size and time of change.

        :raises UsageError: it cannot be read.
        """
        try:
            facts = path.stat()
        except OSError as error:
            raise UsageError(f"cannot be read: {error.strerror}", where=str(path)) from error
        return cls(path, facts.st_size, facts.st_mtime_ns)

    def check(self) -> None:
        """Check that the file is as it was.

        :raises StratusError: it has changed.
        """
        if Source.of(self.path) != self:
            raise StratusError("the file has changed while it was sent", where=str(self.path), fix="send it again")

    def blocks(self, start: int, size: int) -> Iterator[bytes]:
        """Yield a range of the file in blocks."""
        with self.path.open("rb") as file:
            file.seek(start)
            while size and (block := file.read(min(_BLOCK_BYTES, size))):
                size -= len(block)
                yield block

    def checksum(self, start: int, size: int) -> int:
        """Return the CRC32 of a range."""
        value = 0
        for block in self.blocks(start, size):
            value = zlib.crc32(block, value)
        return value

    def matches(self, other: StoredObject) -> bool:
        """Return whether an object has the same bytes, as far as its checksums tell."""
        if other.size != self.size:
            return False
        if other.crc32:
            return crc32.encode(self.checksum(0, self.size)) == other.crc32
        md5 = hashlib.md5(usedforsecurity=False)
        for block in self.blocks(0, self.size) if other.md5 else ():
            md5.update(block)
        return bool(other.md5) and md5.hexdigest() == other.md5


class PartBody:
    """A range of a file as the body of a request; counts what is sent."""

    def __init__(self, source: Source, start: int, size: int, meter: Meter) -> None:
        self._file = source.path.open("rb", buffering=0)
        self._start, self._size, self._meter = start, size, meter
        self._position = self._counted = 0
        self._is_sent = False
        self.seek(0)

    def __len__(self) -> int:
        """Return the size of the body, in bytes."""
        return self._size

    def begin(self) -> None:
        """Count from now on: before, the body was read for its signature; or it is sent again."""
        self._meter.take_back(self._counted)
        self._counted, self._is_sent = 0, True

    def read(self, count: int = -1) -> bytes:
        """Return the next bytes of the range."""
        left = self._size - self._position
        data = self._file.read(left if count < 0 else min(count, left))
        self._position += len(data)
        if self._is_sent:
            self._counted += len(data)
            self._meter.add(len(data))
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        """Set the position in the range."""
        self._position = offset + (self._size if whence == 2 else self._position if whence == 1 else 0)
        self._file.seek(self._start + self._position)
        return self._position

    def tell(self) -> int:
        """Return the position in the range."""
        return self._position

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def count_when_sent(request: Any, **_: Any) -> None:
    """Let a body count its bytes from its sending on; a handler of botocore's ``before-send``."""
    if isinstance(getattr(request, "body", None), PartBody):
        request.body.begin()


@dataclass(frozen=True)
class Uploader:
    """Uploads files.

    :param unfinished: record of the uploads that are not complete.
    """

    access: Access
    meter: Meter
    unfinished: Unfinished

    def upload(self, source: Source, url: S3Url) -> bool:
        """Upload a file, or what is missing of it; return whether anything was sent.

        :raises StratusError: S3 refused it, or the file has changed.
        """
        self.access.s3.meta.events.register("before-send.s3", count_when_sent, unique_id="stratus-count")
        existing = self._existing(url)
        if existing is not None and source.matches(existing):
            self.meter.skip(source.size)
            self.unfinished.forget(source.path, url)
            return False
        if source.size <= PART_BYTES:
            self._put(source, url)
        else:
            self._in_parts(source, url)
        return True

    def _existing(self, url: S3Url) -> StoredObject | None:
        try:
            return self.access.head(url)
        except StratusError as error:
            # Without the permission to list a bucket, S3 answers 403 for objects that do not exist.
            if error.code in ("404", "NoSuchKey", "403", "AccessDenied"):
                return None
            raise

    def _put(self, source: Source, url: S3Url) -> None:
        body = PartBody(source, 0, source.size, self.meter)
        checksum = crc32.encode(source.checksum(0, source.size))
        try:
            with self.access.errors("writing", url):
                self.access.s3.put_object(
                    Bucket=url.bucket, Key=url.key, Body=body, ChecksumCRC32=checksum, **self.access.payer
                )
        finally:
            body.close()
        source.check()

    def _in_parts(self, source: Source, url: S3Url) -> None:
        state, present = self._resumed(source, url) or (self._begun(source, url), {})
        arguments = {"Bucket": url.bucket, "Key": url.key, "UploadId": state.upload_id, **self.access.payer}
        ranges = [
            (start, min(state.part_bytes, source.size - start)) for start in range(0, source.size, state.part_bytes)
        ]
        parallel = max(1, min(PARALLEL, len(ranges)))

        def send(number: int) -> dict[str, Any]:
            return self._part(source, url, arguments, (number, *ranges[number - 1]), present.get(number, {}))

        with self.access.errors("writing", url):
            parts = in_threads(send, range(1, len(ranges) + 1), parallel, self.meter)
            source.check()
            whole = crc32.combined((part.pop("crc32"), size) for part, (_, size) in zip(parts, ranges, strict=True))
            self.access.s3.complete_multipart_upload(
                **arguments,
                MultipartUpload={"Parts": parts},
                ChecksumCRC32=crc32.encode(whole),
                ChecksumType="FULL_OBJECT",
            )
        self.unfinished.completed(state)

    def _part(
        self, source: Source, url: S3Url, arguments: dict[str, Any], part: tuple[int, int, int], present: dict[str, Any]
    ) -> dict[str, Any]:
        """Send one part unless it is there; return what completes it, and its checksum."""
        number, start, size = part
        self.meter.check()
        value = source.checksum(start, size)
        checksum = crc32.encode(value)
        if present.get("Size") == size and present.get("ChecksumCRC32") == checksum:
            self.meter.skip(size)
            etag = present["ETag"]
        else:
            source.check()
            body = PartBody(source, start, size, self.meter)
            try:
                with self.access.errors("writing", url):
                    etag = self.access.s3.upload_part(
                        **arguments, PartNumber=number, Body=body, ChecksumCRC32=checksum
                    )["ETag"]
            finally:
                body.close()
        return {"PartNumber": number, "ETag": etag, "ChecksumCRC32": checksum, "crc32": value}

    def _begun(self, source: Source, url: S3Url) -> UploadState:
        part_bytes = max(PART_BYTES, -(-source.size // (MOST_PARTS - 1)))
        # In the journal before the call: parts without an end are billed.
        entry = self.unfinished.intend(source.path, url)
        with self.access.errors("writing", url):
            answer = self.access.s3.create_multipart_upload(
                Bucket=url.bucket,
                Key=url.key,
                ChecksumAlgorithm="CRC32",
                ChecksumType="FULL_OBJECT",
                **self.access.payer,
            )
        facts = asdict(source)
        state = UploadState(
            str(url), str(source.path), facts["size"], facts["modified_ns"], part_bytes, answer["UploadId"], entry
        )
        self.unfinished.save(state)
        return state

    def _resumed(self, source: Source, url: S3Url) -> tuple[UploadState, dict[int, dict[str, Any]]] | None:
        """Return the upload that an earlier call began, and its parts; None if there is none of this file."""
        state = self.unfinished.find(source.path, url)
        if state is None:
            return None
        if (state.size, state.modified_ns) != (source.size, source.modified_ns):
            self.unfinished.abort(self.access, state)
            return None
        try:
            pages = self.access.s3.get_paginator("list_parts")
            arguments = {"Bucket": url.bucket, "Key": url.key, "UploadId": state.upload_id, **self.access.payer}
            return state, {
                part["PartNumber"]: part for page in pages.paginate(**arguments) for part in page.get("Parts", ())
            }
        except errors.error_types() as error:
            if errors.code_of(error) != "NoSuchUpload":
                raise
            # Completed by a call whose answer was lost, or aborted by a rule of the bucket.
            self.unfinished.completed(state)
            return None


def in_threads(work: Callable[[int], Any], items: range, count: int, meter: Meter) -> list[Any]:
    """Return the results of a function for each item, in threads; the first error, or Ctrl-C, ends all of them."""
    with ThreadPoolExecutor(count) as pool:
        futures = [pool.submit(work, item) for item in items]
        try:
            return [future.result() for future in futures]
        except BaseException as error:
            # Ctrl-C ends the parts under way, too; after an error they are completed, and need not be sent again.
            if not isinstance(error, Exception):
                meter.stop()
            for future in futures:
                future.cancel()
            raise
