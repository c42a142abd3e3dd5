"""Settings of a job's checkpoints in S3."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from orchestrator.config.schema import SettingsReader
from orchestrator.jobs.storage.data_items import is_inside

BUCKET_RULE = "a bucket has 3 to 63 lower-case letters, digits, . or -"
_LINE = re.compile(r"(?P<folder>.*\S)\s*->\s*(?P<url>s3://[a-z0-9.-]{3,63}/\S*[^/\s])/?")


@dataclass(frozen=True)
class Checkpoints:
    """Folder of a job's state, and its place in S3.

    :param folder: in the working directory.
    :param url: ``s3://bucket/prefix``.
    :param every_s: seconds between two saves.
    """

    folder: str
    url: str
    every_s: int

    @property
    def bucket_url(self) -> str:
        """The bucket alone."""
        return "s3://" + self.url.removeprefix("s3://").partition("/")[0]


def read_checkpoints(
    reader: SettingsReader, line: str, minutes: float, data_names: Iterable[str]
) -> Checkpoints | None:
    """Return the place that a line ``folder -> s3://bucket/prefix`` names; mistakes are added to the reader."""
    if not line:
        return None
    match = _LINE.fullmatch(line)
    if match is None:
        reader.add_problem("job", "checkpoints", f"is not of the form  folder -> s3://bucket/prefix  ({BUCKET_RULE})")
        return None
    folder = match["folder"].rstrip("/")
    if not is_inside(folder):
        reader.add_problem("job", "checkpoints", f"{folder!r} is outside the working directory")
    elif other := next((name for name in data_names if _overlap(name, folder)), ""):
        reader.add_problem("job", "checkpoints", f"{folder!r} is the place of data ({other}): write another name")
    return Checkpoints(folder, match["url"], round(minutes * 60))


def _overlap(one: str, other: str) -> bool:
    paths = PurePosixPath(one), PurePosixPath(other)
    return paths[0].is_relative_to(paths[1]) or paths[1].is_relative_to(paths[0])
