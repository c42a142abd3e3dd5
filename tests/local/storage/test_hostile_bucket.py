"""What a bucket, a VM that writes to it, or a second shell can do to transfers."""

from __future__ import annotations

import io
import json
import os
import tarfile
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from orchestrator.aws.storage.result_store import S3ResultStore
from orchestrator.core.clock import REAL_CLOCK
from orchestrator.core.errors import StratusError, UsageError
from orchestrator.jobs.records.bucket_results import BucketResults
from orchestrator.jobs.spec import load
from orchestrator.jobs.storage.checkpoint_places import CheckpointPlaces
from orchestrator.services.storage import TransferOptions
from orchestrator.session import Session
from orchestrator.ssh.tar_stream import UnpackBudget
from tests.support.jobs.job_folder import plan
from tests.support.localcloud.clients import boto, wait_until
from tests.support.project import Project

MIB = 1 << 20
JOB = "single = true\ncheckpoints = state -> s3://{}/team/job\n"


@pytest.fixture(scope="module")
def s3(cloud: dict[str, str]) -> Any:
    return boto(cloud, "s3")


@pytest.fixture
def bucket(s3: Any) -> str:
    name = f"hostile-{uuid.uuid4().hex[:12]}"
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    return name


@pytest.fixture
def project(cloud: dict[str, str], tmp_path: Path) -> Project:
    lab = Project(tmp_path, "hostile", cloud)
    lab.job("single = true\n")
    return lab


@pytest.fixture
def session(project: Project) -> Iterator[Session]:
    with project.session() as session:
        yield session


def checkpoint(key: str) -> bytes:
    """Return a manifest with one file, as a VM writes it."""
    facts = {"key": key, "size": 6, "sha256": "0" * 64, "mtime_ns": 0}
    return json.dumps({"format": 1, "run": "r", "saved": "2026", "files": {"last": facts}}).encode()


@pytest.mark.parametrize(
    "key", ["salaries.csv", "team/job2/x", "team/job/rank-1/x", "team/job/rank-0/../../../salaries.csv", "team/job/x"]
)
def test_a_vm_gets_no_url_of_an_object_that_is_not_its_checkpoint(
    s3: Any, bucket: str, session: Session, project: Project, key: str
) -> None:
    """It writes the list of its checkpoints itself; the next run's VM gets presigned URLs of what the list names."""
    spec = load(project.job(JOB.format(bucket)), {})
    places = CheckpointPlaces(S3ResultStore(session.context.clients), has_role=False)
    s3.put_object(Bucket=bucket, Key="salaries.csv", Body=b"secret")
    s3.put_object(Bucket=bucket, Key="team/job/rank-0/manifest.json", Body=checkpoint("team/job/rank-0/slot-000"))

    restored = json.loads(places.files(plan(spec, 1, multi=False))["ml-0"]["checkpoints"])["restore"]
    s3.put_object(Bucket=bucket, Key="team/job/rank-0/manifest.json", Body=checkpoint(key))

    assert list(restored["urls"]) == ["team/job/rank-0/slot-000"]
    with pytest.raises(UsageError, match="not in the folder of its VM") as refused:
        places.files(plan(spec, 1, multi=False))
    assert refused.value.where == f"s3://{bucket}/team/job/rank-0/manifest.json"


def test_every_file_of_a_folder_is_sent_or_named(s3: Any, bucket: str, project: Project, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    (folder / "far").mkdir(parents=True)
    # Workflow tools mark finished steps so.
    for name in ("step-1.done", "far/step-2.done", "x.stratus-part", "x.stratus-part.done"):
        (folder / name).write_text("x")
    (folder / "scratch").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe")

    with project.session() as session:
        report = session.storage.upload(folder, f"s3://{bucket}/in/")

    listed = s3.list_objects_v2(Bucket=bucket)["Contents"]
    assert [item["Key"] for item in listed] == ["in/far/step-2.done", "in/step-1.done"]
    assert report.files == 2
    (warning,) = [event.text for event in project.events if event.state == "warning"]
    assert f"{folder}/scratch" in warning
    assert f"{folder}/pipe" in warning


def test_an_object_cannot_take_the_place_of_a_download_under_way(
    s3: Any, bucket: str, session: Session, tmp_path: Path
) -> None:
    for name in ("model.bin", "model.bin.stratus-part", "model.bin.stratus-part.done"):
        s3.put_object(Bucket=bucket, Key=f"d/{name}", Body=name.encode())

    report = session.storage.download(f"s3://{bucket}/d", tmp_path / "d")

    assert [path.name for path in (tmp_path / "d").iterdir()] == ["model.bin"]
    assert (tmp_path / "d/model.bin").read_bytes() == b"model.bin"
    assert sorted(report.failed) == ["model.bin.stratus-part", "model.bin.stratus-part.done"]


@pytest.mark.slow
def test_two_downloads_into_one_file_are_never_mixed(s3: Any, bucket: str, project: Project, tmp_path: Path) -> None:
    """The second is refused in one line, whether it fetches the same object or another one."""
    data = os.urandom(MIB) * 20
    s3.put_object(Bucket=bucket, Key="a", Body=data)
    s3.put_object(Bucket=bucket, Key="b", Body=bytes(20 * MIB))
    target, slow = tmp_path / "x.bin", TransferOptions(limit_bytes_per_s=8e6)

    with project.session() as first, project.session("other") as second, ThreadPoolExecutor(1) as pool:
        running = pool.submit(first.storage.download, f"s3://{bucket}/a", target, slow)
        wait_until(lambda: target.with_name("x.bin.stratus-part.done").exists())
        for name in ("a", "b"):
            with pytest.raises(StratusError, match="another download writes this file"):
                second.storage.download(f"s3://{bucket}/{name}", target)
        assert running.result().files == 1
        assert target.read_bytes() == data
        assert second.storage.download(f"s3://{bucket}/b", target).files == 1

    assert target.read_bytes() == bytes(20 * MIB)
    assert not list(tmp_path.glob("*.stratus-part*"))


def test_uploads_beside_a_folder_are_not_aborted_with_it(s3: Any, bucket: str, session: Session) -> None:
    for key in ("data/a", "data2/b", "data", "database.csv"):
        s3.create_multipart_upload(Bucket=bucket, Key=key)
    location = f"s3://{bucket}/data"

    aborted = session.storage.abort(location).aborted

    assert sorted(upload.url for upload in aborted) == [location, f"{location}/a"]
    assert sorted(item["Key"] for item in s3.list_multipart_uploads(Bucket=bucket)["Uploads"]) == [
        *("data2/b", "database.csv")
    ]


RUN = "20261120-141203-k3x"


def archive(files: dict[str, bytes]) -> bytes:
    """Return an archive as results.sh writes it."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return data.getvalue()


def results_of(host: str) -> dict[str, bytes]:
    roles = {f"ml-{number}": ["main"] for number in range(5)}
    facts = {"run": RUN, "job": "job", "framework": "command", "multi": True, "roles": roles, "outputs": ["out"]}
    listing = f"@@job {RUN} {json.dumps(facts)}\n@@run {RUN} main no 0 2026-11-20T14:12:04Z 2026-11-20T14:12:05Z\n"
    return {"state/listing": listing.encode(), "log/main.log": b"hi\n", "workdir/out/a": host.encode()}


@pytest.mark.slow
def test_results_of_one_vm_never_cost_those_of_another(s3: Any, bucket: str, session: Session, tmp_path: Path) -> None:
    """Each VM can write what it likes as its own archive, up to 5 GB of it."""
    good = archive(results_of("ml-0"))
    archives = {
        "ml-0": good,
        "ml-1": b"garbage" * 100,
        "ml-2": good[: len(good) // 2],
        "ml-3": archive(results_of("ml-3") | {"../../outside": b"x"}),
        "ml-4": archive(results_of("ml-4") | {"workdir/out/big": bytes(3 * MIB)}),
        "ml-5": os.urandom(2 * MIB),
    }
    for host, content in archives.items():
        s3.put_object(Bucket=bucket, Key=f"runs/{RUN}/{host}.tar.gz", Body=content)
    store = S3ResultStore(session.context.clients)
    place = f"s3://{bucket}/runs"
    results = BucketResults(store, tmp_path / "runs", lambda: UnpackBudget(MIB, 1000), REAL_CLOCK, lambda: place)

    record = results.fetch("")

    assert record is not None
    assert (tmp_path / f"runs/{RUN}/outputs/ml-0/a").read_bytes() == b"ml-0"
    assert sorted(record.failed) == ["ml-1", "ml-2", "ml-3", "ml-4", "ml-5"]
    assert not list(tmp_path.rglob("outside"))
    assert not list(tmp_path.rglob("archive"))


def test_a_download_makes_no_folder_of_a_file_and_no_file_of_a_device(
    s3: Any, bucket: str, session: Session, tmp_path: Path
) -> None:
    s3.put_object(Bucket=bucket, Key="d/a", Body=b"x")
    (tmp_path / "file").write_text("mine")
    os.mkfifo(tmp_path / "pipe")

    for source, target, reason in (
        ("d/", "file", "is a file; a folder is needed there"),
        ("d/", "file/below", "cannot be made: Not a directory"),
        ("d/a", "pipe", "is a device or the like, not a file"),
    ):
        with pytest.raises(UsageError, match=reason):
            session.storage.download(f"s3://{bucket}/{source}", tmp_path / target)
    assert (tmp_path / "file").read_text() == "mine"
    assert (tmp_path / "pipe").is_fifo()
