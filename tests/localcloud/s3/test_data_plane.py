"""Objects of the embedded cloud over HTTP: ranges, parts, checksums, copies, presigned URLs, the memory they take."""

from __future__ import annotations

import base64
import json
import os
import re
import time
import urllib.error
import urllib.request
import uuid
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from botocore import UNSIGNED

from tests.support.localcloud.clients import boto, error_code

MIB = 1 << 20


@pytest.fixture(scope="module")
def s3(cloud: dict[str, str]) -> Any:
    return boto(cloud, "s3", signature_version="s3v4")


@pytest.fixture
def bucket(s3: Any) -> str:
    name = f"data-{uuid.uuid4().hex[:12]}"
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    return name


def crc32(data: bytes) -> str:
    return base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()


def read(s3: Any, bucket: str, key: str, **options: Any) -> bytes:
    data: bytes = s3.get_object(Bucket=bucket, Key=key, **options)["Body"].read()
    return data


def upload(s3: Any, bucket: str, key: str, parts: list[bytes], **options: Any) -> dict[str, Any]:
    """Upload parts; returns the arguments that complete the upload."""
    created = s3.create_multipart_upload(Bucket=bucket, Key=key, **options)
    named = {"Bucket": bucket, "Key": key, "UploadId": created["UploadId"]}
    etags = [s3.upload_part(**named, PartNumber=n, Body=part)["ETag"] for n, part in enumerate(parts, 1)]
    return named | {"MultipartUpload": {"Parts": [{"PartNumber": n, "ETag": tag} for n, tag in enumerate(etags, 1)]}}


def test_a_range_of_an_object(s3: Any, bucket: str) -> None:
    data = os.urandom(MIB)
    s3.put_object(Bucket=bucket, Key="a/b", Body=data, Metadata={"kind": "test"})

    answer = s3.get_object(Bucket=bucket, Key="a/b", Range="bytes=1000-1999")
    assert answer["Body"].read() == data[1000:2000]
    assert answer["ContentRange"] == f"bytes 1000-1999/{MIB}"
    assert answer["ContentLength"] == 1000
    assert answer["Metadata"] == {"kind": "test"}
    assert read(s3, bucket, "a/b", Range="bytes=-5") == data[-5:]
    assert read(s3, bucket, "a/b", Range=f"bytes={MIB - 1}-{MIB * 2}") == data[-1:]
    assert read(s3, bucket, "a/b") == data
    assert error_code(s3.get_object, Bucket=bucket, Key="a/b", Range=f"bytes={MIB}-") == "InvalidRange"
    assert error_code(s3.get_object, Bucket=bucket, Key="a/b", IfMatch='"other"') == "PreconditionFailed"
    assert error_code(s3.get_object, Bucket=bucket, Key="none") == "NoSuchKey"


def test_an_empty_object(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="empty", Body=b"")
    assert read(s3, bucket, "empty") == b""


def test_parts_become_an_object_with_one_checksum(s3: Any, bucket: str) -> None:
    parts = [os.urandom(5 * MIB), os.urandom(5 * MIB), os.urandom(1000)]
    whole = b"".join(parts)
    finish = upload(s3, bucket, "parts", parts, ChecksumAlgorithm="CRC32", ChecksumType="FULL_OBJECT")
    listed = s3.list_parts(**{name: finish[name] for name in ("Bucket", "Key", "UploadId")})["Parts"]
    assert [part["ChecksumCRC32"] for part in listed] == [crc32(part) for part in parts]
    assert error_code(s3.complete_multipart_upload, **finish, ChecksumCRC32=crc32(b"other")) == "BadDigest"

    s3.complete_multipart_upload(**finish, ChecksumCRC32=crc32(whole), ChecksumType="FULL_OBJECT")

    head = s3.head_object(Bucket=bucket, Key="parts", ChecksumMode="ENABLED")
    assert (head["ChecksumCRC32"], head["ChecksumType"]) == (crc32(whole), "FULL_OBJECT")
    assert read(s3, bucket, "parts") == whole
    limits = (5 * MIB - 3, 10 * MIB + 7)
    assert read(s3, bucket, "parts", Range=f"bytes={limits[0]}-{limits[1] - 1}") == whole[slice(*limits)]


def test_a_part_that_differs_is_refused(s3: Any, bucket: str) -> None:
    finish = upload(s3, bucket, "small", [b"too small", b"last"])
    assert error_code(s3.complete_multipart_upload, **finish) == "EntityTooSmall"
    finish["MultipartUpload"]["Parts"][0]["ETag"] = '"0123"'
    assert error_code(s3.complete_multipart_upload, **finish) == "InvalidPart"
    wrong = {"Bucket": bucket, "Key": "small", "Body": b"data", "ChecksumCRC32": crc32(b"other")}
    assert error_code(s3.put_object, **wrong) == "BadDigest"


def test_copies_share_the_bytes(s3: Any, bucket: str) -> None:
    data = os.urandom(6 * MIB)
    s3.put_object(Bucket=bucket, Key="original", Body=data)
    s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "original"})
    created = s3.create_multipart_upload(Bucket=bucket, Key="range")
    named = {"Bucket": bucket, "Key": "range", "UploadId": created["UploadId"]}
    part = s3.upload_part_copy(
        **named, PartNumber=1, CopySource={"Bucket": bucket, "Key": "original"}, CopySourceRange="bytes=10-19"
    )
    parts = [{"PartNumber": 1, "ETag": part["CopyPartResult"]["ETag"]}]
    s3.complete_multipart_upload(**named, MultipartUpload={"Parts": parts})
    s3.delete_object(Bucket=bucket, Key="original")

    assert read(s3, bucket, "copy") == data
    assert read(s3, bucket, "range") == data[10:20]


def test_a_reader_gets_the_bytes_of_an_object_that_is_replaced_meanwhile(s3: Any, bucket: str) -> None:
    data = os.urandom(16 * MIB)
    s3.put_object(Bucket=bucket, Key="replaced", Body=data)
    body = s3.get_object(Bucket=bucket, Key="replaced")["Body"]
    first = body.read(1000)
    s3.put_object(Bucket=bucket, Key="replaced", Body=b"new")
    assert first + body.read() == data
    assert read(s3, bucket, "replaced") == b"new"


def fetch(url: str, *, data: bytes | None = None, **headers: str) -> tuple[int, bytes]:
    request = urllib.request.Request(url, data, headers, method="GET" if data is None else "PUT")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=20) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_presigned_urls_are_checked(s3: Any, bucket: str, cloud: dict[str, str]) -> None:
    named = {"Bucket": bucket, "Key": "name with blanks/ü+%"}
    writes = s3.generate_presigned_url("put_object", named, ExpiresIn=60)
    assert fetch(writes, data=b"results")[0] == 200
    reads = s3.generate_presigned_url("get_object", named, ExpiresIn=60)
    assert fetch(reads) == (200, b"results")
    assert fetch(reads, Range="bytes=1-2") == (206, b"es")

    status, body = fetch(reads.replace("name", "Name"))
    assert (status, b"SignatureDoesNotMatch" in body) == (403, True)
    assert fetch(reads, data=b"overwritten")[0] == 403
    longer = re.sub(r"Expires=\d+", "Expires=600", reads)
    assert fetch(longer)[0] == 403
    old = boto(cloud, "s3", signature_version="s3").generate_presigned_url("get_object", named)
    assert b"AWS4-HMAC-SHA256" in fetch(old)[1]
    short = s3.generate_presigned_url("get_object", named, ExpiresIn=1)
    deadline = time.monotonic() + 20
    while fetch(short)[0] == 200 and time.monotonic() < deadline:
        time.sleep(0.2)
    status, body = fetch(short)
    assert (status, b"Request has expired" in body) == (403, True)


def peak_mib(cloud: Mapping[str, str]) -> float:
    """Return the largest memory that the embedded cloud has used so far."""
    pid = json.loads((Path(cloud["LOCALCLOUD_HOME"]) / "cloud.json").read_text())["pid"]
    match = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert match
    return int(match[1]) / 1024


@pytest.mark.slow
def test_objects_are_not_held_in_memory(s3: Any, bucket: str, cloud: dict[str, str]) -> None:
    size = 96 * MIB
    data = os.urandom(MIB) * 96
    s3.put_object(Bucket=bucket, Key="warm", Body=data[:MIB])
    before = peak_mib(cloud)

    s3.put_object(Bucket=bucket, Key="whole", Body=data)
    finish = upload(s3, bucket, "parts", [data[: size // 2], data[size // 2 :]], ChecksumAlgorithm="CRC32")
    s3.complete_multipart_upload(**finish)
    for key in ("whole", "parts"):
        for start in range(0, size, size // 8):
            assert read(s3, bucket, key, Range=f"bytes={start}-{start + 99}") == data[start : start + 100]
        assert read(s3, bucket, key) == data

    assert peak_mib(cloud) - before < 48


def test_requests_without_credentials_read_public_buckets_only(s3: Any, bucket: str, cloud: dict[str, str]) -> None:
    s3.put_object(Bucket=bucket, Key="a", Body=b"data")
    unsigned = boto(cloud, "s3", signature_version=UNSIGNED)
    named = {"Bucket": bucket, "Key": "a"}
    assert error_code(unsigned.get_object, **named) == "AccessDenied"
    assert error_code(unsigned.list_objects_v2, Bucket=bucket) == "AccessDenied"
    allowed = {"Effect": "Allow", "Principal": "*", "Action": ["s3:GetObject", "s3:ListBucket"]}
    resources = [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]
    policy = {"Version": "2012-10-17", "Statement": [{**allowed, "Resource": resources}]}
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))

    assert unsigned.get_object(**named)["Body"].read() == b"data"
    assert unsigned.list_objects_v2(Bucket=bucket)["KeyCount"] == 1
    assert error_code(unsigned.put_object, **named, Body=b"") == "AccessDenied"
    assert error_code(unsigned.list_objects_v2, Bucket="none-" + bucket) == "NoSuchBucket"
