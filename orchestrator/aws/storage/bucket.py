"""S3 calls of transfers, with errors that name the object, and access to public and to requester-pays buckets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from orchestrator.aws import errors
from orchestrator.aws.client import Clients
from orchestrator.aws.storage.locations import S3Url
from orchestrator.core.errors import CloudRefused, StratusError
from orchestrator.core.next_step import NextStep, Text

ATTEMPTS = 4


@dataclass(frozen=True)
class StoredObject:
    """An object in a bucket.

    :param etag: changes with the object's bytes.
    :param crc32: of the whole object, Base64; empty if S3 has none.
    :param modified_s: seconds since 1970.
    """

    key: str
    size: int
    etag: str
    modified_s: float
    crc32: str = ""

    @property
    def md5(self) -> str:
        """MD5 of the object, hexadecimal, if its ETag is one; empty otherwise."""
        return self.etag if len(self.etag) == 32 and "-" not in self.etag else ""


@dataclass(frozen=True)
class Access:
    """Access to buckets.

    :param is_public: without credentials.
    :param requester_pays: the caller pays for the transfer, which such buckets require.
    """

    clients: Clients
    is_public: bool = False
    requester_pays: bool = False

    @property
    def s3(self) -> Any:
        """Client of these calls."""
        return self.clients.service("s3", attempts=ATTEMPTS, unsigned=self.is_public)

    @property
    def payer(self) -> Mapping[str, str]:
        """Arguments of every call."""
        return {"RequestPayer": "requester"} if self.requester_pays else {}

    @contextmanager
    def errors(self, action: str, url: S3Url) -> Iterator[None]:
        """Translate errors raised inside.

        :raises StratusError: in the place of any error of botocore.
        """
        try:
            yield
        except errors.error_types() as error:
            raise self._refusal(error, action, url) from error

    def _refusal(self, error: Exception, action: str, url: S3Url) -> StratusError:
        code = errors.code_of(error)
        if isinstance(error, _cut_errors()):
            advice = "run the same command again: it continues where this one ended"
            return StratusError(f"{action}: the connection ended", where=str(url), fix=advice)
        message, fix = _explanation(code, url, self, action)
        if not message:
            return self.clients.translate(error, action=f"{action} {url}")
        return CloudRefused(f"{action}: {message}", where=str(url), code=code, fix=fix)

    def head(self, url: S3Url) -> StoredObject:
        """Return an object's size and checksums."""
        with self.errors("reading", url):
            answer = self.s3.head_object(Bucket=url.bucket, Key=url.key, ChecksumMode="ENABLED", **self.payer)
        checksum = answer.get("ChecksumCRC32", "") if answer.get("ChecksumType") == "FULL_OBJECT" else ""
        # The ETag of an object that is encrypted with a key of KMS is no MD5.
        etag = answer["ETag"].strip('"') + ("-kms" if answer.get("SSEKMSKeyId") else "")
        return StoredObject(url.key, answer["ContentLength"], etag, answer["LastModified"].timestamp(), checksum)

    def level(self, url: S3Url) -> tuple[list[StoredObject], list[str], bool]:
        """Return objects and folders of one level below a location, and whether there are more than a thousand."""
        with self.errors("listing", url):
            page = self.s3.list_objects_v2(Bucket=url.bucket, Prefix=url.key, Delimiter="/", **self.payer)
        folders = [item["Prefix"] for item in page.get("CommonPrefixes", ())]
        return list(map(_listed, page.get("Contents", ()))), folders, bool(page.get("IsTruncated"))

    def objects(self, url: S3Url) -> Iterator[StoredObject]:
        """Yield the objects whose keys begin with a prefix."""
        with self.errors("listing", url):
            pages = self.s3.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=url.bucket, Prefix=url.key, **self.payer):
                yield from map(_listed, page.get("Contents", ()))


def _listed(item: Mapping[str, Any]) -> StoredObject:
    return StoredObject(item["Key"], item["Size"], item["ETag"].strip('"'), item["LastModified"].timestamp())


def _cut_errors() -> tuple[type[Exception], ...]:
    from botocore import exceptions

    return (exceptions.ConnectionClosedError, exceptions.IncompleteReadError, exceptions.ResponseStreamingError)


_PERMISSIONS = {"reading": "s3:GetObject", "writing": "s3:PutObject", "listing": "s3:ListBucket"}


def _explanation(code: str, url: S3Url, access: Access, action: str) -> tuple[str, Text]:
    """Return message and fix for a code of S3; empty for all others."""
    if code == "NoSuchBucket":
        return f"there is no bucket {url.bucket}", "correct its name"
    if code in ("NoSuchKey", "404"):
        return "there is no such object", NextStep("ListData", str(S3Url(url.bucket, ""))) + "  lists the bucket"
    if code in ("AccessDenied", "403", "AllAccessDisabled"):
        if access.is_public:
            return "the bucket is not public", "leave out public, to use your credentials"
        needed = _PERMISSIONS.get(action, "s3:AbortMultipartUpload")
        return (
            f"this identity is not allowed to perform {needed}",
            "docs/iam-policy.json has it; or ask the bucket's owner",
        )
    if code in ("PermanentRedirect", "301", "AuthorizationHeaderMalformed", "TemporaryRedirect"):
        return "the bucket is in another region", "set [aws] region to that of the bucket"
    if code == "NoSuchUpload":
        return "another process has completed or aborted this upload", "run the same command again"
    if code in ("PreconditionFailed", "412"):
        return "the object has changed meanwhile", "run the same command again"
    if code == "BadDigest":
        return "S3 received other bytes than were read here", "run the same command again"
    return "", ""
