"""Results and checkpoints of runs in S3: places that VMs use without credentials, and what they wrote."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.aws.storage.bucket import Access
from orchestrator.aws.storage.download import Downloader
from orchestrator.aws.storage.locations import S3Url
from orchestrator.core.transfer_meter import Meter, Progress

if TYPE_CHECKING:
    from orchestrator.aws.client import Clients

LONGEST_S = 7 * 24 * 3600
"""Longest life of a presigned URL; one that temporary credentials have signed ends with them."""


@dataclass(frozen=True)
class S3ResultStore:
    """The bucket that a job names."""

    clients: Clients

    def writable(self, url: str) -> str:
        """Return a URL that writes one object, without credentials."""
        place = S3Url.parse(url)
        with Access(self.clients).errors("writing", place):
            arguments = {"Bucket": place.bucket, "Key": place.key}
            return str(self.clients.s3.generate_presigned_url("put_object", Params=arguments, ExpiresIn=LONGEST_S))

    def readable(self, url: str) -> str:
        """Return a URL that reads one object, without credentials."""
        place = S3Url.parse(url)
        with Access(self.clients).errors("reading", place):
            arguments = {"Bucket": place.bucket, "Key": place.key}
            return str(self.clients.s3.generate_presigned_url("get_object", Params=arguments, ExpiresIn=LONGEST_S))

    def read(self, url: str, max_bytes: int) -> bytes:
        """Return the content of an object, at most so many bytes of it; empty if there is none."""
        place = S3Url.parse(url)
        with Access(self.clients).errors("reading", place):
            try:
                answer = self.clients.s3.get_object(Bucket=place.bucket, Key=place.key)
            except self.clients.s3.exceptions.NoSuchKey:
                return b""
            return bytes(answer["Body"].read(max_bytes))

    def names(self, url: str) -> list[str]:
        """Return the names of objects and folders of one level."""
        folder = S3Url.parse(url).folder
        objects, folders, _ = Access(self.clients).level(folder)
        keys = [*(item.key for item in objects), *(name.rstrip("/") for name in folders)]
        return [key[len(folder.key) :] for key in keys if key != folder.key]

    def fetch(self, url: str, path: Path) -> None:
        """Download an object."""
        place, access = S3Url.parse(url), Access(self.clients)
        stored = access.head(place)
        Downloader(access, Meter(self.clients.clock, stored.size, _ignore)).download(place, stored, path)


def _ignore(_progress: Progress) -> None:
    pass
