"""An S3 server on loopback for tests of the examples."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def s3_server(bucket: str, prefix: str, folder: Path, scratch: Path) -> Iterator[dict[str, str]]:
    """Serve the files of a folder from a bucket; yields the environment for processes that read them.

    :param scratch: the temporary folder of these processes.
    """
    boto3 = pytest.importorskip("boto3")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    try:
        endpoint = "http://{}:{}".format(*server.get_host_and_port())
        keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing", "region_name": "us-west-2"}
        s3 = boto3.client("s3", endpoint_url=endpoint, **keys)
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
        for path in folder.iterdir():
            s3.upload_file(str(path), bucket, f"{prefix}/{path.name}")
        scratch.mkdir()
        env = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        env |= {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-west-2"}
        yield env | {"AWS_ENDPOINT_URL": endpoint, "TMPDIR": str(scratch)}
    finally:
        server.stop()
