"""A fake storage service, of the session in fake_session: one file, wherever it is."""

from __future__ import annotations

from pathlib import Path

from orchestrator.aws.storage.locations import S3Url
from orchestrator.aws.storage.unfinished import UnfinishedUpload
from orchestrator.services.storage import AbortReport, DataListing, ListedObject, TransferReport


class FakeStorage:
    """The storage service: one file, wherever it is."""

    def upload(self, path: Path, target: str, _options: object = None) -> TransferReport:
        S3Url.parse(target)
        return TransferReport(str(path), target, 1, 0, 3, 3, 0.1)

    def download(self, source: str, path: Path, _options: object = None) -> TransferReport:
        S3Url.parse(source)
        return TransferReport(source, str(path), 1, 0, 3, 3, 0.1)

    def sync(self, source: str, target: str, _options: object = None) -> TransferReport:
        return TransferReport(source, target, 0, 1, 3, 0, 0.1)

    def list(self, text: str, _options: object = None) -> DataListing:
        objects = (ListedObject("data/a.csv", 3, 1.8e9),)
        return DataListing(str(S3Url.parse(text)), ("data/b/",), objects, False, (UnfinishedUpload(text, "u1"),))

    def abort(self, text: str = "") -> AbortReport:
        return AbortReport((UnfinishedUpload(text or "s3://b/a", "u1"),))
