"""Input channels of a job: objects of S3 as files under /opt/ml/input/data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from localcloud.sagemaker.storage import S3Url, Storage, TransferError


def objects(storage: Storage, channel: Mapping[str, Any]) -> list[tuple[S3Url, str]]:
    """Return the objects of a channel, each with its path below the channel's folder.

    :raises TransferError: there are none, or the bucket cannot be read.
    """
    source = channel["DataSource"]["S3DataSource"]
    prefix = S3Url.parse(source["S3Uri"])
    # The part after the last slash of the prefix is in the path: a prefix may end within a name.
    start = prefix.key.rpartition("/")[0]
    skipped = len(start) + 1 if start else 0
    matches = [(S3Url(prefix.bucket, key), key[skipped:]) for key in storage.keys(prefix)]
    if not matches:
        raise TransferError(
            f'Data download failed:No S3 objects found under S3 URL "{source["S3Uri"]}" given in input data source. '
            "Please ensure that the bucket exists in the selected region, that objects exist under that S3 prefix, "
            f'and that the role has "s3:ListBucket" permissions on bucket "{prefix.bucket}".'
        )
    return matches


def share(
    matches: Sequence[tuple[S3Url, str]], channel: Mapping[str, Any], host: int, count: int
) -> list[tuple[S3Url, str]]:
    """Return the objects that one of ``count`` hosts gets: all, or with ShardedByS3Key every ``count``-th."""
    source = channel["DataSource"]["S3DataSource"]
    if source.get("S3DataDistributionType") == "ShardedByS3Key":
        return list(matches[host::count])
    return list(matches)


def download(storage: Storage, objects_of_host: Sequence[tuple[S3Url, str]], folder: Path) -> None:
    """Write objects below a channel's folder.

    :raises TransferError: one cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for url, name in objects_of_host:
        storage.download(url.bucket, url.key, folder / name)
