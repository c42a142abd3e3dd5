"""Data on S3 as files, as a list of URLs, and mounted; all of it on each VM, or a part."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.core.errors import JobFailed
from tests.support.localcloud.clients import boto
from tests.support.project import Project

SHOWS = """
import pathlib, urllib.request
print(sorted(path.name for path in pathlib.Path("part").iterdir() if not path.name.startswith(".")))
print(pathlib.Path("list.txt").read_text().split())
(url,) = pathlib.Path("open/list.txt").read_text().split()
print(urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url).read())
print(pathlib.Path("all/readme").read_text())
"""
JOB = """multi = python shows.py
data =
    s3://modes/scenes -> part, shard
    s3://modes/scenes -> list.txt, stream, shard, requester_pays
    s3://modes-public -> open/list.txt, stream, public
    s3://modes-public -> all, public
"""
OPEN = {"Effect": "Allow", "Principal": "*", "Action": ["s3:GetObject", "s3:ListBucket"], "Resource": "*"}


@pytest.mark.slow
def test_vms_share_data_out_and_read_it_as_a_list(cloud: dict[str, str], tmp_path: Path) -> None:
    lab, s3 = Project(tmp_path, "modes", cloud), boto(cloud, "s3")
    for bucket in ("modes", "modes-public"):
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    s3.put_bucket_policy(Bucket="modes-public", Policy=json.dumps({"Version": "2012-10-17", "Statement": [OPEN]}))
    s3.put_object(Bucket="modes-public", Key="readme", Body=b"for all")
    for number in range(3):
        s3.put_object(Bucket="modes", Key=f"scenes/{number}.h5", Body=b"x" * number)
    lab.job(JOB, shows__py=SHOWS)
    lines: dict[str, list[str]] = {"modes-0": [], "modes-1": []}
    with lab.session() as session:
        session.cluster.launch(session.cluster.plan(2))
        assert not session.jobs.install().failed
        run = session.jobs.start(multi=True)
        session.jobs.follow(run.run_id, on_line=lambda host, line: lines[host].append(line))

        lab.job("single = ls\ndata = s3://modes/scenes -> in, mount\n")
        run = session.jobs.start(multi=False)
        with pytest.raises(JobFailed, match="74"):
            session.jobs.follow(run.run_id, on_line=lambda host, line: lines[host].append(line))
        assert session.cluster.terminate().remaining == ()

    *first, unmounted = lines["modes-0"]
    assert first == [
        "data: s3://modes/scenes: 2 objects, 0.0 MB of 3",
        "data: s3://modes/scenes: 2 objects, 0.0 MB of 3",
        "data: s3://modes-public: 1 objects, 0.0 MB",
        "['0.h5', '2.h5']",
        "['s3://modes/scenes/0.h5', 's3://modes/scenes/2.h5']",
        "b'for all'",
        "for all",
    ]
    assert lines["modes-1"][3:5] == ["['1.h5']", "['s3://modes/scenes/1.h5']"]
    assert unmounted.startswith("data: s3://modes/scenes: mount-s3 is not installed on this VM: setup in job.ini")
