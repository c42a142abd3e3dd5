"""Results and checkpoints of runs in S3: places that VMs use without credentials, and what they wrote."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.aws.storage.bucket import Access
from orchestrator.aws.storage.download import Downloader
from orchestrator.aws.storage.locations import S3Url
from orchestrator.core.errors import StratusError
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
        keys: list[str] = []
        with Access(self.clients).errors("listing", folder):
            pages = self.clients.s3.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=folder.bucket, Prefix=folder.key, Delimiter="/"):
                keys += [item["Key"] for item in page.get("Contents", ())]
                keys += [item["Prefix"].rstrip("/") for item in page.get("CommonPrefixes", ())]
        return [key[len(folder.key) :] for key in keys if key != folder.key]

    def fetch(self, url: str, path: Path, max_bytes: int) -> None:
        """Download an object.

        :raises StratusError: it is larger, or could not be downloaded.
        """
        place, access = S3Url.parse(url), Access(self.clients)
        stored = access.head(place)
        if stored.size > max_bytes:
            message = f"has {stored.size / (1 << 30):.3g} GiB; {max_bytes / (1 << 30):.3g} GiB may be fetched"
            raise StratusError(message, where=url, fix="raise [job] max_fetch_gib in the config, or make room here")
        Downloader(access, Meter(self.clients.clock, stored.size, _ignore)).download(place, stored, path)


def _ignore(_progress: Progress) -> None:
    pass
