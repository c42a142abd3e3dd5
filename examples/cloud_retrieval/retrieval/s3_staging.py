"""Scenes on S3: list a prefix, bring one object to local scratch, remove it.

boto3 is imported by the functions that use it: a run on local files neither needs nor pays for it. Credentials,
region and endpoint come from the environment or the machine's role, as boto3 finds them.
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
# Several threads of a worker begin at once, and boto3's sessions bear one at a time; its clients bear all.
_SESSION_LOCK = threading.Lock()


def is_remote(root: str) -> bool:
    """Whether ``root`` is an s3 prefix."""
    return root.startswith(SCHEME)


def split_url(url: str) -> tuple[str, str]:
    """Bucket and prefix of ``s3://bucket/prefix``; a prefix that is not empty ends with a slash."""
    bucket, _, prefix = url.removeprefix(SCHEME).partition("/")
    prefix = prefix.strip("/")
    return bucket, f"{prefix}/" if prefix else ""


def s3_client() -> Any:
    """This process's client for S3."""
    with _SESSION_LOCK:
        return _cached_client()


@cache
def _cached_client() -> Any:
    import boto3
    import botocore.session

    core = botocore.session.get_session()
    # Left to itself it asks the machine's role once and waits a second: too little where all workers begin at once.
    core.set_config_variable("metadata_service_timeout", 5)
    core.set_config_variable("metadata_service_num_attempts", 4)
    return boto3.session.Session(botocore_session=core).client("s3")


def list_keys(url: str) -> list[str]:
    """Keys under a prefix, relative to it."""
    bucket, prefix = split_url(url)
    pages = s3_client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return [entry["Key"].removeprefix(prefix) for page in pages for entry in page.get("Contents", [])]


@contextmanager
def staged_file(url: str, name: str) -> Iterator[Path]:
    """One object as a file in a scratch folder that is removed with it."""
    bucket, prefix = split_url(url)
    with worker.scratch_folder() as folder:
        path = folder / Path(name).name
        s3_client().download_file(bucket, prefix + name, str(path))
        yield path


@contextmanager
def translate_errors(what: str, kind: type[Exception]) -> Iterator[None]:
    """Turn what goes wrong with S3, or with writing what it sends, into ``kind`` with one line.

    :param what: the address that is asked for.
    """
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, ClientError, Boto3Error, OSError) as error:
        raise kind(f"{worker.host_prefix()}{what}: {error_text(error)}") from error


def error_text(error: Exception) -> str:
    """What an error of S3 means, and what to do about it, in one line."""
    from botocore.exceptions import ClientError, NoCredentialsError

    if isinstance(error, NoCredentialsError):
        return (
            "no AWS credentials here; give the machine a role that may read the bucket "
            "(Stratus: [aws] instance_profile), or set AWS_PROFILE"
        )
    if isinstance(error, ClientError):
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        if code == "NoSuchBucket":
            return f"there is no such bucket ({code})"
        if status == 404:
            return "there is no such object any more (404)"
        if status == 403:
            lists = error.operation_name == "ListObjectsV2"
            needs = "s3:ListBucket on the bucket" if lists else "s3:GetObject on the bucket's objects"
            return f"access denied ({code}): whoever asks, such as the machine's role, needs {needs}"
    if isinstance(error, OSError):
        return f"cannot be written to scratch ({error.strerror or error})"
    return " ".join(str(error).split())
