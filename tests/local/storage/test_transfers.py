"""Files to S3 and back over HTTP: whole, by parts, through a cut connection, and after kill -9."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.config.settings import Settings
from orchestrator.core.errors import StratusError
from orchestrator.session import Session
from tests.support.localcloud.clients import boto, wait_until
from tests.support.paths import ROOT
from tests.support.project import Project
from tests.support.tcp_forwarder import forwarding

MIB = 1 << 20
PART = 8 * MIB
Open = Callable[..., Session]


@pytest.fixture(scope="module")
def s3(cloud: dict[str, str]) -> Any:
    return boto(cloud, "s3")


@pytest.fixture
def bucket(s3: Any) -> str:
    name = f"transfers-{uuid.uuid4().hex[:12]}"
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    return name


@pytest.fixture
def project(cloud: dict[str, str], tmp_path: Path) -> Project:
    lab = Project(tmp_path, "data", cloud)
    lab.job("single = true\n")
    return lab


def through(url: str) -> Callable[[Settings], Settings]:
    return lambda loaded: replace(loaded, aws=replace(loaded.aws, endpoint_url=url))


def read(s3: Any, bucket: str, key: str) -> bytes:
    data: bytes = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    return data


def noise(path: Path, size: int) -> bytes:
    data = os.urandom(MIB) * (size // MIB) + os.urandom(size % MIB)
    path.write_bytes(data)
    return data


def test_a_file_goes_to_a_bucket_and_comes_back(s3: Any, bucket: str, project: Project, tmp_path: Path) -> None:
    data = noise(tmp_path / "a.bin", 20 * MIB + 5)
    with project.session() as session:
        first = session.storage.upload(tmp_path / "a.bin", f"s3://{bucket}/in/")
        again = session.storage.upload(tmp_path / "a.bin", f"s3://{bucket}/in/a.bin")
        fetched = session.storage.download(f"s3://{bucket}/in/a.bin", tmp_path / "b.bin")
        unchanged = session.storage.download(f"s3://{bucket}/in/a.bin", tmp_path / "b.bin")

        assert (first.files, first.sent_bytes) == (1, len(data))
        assert (again.files, again.unchanged, again.sent_bytes) == (0, 1, 0)
        assert read(s3, bucket, "in/a.bin") == data == (tmp_path / "b.bin").read_bytes()
        assert (fetched.sent_bytes, unchanged.sent_bytes) == (len(data), 0)
        assert session.storage.abort().aborted == ()
    assert not [path.name for path in tmp_path.iterdir() if "stratus-part" in path.name]


def test_an_upload_continues_after_the_connection_was_cut(
    s3: Any, bucket: str, project: Project, tmp_path: Path
) -> None:
    data = noise(tmp_path / "a.bin", 6 * PART)
    with (
        forwarding(project.env["AWS_ENDPOINT_URL"], cut_after=3 * PART, refuse=1000) as line,
        project.session(adapt=through(line.url)) as session,
        pytest.raises(StratusError),
    ):
        session.storage.upload(tmp_path / "a.bin", f"s3://{bucket}/a.bin")
    (upload,) = s3.list_multipart_uploads(Bucket=bucket)["Uploads"]
    present = s3.list_parts(Bucket=bucket, Key="a.bin", UploadId=upload["UploadId"]).get("Parts", [])
    with project.session() as session:
        assert [item.url for item in session.storage.list(f"s3://{bucket}").unfinished] == [f"s3://{bucket}/a.bin"]
        report = session.storage.upload(tmp_path / "a.bin", f"s3://{bucket}/a.bin")

    assert report.sent_bytes == len(data) - sum(part["Size"] for part in present)
    assert read(s3, bucket, "a.bin") == data
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)


def test_a_download_survives_a_cut_and_continues_after_another(
    s3: Any, bucket: str, project: Project, tmp_path: Path
) -> None:
    data = noise(tmp_path / "a.bin", 6 * PART)
    s3.put_object(Bucket=bucket, Key="a.bin", Body=data)
    with (
        forwarding(project.env["AWS_ENDPOINT_URL"], cut_after=2 * PART) as line,
        project.session(adapt=through(line.url)) as session,
    ):
        report = session.storage.download(f"s3://{bucket}/a.bin", tmp_path / "b.bin")
        assert line.cuts
    assert (tmp_path / "b.bin").read_bytes() == data
    assert report.sent_bytes == len(data)
    with (
        forwarding(project.env["AWS_ENDPOINT_URL"], cut_after=4 * PART, refuse=1000) as line,
        project.session(adapt=through(line.url)) as session,
        pytest.raises(StratusError),
    ):
        session.storage.download(f"s3://{bucket}/a.bin", tmp_path / "c.bin")
    done = len((tmp_path / "c.bin.stratus-part.done").read_text().splitlines()) - 1
    with project.session() as session:
        report = session.storage.download(f"s3://{bucket}/a.bin", tmp_path / "c.bin")
    assert (tmp_path / "c.bin").read_bytes() == data
    assert report.sent_bytes == len(data) - done * PART


KILLED = """
import sys
from pathlib import Path
from orchestrator.config import settings
from orchestrator.session import Session
import os
config, home, action, first, second = sys.argv[1:]
loaded = settings.load(Path(config), os.environ)
from orchestrator.services.storage import TransferOptions
session = Session(loaded, home=Path(home), runs=Path("runs"), on_event=lambda event: print(event.text, flush=True))
options = TransferOptions(limit_bytes_per_s=20e6)
if action == "upload":
    session.storage.upload(Path(first), second, options)
else:
    session.storage.download(first, Path(second), options)
"""


@pytest.mark.slow
@pytest.mark.parametrize("action", ["upload", "download"])
def test_a_transfer_continues_after_its_process_was_killed(
    s3: Any, bucket: str, project: Project, tmp_path: Path, action: str
) -> None:
    data = noise(tmp_path / "a.bin", 6 * PART)
    url = f"s3://{bucket}/a.bin"
    if action == "download":
        s3.put_object(Bucket=bucket, Key="a.bin", Body=data)
    words = [str(tmp_path / "a.bin"), url] if action == "upload" else [url, str(tmp_path / "b.bin")]
    home = tmp_path / "laptop"
    env = {**os.environ, **project.env, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", KILLED, str(project.config), str(home), action, *words]

    def has_part() -> bool:
        if action == "download":
            done = tmp_path / "b.bin.stratus-part.done"
            return done.exists() and len(done.read_text().splitlines()) > 1
        uploads = s3.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
        parts = [s3.list_parts(Bucket=bucket, Key="a.bin", UploadId=item["UploadId"]) for item in uploads]
        return any(part.get("Parts") for part in parts)

    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE)
    try:
        wait_until(has_part)
    finally:
        process.kill()
        process.communicate(timeout=30)
    with project.session() as session:
        if action == "upload":
            report = session.storage.upload(tmp_path / "a.bin", url)
        else:
            report = session.storage.download(url, tmp_path / "b.bin")

    assert 0 < report.sent_bytes < len(data)
    assert read(s3, bucket, "a.bin") == data
    assert action == "upload" or (tmp_path / "b.bin").read_bytes() == data
