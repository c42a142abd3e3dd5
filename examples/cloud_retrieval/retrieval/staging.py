"""Scenes on S3: list a prefix, bring one object to local scratch, remove it.

boto3 is imported by the functions that use it: a run on local files neither needs nor pays for it. Credentials,
region and endpoint come from the environment or the machine's role, as boto3 finds them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SCHEME = "s3://"


def is_remote(root: str) -> bool:
    """Whether ``root`` is an s3 prefix."""
    return root.startswith(SCHEME)


def parted(url: str) -> tuple[str, str]:
    """Bucket and prefix of ``s3://bucket/prefix``; a prefix that is not empty ends with a slash."""
    bucket, _, prefix = url.removeprefix(SCHEME).partition("/")
    prefix = prefix.strip("/")
    return bucket, f"{prefix}/" if prefix else ""


def client() -> Any:
    """A client for S3."""
    import boto3

    return boto3.client("s3")


def listing(url: str) -> list[str]:
    """Keys under a prefix, relative to it."""
    bucket, prefix = parted(url)
    pages = client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return [entry["Key"].removeprefix(prefix) for page in pages for entry in page.get("Contents", [])]


@contextmanager
def staged(url: str, name: str) -> Iterator[Path]:
    """One object as a file in a scratch folder that is removed with it."""
    bucket, prefix = parted(url)
    with tempfile.TemporaryDirectory(prefix="cloud_retrieval-") as folder:
        path = Path(folder) / Path(name).name
        client().download_file(bucket, prefix + name, str(path))
        yield path


@contextmanager
def told(what: str, kind: type[Exception]) -> Iterator[None]:
    """Turn what boto3 raises into ``kind`` with one line that names ``what``."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, ClientError, Boto3Error) as error:
        raise kind(f"{what}: {' '.join(str(error).split())}") from error
