"""Scenes on S3: list a prefix, download one object to scratch space, remove it.

boto3 is imported inside the functions that use it, because runs on local files do not need it. Credentials, region and
endpoint come from the environment or the instance role, resolved by boto3.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from retrieval import worker

SCHEME = "s3://"
# boto3 sessions are not thread-safe, boto3 clients are; the threads of a worker start at the same time.
_SESSION_LOCK = threading.Lock()


def is_remote(root: str) -> bool:
    """Return True if ``root`` is an S3 prefix."""
    return root.startswith(SCHEME)


def split_url(url: str) -> tuple[str, str]:
    """Split ``s3://bucket/prefix`` into bucket and prefix; a prefix that is not empty ends with a slash."""
    bucket, _, prefix = url.removeprefix(SCHEME).partition("/")
    prefix = prefix.strip("/")
    return bucket, f"{prefix}/" if prefix else ""


def s3_client() -> Any:
    """Return the S3 client of this process."""
    with _SESSION_LOCK:
        return _cached_client()


@cache
def _cached_client() -> Any:
    import boto3
    import botocore.session

    core = botocore.session.get_session()
    # By default botocore queries the instance metadata once, with a timeout of 1 s. That fails on hosts where all
    # workers start at the same time.
    core.set_config_variable("metadata_service_timeout", 5)
    core.set_config_variable("metadata_service_num_attempts", 4)
    return boto3.session.Session(botocore_session=core).client("s3")


def list_keys(url: str) -> list[str]:
    """Return the keys under a prefix, relative to it."""
    bucket, prefix = split_url(url)
    pages = s3_client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return [entry["Key"].removeprefix(prefix) for page in pages for entry in page.get("Contents", [])]


@contextmanager
def staged_file(url: str, name: str) -> Iterator[Path]:
    """Download one object to a scratch folder; both are removed on exit."""
    bucket, prefix = split_url(url)
    with worker.scratch_folder() as folder:
        path = folder / Path(name).name
        s3_client().download_file(bucket, prefix + name, str(path))
        yield path


@contextmanager
def translate_errors(address: str, error_type: type[Exception]) -> Iterator[None]:
    """Translate errors of S3, and of writing the download, into ``error_type`` with a message of one line.

    :param address: the URL that was requested, for the message.
    """
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, ClientError, Boto3Error, OSError) as error:
        raise error_type(f"{worker.host_prefix()}{address}: {error_text(error)}") from error


def error_text(error: Exception) -> str:
    """Return the cause of an S3 error and its remedy in one line."""
    from botocore.exceptions import ClientError, NoCredentialsError

    if isinstance(error, NoCredentialsError):
        return (
            "no AWS credentials found; give the machine a role that may read the bucket "
            "(Stratus: [aws] instance_profile), or set AWS_PROFILE"
        )
    if isinstance(error, ClientError):
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        if code == "NoSuchBucket":
            return f"the bucket does not exist ({code})"
        if status == 404:
            return "the object no longer exists (404)"
        if status == 403:
            is_listing = error.operation_name == "ListObjectsV2"
            permission = "s3:ListBucket on the bucket" if is_listing else "s3:GetObject on the bucket's objects"
            return f"access denied ({code}): the role or user of the credentials needs {permission}"
    if isinstance(error, OSError):
        return f"cannot write to scratch ({error.strerror or error})"
    return " ".join(str(error).split())
