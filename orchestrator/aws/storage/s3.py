"""Lookups in S3."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.aws import errors
from orchestrator.aws.client import OPTIONAL_TIMEOUT_S

if TYPE_CHECKING:
    from orchestrator.aws.client import Clients


def find(clients: Clients, url: str) -> str:
    """Look up an S3 URL and return an error code, empty if at least one object has that prefix; one call.

    :param url: ``s3://bucket/prefix``.
    :return: ``NoSuchBucket``, ``NoSuchKey``, or the code of another error, which leaves open whether the data exists: a
        VM reads it by a role of its own.
    """
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    s3 = clients.service("s3", attempts=1, timeout_s=OPTIONAL_TIMEOUT_S)
    try:
        response = s3.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1)
    except errors.error_types() as error:
        return errors.code_of(error) or type(error).__name__
    return "" if response.get("KeyCount") else "NoSuchKey"
