"""Uploads in parts that are not complete: continued by the next call, billed until completed or aborted."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from orchestrator.aws import errors
from orchestrator.aws.storage.bucket import Access
from orchestrator.aws.storage.locations import S3Url
from orchestrator.core import json_file
from orchestrator.core.journal import Journal, JournalEntry

KIND = "upload"
"""Kind of the journal's entries."""


@dataclass(frozen=True)
class UploadState:
    """An upload in parts.

    :param entry: id of its entry in the journal.
    """

    url: str
    path: str
    size: int
    modified_ns: int
    part_bytes: int
    upload_id: str
    entry: str


@dataclass(frozen=True)
class UnfinishedUpload:
    """An upload whose parts are billed although there is no object.

    :param upload_id: empty if only the journal tells of it.
    """

    url: str
    upload_id: str = ""


@dataclass(frozen=True)
class Unfinished:
    """Record of the uploads that this computer began.

    :param folder: of their states.
    """

    folder: Path
    journal: Journal

    def intend(self, path: Path, url: S3Url) -> str:
        """Write down an upload before it begins; return the id of the entry."""
        return self.journal.record_intent(KIND, url=str(url), path=str(path.resolve())).id

    def save(self, state: UploadState) -> None:
        """Keep what the next call needs to continue."""
        json_file.save(self.folder, _name(Path(state.path), state.url), asdict(state))

    def find(self, path: Path, url: S3Url) -> UploadState | None:
        """Return the state of an upload; None if there is none."""
        document = json_file.load(self.folder, _name(path, str(url)))
        try:
            return UploadState(**document)
        except TypeError:
            return None

    def completed(self, state: UploadState) -> None:
        """Write down the end of an upload."""
        self._settle(lambda entry: entry.id == state.entry)
        (self.folder / _name(Path(state.path), state.url)).unlink(missing_ok=True)

    def forget(self, path: Path, url: S3Url) -> None:
        """Write down that an upload whose last answer was lost has completed."""
        if state := self.find(path, url):
            self.completed(state)

    def entries(self) -> list[JournalEntry]:
        """Return the uploads without an end."""
        return [entry for entry in self.journal.open_entries() if entry.kind == KIND]

    def abort(self, access: Access, state: UploadState) -> None:
        """Drop the parts of an upload."""
        self._abort(access, S3Url.parse(state.url), state.upload_id)
        self.completed(state)

    def abort_all(self, access: Access, url: S3Url | None) -> list[UnfinishedUpload]:
        """Drop the parts of all uploads below a location; None means those of this computer's journal.

        :return: the uploads that were aborted.
        """
        locations = (
            [url] if url else [S3Url.parse(text) for text in dict.fromkeys(map(_url_of, self.entries())) if text]
        )
        aborted = []
        for location in locations:
            for upload in list(self.find_in(access, location)):
                if url or upload.url == str(location):
                    self._abort(access, S3Url.parse(upload.url), upload.upload_id)
                    aborted.append(upload)
            self._settle(partial(_began_below if url else _began_at, location))
        return aborted

    def find_in(self, access: Access, url: S3Url) -> Iterator[UnfinishedUpload]:
        """Yield the unfinished uploads at or below a location, of any computer."""
        with access.errors("listing the uploads of", url):
            pages = access.s3.get_paginator("list_multipart_uploads")
            for page in pages.paginate(Bucket=url.bucket, Prefix=url.key):
                for item in page.get("Uploads", ()):
                    # S3 compares beginnings: data2 is not below data.
                    if _is_below(url, upload := S3Url(url.bucket, item["Key"])):
                        yield UnfinishedUpload(str(upload), item["UploadId"])

    def _abort(self, access: Access, url: S3Url, upload_id: str) -> None:
        with access.errors("aborting the upload of", url):
            try:
                access.s3.abort_multipart_upload(Bucket=url.bucket, Key=url.key, UploadId=upload_id)
            except errors.error_types() as error:
                if errors.code_of(error) != "NoSuchUpload":
                    raise

    def _settle(self, selects: Callable[[JournalEntry], bool]) -> None:
        for entry in self.entries():
            if selects(entry):
                self.journal.record_outcome(entry, ended=True)


def open_uploads(journal: Journal) -> tuple[str, ...]:
    """Return the URLs of the uploads that the journal knows no end of."""
    entries = [entry for entry in journal.open_entries() if entry.kind == KIND]
    return tuple(dict.fromkeys(filter(None, map(_url_of, entries))))


def _is_below(url: S3Url, other: S3Url) -> bool:
    return other == url or (other.bucket == url.bucket and other.key.startswith(url.folder.key))


def _began_at(url: S3Url, entry: JournalEntry) -> bool:
    return _url_of(entry) == str(url)


def _began_below(url: S3Url, entry: JournalEntry) -> bool:
    return bool(text := _url_of(entry)) and _is_below(url, S3Url.parse(text))


def _url_of(entry: JournalEntry) -> str:
    return str(entry.facts.get("url", ""))


def _name(path: Path, url: str) -> str:
    return hashlib.sha256(f"{path.resolve()}\n{url}".encode()).hexdigest()[:32] + ".json"
