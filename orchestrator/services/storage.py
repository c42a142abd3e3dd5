"""Use case: files and folders to S3 and back, listings, and uploads that are not complete."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.aws.storage import locations
from orchestrator.aws.storage.bucket import Access, StoredObject
from orchestrator.aws.storage.download import Downloader
from orchestrator.aws.storage.locations import S3Url
from orchestrator.aws.storage.unfinished import Unfinished, UnfinishedUpload
from orchestrator.aws.storage.upload import PART_BYTES, Source, Uploader
from orchestrator.core.errors import StratusError, UsageError
from orchestrator.core.events import Event, EventHandler
from orchestrator.core.next_step import NextStep
from orchestrator.core.transfer_meter import Meter, Progress

if TYPE_CHECKING:
    from orchestrator.aws.client import Clients

SMALL_FILES_AT_ONCE = 8
LEFT_OUT_SHOWN = 3


@dataclass(frozen=True)
class TransferOptions:
    """Options of a transfer.

    :param public: without credentials, from a public bucket.
    :param requester_pays: the caller pays for the transfer.
    :param limit_bytes_per_s: 0 for no limit.
    """

    public: bool = False
    requester_pays: bool = False
    limit_bytes_per_s: float = 0.0


@dataclass(frozen=True)
class TransferReport:
    """Outcome of a transfer.

    :param files: number of files sent or fetched.
    :param unchanged: number of those that were there already.
    :param total_bytes: of all files.
    :param sent_bytes: actually transferred: less than the size where an earlier call had sent a part.
    :param failed: name -> error.
    """

    source: str
    target: str
    files: int
    unchanged: int
    total_bytes: int
    sent_bytes: int
    seconds: float
    failed: Mapping[str, Exception] = field(default_factory=dict)


@dataclass(frozen=True)
class ListedObject:
    """An object of a listing.

    :param modified_s: seconds since 1970.
    """

    name: str
    size: int
    modified_s: float


@dataclass(frozen=True)
class DataListing:
    """Objects and folders of one level.

    :param is_truncated: there are more than the first thousand.
    :param unfinished: uploads without an end, whose parts are billed.
    """

    url: str
    folders: tuple[str, ...]
    objects: tuple[ListedObject, ...]
    is_truncated: bool
    unfinished: tuple[UnfinishedUpload, ...]


@dataclass(frozen=True)
class AbortReport:
    """Uploads whose parts were dropped."""

    aborted: tuple[UnfinishedUpload, ...]


@dataclass(frozen=True)
class _Item:
    """One file of a transfer."""

    name: str
    size: int
    work: Callable[[], bool]


@dataclass(frozen=True)
class StorageService:
    """Transfers between this computer and S3.

    :param unfinished: record of uploads that are not complete.
    """

    clients: Clients
    unfinished: Unfinished
    on_event: EventHandler

    def upload(
        self, path: Path, target: str, options: TransferOptions | None = None, *, by_time: bool = False
    ) -> TransferReport:
        """Upload a file or a folder; what is there already, and what an earlier call has sent, is not sent again.

        :param by_time: a file of the same size that is older than the object counts as unchanged, unread.
        :raises StratusError: nothing could be sent.
        """
        url, access = S3Url.parse(target), self._access(options)
        left_out: list[str] = []
        pairs = _pairs(path, url, left_out)
        self._report_left_out(left_out)
        if not pairs and not left_out:
            self.on_event(Event("data", "sending", "warning", text=f"{path}: an empty folder, nothing is sent"))
        meter = self._meter(sum(source.size for source, _ in pairs), options, "sending")
        uploader = Uploader(access, meter, self.unfinished)
        stored = {item.key: item for item in access.objects(url)} if by_time else {}

        def work(source: Source, location: S3Url) -> bool:
            other = stored.get(location.key)
            if other and other.size == source.size and other.modified_s >= source.modified_ns / 1e9:
                meter.skip(source.size)
                return False
            return uploader.upload(source, location)

        items = [
            _Item(str(source.path), source.size, lambda source=source, location=location: work(source, location))  # type: ignore[misc]
            for source, location in pairs
        ]
        return self._transfer(str(path), target, items, meter)

    def download(
        self, source: str, path: Path, options: TransferOptions | None = None, *, by_time: bool = False
    ) -> TransferReport:
        """Download an object, or all below a prefix; what is there already is not fetched again.

        :param by_time: a file of the object's size and time counts as unchanged, unread.
        :raises StratusError: nothing could be fetched.
        """
        url, access = S3Url.parse(source), self._access(options)
        objects = _objects(access, url)
        meter = self._meter(sum(stored.size for _, stored in objects), options, "fetching")
        downloader, refused = Downloader(access, meter), _refused(path, [name for name, _ in objects])

        def work(name: str, stored: StoredObject) -> bool:
            if name in refused:
                raise UsageError(refused[name], where=str(S3Url(url.bucket, stored.key)))
            target = locations.inside(path, name) if name else path
            if by_time and _is_same_by_time(target, stored):
                meter.skip(stored.size)
                return False
            location = S3Url(url.bucket, stored.key)
            return downloader.download(location, access.head(location), target)

        if not objects[0][0]:
            name = url.name if path.is_dir() or str(path).endswith("/") else ""
            objects = [(name, objects[0][1])]
            locations.make_folder((path / name if name else path).parent)
        items = [
            _Item(name or str(path), stored.size, lambda name=name, stored=stored: work(name, stored))  # type: ignore[misc]
            for name, stored in objects
        ]
        return self._transfer(source, str(path), items, meter)

    def sync(self, source: str, target: str, options: TransferOptions | None = None) -> TransferReport:
        """Copy what is new or changed, by size and time; nothing is deleted.

        :raises UsageError: not exactly one of the two is on S3.
        """
        if locations.is_s3(source) == locations.is_s3(target):
            which = "only one of the two may be" if locations.is_s3(source) else "one of the two has to be"
            raise UsageError(f"{which} an S3 URL", fix=NextStep("Sync", "data", "s3://my-bucket/data"))
        if locations.is_s3(target):
            return self.upload(Path(source), target, options, by_time=True)
        return self.download(S3Url.parse(source).folder.__str__(), Path(target), options, by_time=True)

    def list(self, text: str, options: TransferOptions | None = None) -> DataListing:
        """Return the objects and folders of one level, and unfinished uploads there."""
        url, access = S3Url.parse(text), self._access(options)
        objects, folders, is_truncated = access.level(url)
        if not objects and folders == [url.key + "/"]:
            url = url.folder
            objects, folders, is_truncated = access.level(url)
        listed = [
            ListedObject(item.key, item.size, item.modified_s) for item in objects if item.key != url.key or item.size
        ]
        return DataListing(str(url), tuple(folders), tuple(listed), is_truncated, self._unfinished(access, url))

    def _unfinished(self, access: Access, url: S3Url) -> tuple[UnfinishedUpload, ...]:
        try:
            return () if access.is_public else tuple(self.unfinished.find_in(access, url))
        # Readers of a bucket may not list its uploads.
        except StratusError:
            return ()

    def abort(self, text: str = "") -> AbortReport:
        """Drop the parts of unfinished uploads: those below a URL, or those that this computer began."""
        url = S3Url.parse(text) if text else None
        return AbortReport(tuple(self.unfinished.abort_all(self._access(None), url)))

    def _access(self, options: TransferOptions | None) -> Access:
        options = options or TransferOptions()
        return Access(self.clients, options.public, options.requester_pays)

    def _meter(self, total_bytes: int, options: TransferOptions | None, phase: str) -> Meter:
        def report(progress: Progress) -> None:
            self.on_event(Event("data", phase, "progress", text=progress.text))

        self.on_event(Event("data", phase, "start"))
        return Meter(self.clients.clock, total_bytes, report, options.limit_bytes_per_s if options else 0.0)

    def _report_left_out(self, names: Sequence[str]) -> None:
        if names:
            more = f" and {len(names) - LEFT_OUT_SHOWN} more" if names[LEFT_OUT_SHOWN:] else ""
            text = f"not sent, as links to folders and special files are not: {', '.join(names[:LEFT_OUT_SHOWN])}{more}"
            self.on_event(Event("data", "sending", "warning", text=text))

    def _transfer(self, source: str, target: str, items: Sequence[_Item], meter: Meter) -> TransferReport:
        began = self.clients.clock.monotonic()
        failed: dict[str, StratusError] = {}
        moved = sum(self._outcomes(items, meter, failed))
        seconds = self.clients.clock.monotonic() - began
        if failed and len(failed) == len(items):
            raise _joined(failed)
        unchanged = len(items) - moved - len(failed)
        total_bytes = sum(item.size for item in items)
        return TransferReport(source, target, moved, unchanged, total_bytes, meter.sent_bytes, seconds, failed)

    def _outcomes(self, items: Sequence[_Item], meter: Meter, failed: dict[str, StratusError]) -> Iterator[bool]:
        """Yield whether each file was transferred: small ones at once, large ones one after another, in parts."""

        def attempt(item: _Item) -> bool:
            try:
                meter.check()
                return item.work()
            except StratusError as error:
                failed[item.name] = error
                return False

        small = [item for item in items if item.size <= PART_BYTES]
        with ThreadPoolExecutor(SMALL_FILES_AT_ONCE) as pool:
            futures = [pool.submit(attempt, item) for item in small]
            try:
                yield from (future.result() for future in futures)
            except BaseException:
                meter.stop()
                raise
        for item in items:
            if item.size > PART_BYTES:
                yield attempt(item)


def _joined(failed: Mapping[str, StratusError]) -> StratusError:
    """Return the error of a transfer of which nothing succeeded: the only cause, or the first and their number."""
    first = next(iter(failed.values()))
    if len(failed) > 1:
        first.message = f"{len(failed)} files failed, the first: " + first.message
    return first


def _pairs(path: Path, url: S3Url, left_out: list[str]) -> list[tuple[Source, S3Url]]:
    """Return each file with its location; add the names of what is not sent to ``left_out``."""
    if path.is_dir():
        files = [file for file in _files(path, left_out) if not locations.is_partial(file.name)]
        return [(Source.of(file), url.child(file.relative_to(path).as_posix())) for file in files]
    if path.exists() and not path.is_file():
        raise UsageError("not a file or a folder", where=str(path))
    is_folder = not url.key or url.key.endswith("/")
    return [(Source.of(path), url.child(path.name) if is_folder else url)]


def _files(folder: Path, left_out: list[str]) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder, onerror=_raise_unreadable):
        # Links to folders may lead round in circles.
        left_out += [str(path) for name in sorted(folders) if (path := Path(parent, name)).is_symlink()]
        for name in sorted(names):
            file = Path(parent, name)
            if file.is_file():
                yield file
            else:
                left_out.append(str(file))


def _raise_unreadable(error: OSError) -> None:
    raise UsageError(f"cannot be read: {error.strerror}", where=str(error.filename)) from error


def _objects(access: Access, url: S3Url) -> list[tuple[str, StoredObject]]:
    """Return name and facts of each object; the name is empty for the object that the URL names."""
    if url.key and not url.key.endswith("/"):
        try:
            return [("", access.head(url))]
        except StratusError as error:
            if error.code not in ("404", "NoSuchKey"):
                raise
    folder = url.folder
    objects = [(item.key[len(folder.key) :], item) for item in access.objects(folder)]
    files = [(name, item) for name, item in objects if name and not name.endswith("/")]
    if not files:
        fix = NextStep("ListData", str(S3Url(url.bucket, ""))) + "  lists the bucket"
        raise UsageError("there is no such object or folder", where=str(url), code="NoSuchKey", fix=fix)
    return files


def _refused(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """Return name -> reason, of objects that cannot be files of a folder."""
    refused = {name: reason for name in names if name and (reason := locations.refusal(name))}
    usable = [name for name in names if name and name not in refused]
    if len({name.casefold() for name in usable}) < len(usable):
        locations.make_folder(folder)
        return refused | locations.collisions(usable, is_case_sensitive=locations.is_case_sensitive(folder))
    return refused | locations.collisions(usable, is_case_sensitive=True)


def _is_same_by_time(target: Path, stored: StoredObject) -> bool:
    try:
        facts = target.lstat()
    except OSError:
        return False
    return facts.st_size == stored.size and abs(facts.st_mtime - stored.modified_s) < 1
