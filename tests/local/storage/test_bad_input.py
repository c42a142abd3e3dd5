"""Bad input of the verbs on S3 data: one line each, nothing outside the folder, nothing lost."""

from __future__ import annotations

import json
import os
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from localcloud.scenarios.scenario import make_fault
from orchestrator.aws.storage import locations
from orchestrator.core.errors import StratusError
from orchestrator.services.storage import TransferOptions
from orchestrator.session import Session
from tests.support.localcloud.clients import boto
from tests.support.localcloud.instances import Play, play
from tests.support.project import Project

__all__ = ["play"]

MIB = 1 << 20


@pytest.fixture(scope="module")
def s3(cloud: dict[str, str]) -> Any:
    return boto(cloud, "s3")


@pytest.fixture
def bucket(s3: Any) -> str:
    name = f"input-{uuid.uuid4().hex[:12]}"
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    return name


@pytest.fixture
def session(cloud: dict[str, str], tmp_path: Path) -> Iterator[Session]:
    lab = Project(tmp_path, "data", cloud)
    lab.job("single = true\n")
    with lab.session() as opened:
        yield opened


def refusal(call: Any, *arguments: Any, **options: Any) -> str:
    with pytest.raises(StratusError) as caught:
        call(*arguments, **options)
    assert len(str(caught.value.lines()[0]).splitlines()) == 1
    return "\n".join(map(str, caught.value.lines()))


def test_urls_and_paths_that_do_not_exist(session: Session, bucket: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("data")
    storage = session.storage
    assert "not an S3 URL" in refusal(storage.upload, tmp_path / "a", "bucket/a")
    assert "cannot be read" in refusal(storage.upload, tmp_path / "none", f"s3://{bucket}/a")
    assert "there is no bucket none-" in refusal(storage.upload, tmp_path / "a", "s3://none-12345/a")
    assert "there is no bucket none-" in refusal(storage.list, "s3://none-12345/")
    assert "no such object or folder" in refusal(storage.download, f"s3://{bucket}/none", tmp_path / "b")
    assert "one of the two has to be" in refusal(storage.sync, "here", "there")
    assert "only one of the two" in refusal(storage.sync, f"s3://{bucket}/a", f"s3://{bucket}/b")
    assert "'my_bucket!' is not the name of a bucket" in refusal(storage.list, "s3://my_bucket!/a")
    os.mkfifo(tmp_path / "pipe")
    assert "not a file" in refusal(storage.upload, tmp_path / "pipe", f"s3://{bucket}/a")


def test_the_folder_of_a_downloaded_object_is_made(s3: Any, session: Session, bucket: str, tmp_path: Path) -> None:
    s3.put_object(Bucket=bucket, Key="a", Body=b"data")
    session.storage.download(f"s3://{bucket}/a", tmp_path / "new/folder/b")
    assert (tmp_path / "new/folder/b").read_bytes() == b"data"
    (tmp_path / "file").write_text("")
    assert "cannot be made: Not a directory" in refusal(
        session.storage.download, f"s3://{bucket}/a", tmp_path / "file/folder/b"
    )


@pytest.mark.parametrize(
    ("code", "status", "line"),
    [
        ("AccessDenied", 403, "is not allowed to perform s3:"),
        ("PermanentRedirect", 301, "the bucket is in another region"),
        ("ExpiredToken", 400, "the session has expired"),
        ("InvalidAccessKeyId", 403, "InvalidAccessKeyId"),
    ],
)
def test_refusals_of_s3(
    session: Session, bucket: str, tmp_path: Path, play: Play, code: str, status: int, line: str
) -> None:
    (tmp_path / "a").write_text("data")
    play(make_fault("error", action="PutObject, ListObjectsV2", code=code, status=status, message=code))
    assert line in refusal(session.storage.upload, tmp_path / "a", f"s3://{bucket}/a")
    assert line in refusal(session.storage.list, f"s3://{bucket}/")


HOSTILE = ("../outside", "a/../../outside", "/etc/outside", "a//b", "bell\a", "a/./b", "x" * 250, "dir/../..", "..")


def test_names_of_objects_stay_inside_the_folder(s3: Any, session: Session, bucket: str, tmp_path: Path) -> None:
    for name in HOSTILE:
        s3.put_object(Bucket=bucket, Key=f"data/{name}", Body=b"hostile")
    for name in ("good", "sub/good", "file", "file/below", "link/passwd"):
        s3.put_object(Bucket=bucket, Key=f"data/{name}", Body=b"data")
    target = tmp_path / "target"
    target.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (target / "link").symlink_to(tmp_path / "elsewhere")

    report = session.storage.download(f"s3://{bucket}/data/", target)

    assert sorted(path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()) == [
        "file/below",
        "good",
        "sub/good",
    ]
    assert len(report.failed) == len(HOSTILE) + 2
    assert all("\n" not in str(error.lines()[0]) for error in report.failed.values() if isinstance(error, StratusError))
    assert not list((tmp_path / "elsewhere").iterdir())
    assert not list(tmp_path.rglob("outside"))


def test_names_that_differ_in_case_only() -> None:
    names = ["a", "A", "b/c", "B/C", "d"]
    assert locations.collisions(names, is_case_sensitive=True) == {}
    assert set(locations.collisions(names, is_case_sensitive=False)) == {"a", "b/c"}


def test_an_object_that_changes_while_it_is_fetched(s3: Any, session: Session, bucket: str, tmp_path: Path) -> None:
    s3.put_object(Bucket=bucket, Key="a", Body=os.urandom(MIB) * 60)
    changed = threading.Event()

    def change(event: Any) -> None:
        if event.state == "progress" and not changed.is_set():
            changed.set()
            s3.put_object(Bucket=bucket, Key="a", Body=b"new")

    storage = type(session.storage)(session.storage.clients, session.storage.unfinished, change)
    options = TransferOptions(limit_bytes_per_s=80e6)
    assert "has changed" in refusal(storage.download, f"s3://{bucket}/a", tmp_path / "a", options)
    assert not list(tmp_path.glob("a*"))
    assert session.storage.download(f"s3://{bucket}/a", tmp_path / "a").files == 1
    assert (tmp_path / "a").read_bytes() == b"new"


def test_a_file_that_changes_while_it_is_sent(s3: Any, session: Session, bucket: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(os.urandom(24 * MIB))

    def change(event: Any) -> None:
        if event.state == "progress":
            with (tmp_path / "a").open("ab") as file:
                file.write(b"more")

    storage = type(session.storage)(session.storage.clients, session.storage.unfinished, change)
    options = TransferOptions(limit_bytes_per_s=24e6)
    assert "has changed while it was sent" in refusal(storage.upload, tmp_path / "a", f"s3://{bucket}/a", options)
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)
    session.storage.upload(tmp_path / "a", f"s3://{bucket}/a")
    assert s3.head_object(Bucket=bucket, Key="a")["ContentLength"] == (tmp_path / "a").stat().st_size
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)


def test_public_buckets_need_no_credentials(s3: Any, session: Session, bucket: str, tmp_path: Path) -> None:
    s3.put_object(Bucket=bucket, Key="a", Body=b"data")
    public = TransferOptions(public=True)
    assert "not public" in refusal(session.storage.download, f"s3://{bucket}/a", tmp_path / "a", public)
    allowed = {"Effect": "Allow", "Principal": "*", "Action": ["s3:GetObject", "s3:ListBucket"]}
    resources = [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]
    policy = {"Version": "2012-10-17", "Statement": [{**allowed, "Resource": resources}]}
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))

    assert session.storage.download(f"s3://{bucket}/a", tmp_path / "a", public).files == 1
    assert [item.name for item in session.storage.list(f"s3://{bucket}", public).objects] == ["a"]


def test_every_request_agrees_to_pay(s3: Any, session: Session, bucket: str, tmp_path: Path) -> None:
    """S3 refuses requests without it."""
    payers: set[tuple[str, str]] = set()
    events = session.context.clients.session.events
    events.register(
        "provide-client-params.s3", lambda params, model, **_: payers.add((model.name, params.get("RequestPayer", "-")))
    )
    (tmp_path / "big").write_bytes(bytes(9 * MIB))
    (tmp_path / "small").write_bytes(b"small")
    paying = TransferOptions(requester_pays=True)
    for name in ("big", "small"):
        session.storage.upload(tmp_path / name, f"s3://{bucket}/{name}", paying)
    session.storage.download(f"s3://{bucket}/", tmp_path / "back", paying)
    session.storage.list(f"s3://{bucket}/", paying)

    asked = {"CreateMultipartUpload", "UploadPart", "PutObject", "GetObject", "HeadObject", "ListObjectsV2"}
    assert asked <= {name for name, _ in payers}
    # The bucket's owner pays for it.
    assert {name for name, payer in payers if payer == "-"} <= {"ListMultipartUploads"}


def test_sync_copies_what_is_new_both_ways(s3: Any, session: Session, bucket: str, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "sub").mkdir(parents=True)
    (source / "a").write_text("a")
    (source / "sub/b").write_text("b")
    storage, url = session.storage, f"s3://{bucket}/data"
    assert storage.sync(str(source), url).files == 2
    assert storage.sync(str(source), url).unchanged == 2
    assert storage.sync(url, str(target)).files == 2
    assert storage.sync(url, str(target)).unchanged == 2
    (source / "a").write_text("longer")
    report = storage.sync(str(source), url)
    assert (report.files, report.unchanged) == (1, 1)
    assert (target / "sub/b").read_text() == "b"


def test_an_upload_that_was_begun_is_named_at_the_end_and_aborted(
    s3: Any, session: Session, bucket: str, tmp_path: Path, play: Play
) -> None:
    (tmp_path / "a").write_bytes(os.urandom(9 * MIB))
    play(make_fault("error", action="PutObject", code="AccessDenied", status=403, message="no"))
    refusal(session.storage.upload, tmp_path / "a", f"s3://{bucket}/a")
    play()
    assert s3.list_multipart_uploads(Bucket=bucket)["Uploads"]
    assert session.cluster.terminate().unfinished_uploads == (f"s3://{bucket}/a",)
    assert [upload.url for upload in session.storage.abort().aborted] == [f"s3://{bucket}/a"]
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)
    assert session.cluster.terminate().unfinished_uploads == ()
