"""S3 as a job uses it: with its role's credentials, over the cloud's own endpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from localcloud.aws.wsgi import mark_as_platform


class TransferError(Exception):
    """A transfer failed; the message is the reason that SageMaker reports."""


@dataclass(frozen=True)
class S3Url:
    """``s3://bucket/key``."""

    bucket: str
    key: str

    @classmethod
    def parse(cls, url: str) -> S3Url:
        """Return the parts of a URL."""
        bucket, _, key = url.removeprefix("s3://").partition("/")
        return cls(bucket, key)


@dataclass(frozen=True)
class Storage:
    """S3 with the credentials of a role.

    :param endpoint: URL of the cloud.
    :param credentials: environment variables of the role's session.
    """

    endpoint: str
    region: str
    credentials: Mapping[str, str]

    @cached_property
    def _client(self) -> Any:
        import boto3
        import botocore.session
        from botocore.config import Config

        botocore_session = botocore.session.Session()
        # Loading S3's service description takes longer than a small transfer.
        botocore_session.register_component("data_loader", _loader())
        session = boto3.Session(
            self.credentials["AWS_ACCESS_KEY_ID"],
            self.credentials["AWS_SECRET_ACCESS_KEY"],
            self.credentials["AWS_SESSION_TOKEN"],
            region_name=self.region,
            botocore_session=botocore_session,
        )
        config = Config(proxies={}, retries={"total_max_attempts": 2}, s3={"addressing_style": "path"})
        client = session.client("s3", endpoint_url=self.endpoint, config=config)
        client.meta.events.register("before-sign.s3", mark_as_platform)
        return client

    def keys(self, url: S3Url) -> list[str]:
        """Return the keys that begin with the URL's key, in order; folders' own objects are left out.

        :raises TransferError: the bucket cannot be listed.
        """
        pages = self._client.get_paginator("list_objects_v2")
        try:
            listed = [
                item["Key"]
                for page in pages.paginate(Bucket=url.bucket, Prefix=url.key)
                for item in page.get("Contents", [])
            ]
        except Exception as error:
            raise TransferError(f"Data download failed:{_reason(error)}") from error
        return sorted(key for key in listed if not key.endswith("/"))

    def download(self, bucket: str, key: str, path: Path) -> None:
        """Write an object to a file, whose folders are created.

        :raises TransferError: it cannot be read.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._client.download_file(bucket, key, str(path))
        except Exception as error:
            raise TransferError(f"Data download failed:{_reason(error)}") from error

    def upload(self, path: Path, url: S3Url) -> None:
        """Write a file to an object.

        :raises TransferError: it cannot be written.
        """
        try:
            self._client.upload_file(str(path), url.bucket, url.key)
        except Exception as error:
            message = f"Artifact upload failed:{_reason(error)}. Please ensure that the role has access to the bucket"
            raise TransferError(message) from error


@cache
def _loader() -> Any:
    from botocore.loaders import create_loader

    return create_loader()


def _reason(error: Exception) -> str:
    response = getattr(error, "response", None) or {}
    details = response.get("Error", {})
    return f"{details.get('Code')}: {details.get('Message')}" if details else str(error)
