"""Objects in S3 that managed jobs read and write: code and data of a job, and its results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.aws import errors

if TYPE_CHECKING:
    from orchestrator.aws.client import Clients

CHUNK_BYTES = 1 << 18


def default_bucket(account: str, region: str) -> str:
    """Return the bucket that SageMaker's own SDK uses in an account and region."""
    return f"sagemaker-{region}-{account}"


def split_url(url: str) -> tuple[str, str]:
    """Return bucket and key of ``s3://bucket/key``."""
    bucket, _, key = url.removeprefix("s3://").partition("/")
    return bucket, key


def bucket_problem(clients: Clients, bucket: str) -> str:
    """Return why a bucket cannot be listed, an error code; empty if it can be."""
    # Not HeadBucket, whose answer has a status only.
    try:
        clients.service("s3").list_objects_v2(Bucket=bucket, MaxKeys=1)
    except errors.error_types() as error:
        return errors.code_of(error) or type(error).__name__
    return ""


def create_bucket(clients: Clients, bucket: str) -> None:
    """Create a bucket in the clients' region, without public access, which is the default.

    :raises StratusError: S3 refused.
    """
    # us-east-1 is the one region that must not be named.
    place = {"LocationConstraint": clients.region}
    options: dict[str, Any] = {} if clients.region == "us-east-1" else {"CreateBucketConfiguration": place}
    with clients.translate_errors(f"creating the bucket {bucket}"):
        try:
            clients.service("s3").create_bucket(Bucket=bucket, **options)
        except errors.error_types() as error:
            if errors.code_of(error) != "BucketAlreadyOwnedByYou":
                raise


def upload(clients: Clients, url: str, files: Mapping[str, bytes | Path]) -> None:
    """Upload files below a prefix.

    :param url: ``s3://bucket/prefix``.
    :param files: name below the prefix -> content, or a file of this computer.
    :raises StratusError: S3 refused.
    """
    bucket, prefix = split_url(url.rstrip("/"))
    s3 = clients.service("s3")
    with clients.translate_errors(f"uploading to {url}"):
        for name, content in files.items():
            key = f"{prefix}/{name}"
            if isinstance(content, bytes):
                s3.put_object(Bucket=bucket, Key=key, Body=content)
            else:
                s3.upload_file(str(content), bucket, key)


def first_keys(clients: Clients, url: str, count: int) -> list[str]:
    """Return the first keys with a prefix.

    :raises StratusError: S3 refused.
    """
    bucket, prefix = split_url(url)
    with clients.translate_errors(f"listing {url}"):
        response = clients.service("s3").list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=count)
    return [item["Key"] for item in response.get("Contents", ())]


def chunks(clients: Clients, url: str) -> Iterator[bytes] | None:
    """Return the content of an object in pieces; None if there is no such object.

    :raises StratusError: S3 refused.
    """
    bucket, key = split_url(url)
    with clients.translate_errors(f"fetching {url}"):
        try:
            response = clients.service("s3").get_object(Bucket=bucket, Key=key)
        except errors.error_types() as error:
            if errors.code_of(error) in ("NoSuchKey", "NoSuchBucket", "404"):
                return None
            raise
    pieces: Iterator[bytes] = response["Body"].iter_chunks(CHUNK_BYTES)
    return _translated(clients, url, pieces)


def _translated(clients: Clients, url: str, pieces: Iterator[bytes]) -> Iterator[bytes]:
    with clients.translate_errors(f"fetching {url}"):
        yield from pieces
