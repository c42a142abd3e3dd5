"""S3 URLs, and the local files that objects become: names from a bucket are untrusted."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from orchestrator.core.errors import UsageError

SCHEME = "s3://"
PART_SUFFIX = ".stratus-part"
LIST_SUFFIX = PART_SUFFIX + ".done"
_BUCKET = re.compile(r"[A-Za-z0-9._-]{1,255}")  # with those of 2018 and before in us-east-1, as botocore has it
LONGEST_NAME_BYTES = 255 - len(LIST_SUFFIX)


@dataclass(frozen=True)
class S3Url:
    """A bucket, and a key or a prefix of keys in it."""

    bucket: str
    key: str

    @classmethod
    def parse(cls, text: str) -> S3Url:
        """Return the parts of ``s3://bucket/key``.

        :raises UsageError: it has another form.
        """
        bucket, _, key = text.removeprefix(SCHEME).partition("/")
        if not text.startswith(SCHEME) or not bucket:
            raise UsageError("not an S3 URL", where=text, fix="such as s3://my-bucket/folder/file.csv")
        if not _BUCKET.fullmatch(bucket):
            raise UsageError(f"{bucket!r} is not the name of a bucket", where=text, fix="letters, digits, . _ and -")
        return cls(bucket, key)

    @property
    def name(self) -> str:
        """The last part of the key."""
        return self.key.rstrip("/").rpartition("/")[2]

    @property
    def folder(self) -> S3Url:
        """The same location with a slash at its end, as the prefix of what is in it."""
        return self if not self.key or self.key.endswith("/") else S3Url(self.bucket, self.key + "/")

    def child(self, name: str) -> S3Url:
        """Return a location in this folder."""
        return S3Url(self.bucket, self.folder.key + name)

    def __str__(self) -> str:
        """Return the URL."""
        return f"{SCHEME}{self.bucket}/{self.key}"


def is_s3(text: str) -> bool:
    """Return whether a path is an S3 URL."""
    return text.startswith(SCHEME)


def is_partial(name: str) -> bool:
    """Return whether a download that is not complete has a file of this name beside its own."""
    return name.endswith((PART_SUFFIX, LIST_SUFFIX))


def refusal(name: str) -> str:
    """Return why an object's name cannot be a file's; empty if it can."""
    parts = name.split("/")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
        return "its name has control characters"
    if name.startswith("/") or "" in parts:
        return "its name has an empty part"
    if "." in parts or ".." in parts or os.path.isabs(name):
        return "its name leads out of the folder"
    if any(len(os.fsencode(part)) > LONGEST_NAME_BYTES for part in parts):
        return "its name is too long for a file"
    if is_partial(name):
        return "its name is that of a download that is not complete"
    return ""


def collisions(names: Iterable[str], *, is_case_sensitive: bool) -> dict[str, str]:
    """Return name -> reason, of names that cannot be files beside the others."""
    all_names = list(names)
    folders = {
        "/".join(parts[:count]) for name in all_names for parts in [name.split("/")] for count in range(1, len(parts))
    }
    refused = {name: "another object is in a folder of its name" for name in all_names if name in folders}
    if is_case_sensitive:
        return refused
    by_folded: dict[str, str] = {}
    for name in sorted(all_names):
        first = by_folded.setdefault(unicodedata.normalize("NFC", name).casefold(), name)
        if first != name:
            refused[name] = f"its name differs from {first} in upper and lower case only"
    return refused


def is_case_sensitive(folder: Path) -> bool:
    """Return whether a folder tells upper from lower case in names of files."""
    probe = folder / f".stratus-case-{os.getpid()}"
    probe.touch()
    try:
        return not probe.with_name(probe.name.upper()).exists()
    finally:
        probe.unlink(missing_ok=True)


def make_folder(path: Path) -> None:
    """Make a folder, if there is none.

    :raises UsageError: a file is in its place, or it is not allowed.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise UsageError("is a file; a folder is needed there", where=str(path)) from None
    except OSError as error:
        raise UsageError(f"cannot be made: {error.strerror}", where=str(path)) from error


def inside(folder: Path, name: str) -> Path:
    """Return the path of an object's file, and create its folder.

    :raises UsageError: a link leads out of the folder.
    """
    path = folder / name
    make_folder(path.parent)
    # A link in the folder may have been there before, and lead anywhere.
    if not path.parent.resolve().is_relative_to(folder.resolve()):
        raise UsageError("a link leads out of the folder", where=str(path.parent))
    return path
