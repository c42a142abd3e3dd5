"""The granules job through the verbs: from disk on one VM and on two, and from a bucket, with the same bits."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.errors import JobFailed
from orchestrator.session import Session
from tests.support.localcloud.clients import boto
from tests.support.localcloud.iam_enforcement import ROLE
from tests.support.paths import ROOT
from tests.support.project import Project

for package in ("netCDF4", "pyhdf", "sklearn", "matplotlib"):
    pytest.importorskip(package, reason=f"the granules job needs {package} (requirements.txt of the example)")

EXAMPLE = ROOT / "examples/cloud_retrieval"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(cloud: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Two hosts that are up, the job's folder and four small granules in it."""
    project = Project(tmp_path_factory.mktemp("desk"), "granules", cloud)
    sky = project.folder / "sky"
    shutil.copytree(EXAMPLE, sky, ignore=shutil.ignore_patterns("data", "outputs", "__pycache__"))
    make = [sys.executable, "make_granules.py", "--out", "data/granules", "--granules", "4", "--lines", "160"]
    subprocess.run([*make, "--pixels", "128"], cwd=sky, check=True, capture_output=True, timeout=120)
    edit(
        sky / "granules.ini",
        ("requirements = requirements.txt", f"python = {sys.executable}\nsystem_packages = yes"),
        ("workers_per_host = 2", "workers_per_host = 1"),
        ("--data data ", "--data data --folds 2 --trees 8 --maps 2 "),
    )
    edit(project.config, ("run = job", f"run = {sky / 'granules.ini'}"))
    with project.session() as session:
        assert not session.cluster.launch(session.cluster.plan(2)).failed
    yield project
    with project.session("cleaner") as session:
        assert session.cluster.terminate().remaining == ()


def edit(path: Path, *changes: tuple[str, str]) -> None:
    """Replace words of a file, each of which is there."""
    text = path.read_text()
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    path.write_text(text)


def ended(session: Session, *, multi: bool, on_line: Callable[[str, str], None] = lambda host, line: None) -> Any:
    """A run, followed to its end and fetched."""
    handle = session.jobs.start(multi=multi)
    session.jobs.follow(handle.run_id, on_line=on_line)
    return session.jobs.fetch(handle.run_id)


@pytest.fixture(scope="module")
def from_disk(project: Project) -> list[Any]:
    """What came of granules that the hosts were given: on one VM, then on two."""
    with project.session() as session:
        assert not session.jobs.install().failed
        return [ended(session, multi=multi) for multi in (False, True)]


def test_one_folder_runs_on_one_vm_and_on_two_with_the_same_bits(from_disk: list[Any]) -> None:
    one, two = (record.metrics for record in from_disk)
    assert (one["run"]["workers"], two["run"]["workers"]) == (1, 2)
    assert one["data"]["kind"] == two["data"]["kind"] == "synthetic"
    assert one["model"] == two["model"]
    assert one["predictions"] == two["predictions"]
    for record in from_disk:
        assert len(list((record.folder / "outputs" / "maps").glob("cloud_*.nc"))) == 2
        assert len(list((record.folder / "outputs" / "collocation").glob("*_Index.h5"))) == 4


@pytest.fixture(scope="module")
def bucket(project: Project, from_disk: list[Any]) -> str:
    """The granules in a bucket, and the job edited to take them from there: GRANULES.md, "From a bucket"."""
    s3, name = boto(project.env, "s3"), "orbits"
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    for path in (project.folder / "sky/data/granules").iterdir():
        s3.upload_file(str(path), name, f"2013/{path.name}")
    # Nothing is left to take by mistake.
    shutil.rmtree(project.folder / "sky/data")
    edit(
        project.folder / "sky/granules.ini",
        ("data = data/granules -> data", "data ="),
        ("--data data ", f"--data s3://{name}/2013 "),
    )
    with project.session() as session:
        assert not session.jobs.install().failed
    return name


def test_granules_in_a_bucket_are_staged_by_the_workers_with_their_role_and_removed(
    project: Project, bucket: str, from_disk: list[Any]
) -> None:
    at_once = []

    def count(host: str, line: str) -> None:
        # All have been collocated by now; one is there for each worker that may have begun to map.
        if line.startswith("trees"):
            at_once.append(sum("VNP02MOD" in path for path in staged_files(project)))

    with project.session() as session:
        record = ended(session, multi=True, on_line=count)

    assert max(at_once) <= record.metrics["run"]["workers"] == 2
    assert record.metrics["model"] == from_disk[1].metrics["model"]
    assert record.metrics["predictions"] == from_disk[1].metrics["predictions"]
    assert staged_files(project) == []


def staged_files(project: Project) -> list[str]:
    """Granules, tracks and scratch folders on the hosts' disks, apart from what InstallDeps() brought there."""
    with project.session() as session:
        disks = [Path(project.env["LOCALCLOUD_HOME"], "machines", host.identity) for host in session.inventory.hosts()]
    # Each has what the runs from disk were config: so this looks where granules are.
    config = [place for disk in disks for place in disk.glob("home/*/stratus/data") if list(place.rglob("VNP0*.nc"))]
    assert len(config) == len(disks) == 2
    names = ("VNP0*.nc", "CAL_LID_*.hdf", "cloud_retrieval-*")
    found = [path for disk in disks for name in names for path in disk.rglob(name)]
    return [str(path) for path in found if not any(place in path.parents for place in config)]


@contextmanager
def role_may(project: Project, actions: list[str]) -> Iterator[None]:
    """For a while the hosts' role may do this and nothing else."""
    iam = boto(project.env, "iam")
    rule = {"Effect": "Deny", "NotAction": actions, "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [rule]})
    iam.put_role_policy(RoleName=ROLE, PolicyName="only", PolicyDocument=document)
    try:
        yield
    finally:
        iam.delete_role_policy(RoleName=ROLE, PolicyName="only")


@pytest.mark.parametrize(
    ("prefix", "allowed", "told"),
    [
        ("elsewhere/2013", ["s3:*"], r"s3://elsewhere/2013: the bucket does not exist \(NoSuchBucket\)$"),
        ("orbits/2013", ["sts:*"], r"s3://orbits/2013: access denied \(AccessDenied\): .* needs s3:ListBucket"),
        ("orbits/2013", ["s3:ListBucket"], r"granules-[01] \(.*\): s3://orbits/2013/.*\.nc: access denied \(403\): "),
    ],
)
def test_a_bucket_that_cannot_be_read_is_a_line_and_no_traceback(
    project: Project, bucket: str, prefix: str, allowed: list[str], told: str
) -> None:
    ini, lines = project.folder / "sky/granules.ini", []
    before = ini.read_text()
    edit(ini, (f"s3://{bucket}/2013", f"s3://{prefix}"))
    try:
        with role_may(project, allowed), project.session() as session:
            handle = session.jobs.start(multi=True)
            with pytest.raises(JobFailed, match=r"exit 2"):
                session.jobs.follow(handle.run_id, on_line=lambda host, line: lines.append(line))
    finally:
        ini.write_text(before)

    # The cluster's own line, and where the listing went well the number of granules; then a line for each granule.
    complaints = [line for line in lines if "s3://" in line]
    assert len(lines) == len(complaints) + (1 if len(complaints) == 1 else 2)
    assert all(re.match(told, line) for line in complaints)
    assert staged_files(project) == []
