"""The role of VMs for a job's data and checkpoints: made, used, narrowed and deleted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.aws.ec2 import instance_roles
from orchestrator.config.settings import Settings
from orchestrator.core.clock import REAL_CLOCK
from orchestrator.core.errors import UsageError
from orchestrator.core.journal import Journal
from tests.support.localcloud.clients import boto
from tests.support.project import Project

# It may read its data and write its checkpoints, and nothing else.
TRIES = """
import os, pathlib, boto3
s3 = boto3.client("s3")
print(pathlib.Path("in/a.txt").read_text())
pathlib.Path(os.environ["STRATUS_CHECKPOINTS"], "last").write_text("1")
for call, key in (("get_object", "other/b.txt"), ("delete_object", "data/a.txt"), ("get_object", "database.txt")):
    try:
        getattr(s3, call)(Bucket="role-bucket", Key=key)
        print("may", call, key)
    except s3.exceptions.ClientError as error:
        print(error.response["Error"]["Code"])
"""
JOB = "single = python tries.py\ndata = s3://role-bucket/data -> in\ncheckpoints = out -> s3://role-bucket/state\n"


@pytest.mark.slow
def test_vms_may_what_the_job_names_and_nothing_else(cloud: dict[str, str], tmp_path: Path) -> None:
    lab = Project(tmp_path, "role", cloud)
    lab.config.write_text(lab.config.read_text().replace("instance_profile = rehearsal\n", ""))
    lab.job(JOB, tries__py=TRIES)
    s3, iam = boto(cloud, "s3"), boto(cloud, "iam")
    s3.create_bucket(Bucket="role-bucket", CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    for key in ("data/a.txt", "database.txt", "other/b.txt"):
        s3.put_object(Bucket="role-bucket", Key=key, Body=key.encode())
    with lab.session() as session:
        new = session.instance_roles.plan()
        created = session.instance_roles.create(new)
        assert session.instance_roles.plan().is_current
    lab.config.write_text(lab.config.read_text().replace("[ssh]", f"instance_profile = {created.name}\n[ssh]"))

    with lab.session() as session:
        session.cluster.launch(session.cluster.plan(1))
        session.jobs.install()
        lines: list[str] = []
        run = session.jobs.start(multi=False)
        session.jobs.follow(run.run_id, on_line=lambda host, line: lines.append(line))
        wider = session.instance_roles.plan(data=["s3://other-bucket"])
        assert session.cluster.terminate().remaining == ()
        gone = session.instance_roles.delete(session.instance_roles.find())
        with pytest.raises(UsageError, match=f"there is no role {created.name}"):
            session.instance_roles.find()

    assert lines == ["data/a.txt", *["AccessDenied"] * 3]
    assert s3.list_objects_v2(Bucket="role-bucket", Prefix="state/rank-0/")["KeyCount"] == 2
    assert (new.arn, new.reads, new.writes) == ("", ("s3://role-bucket/data",), ("s3://role-bucket/state",))
    assert wider.reads == ("s3://role-bucket/data", "s3://other-bucket")
    assert (wider.is_current, wider.is_set, gone.is_set) == (False, True, True)
    names = [role["RoleName"] for role in iam.list_roles()["Roles"]]
    profiles = [profile["InstanceProfileName"] for profile in iam.list_instance_profiles()["InstanceProfiles"]]
    assert created.name not in names + profiles
    assert [entry.kind for entry in Journal(tmp_path / "laptop", REAL_CLOCK).entries() if entry.kind == "role"]


def _without_profile(loaded: Settings) -> Settings:
    return replace(loaded, aws=replace(loaded.aws, instance_profile=""))


def test_a_role_that_another_made_is_neither_changed_nor_deleted(cloud: dict[str, str], tmp_path: Path) -> None:
    lab, iam = Project(tmp_path, "taken", cloud), boto(cloud, "iam")
    lab.job("single = true\n")
    with lab.session(adapt=_without_profile) as session:
        with pytest.raises(UsageError, match="job names nothing on S3: its VMs need no role"):
            session.instance_roles.plan()
        with pytest.raises(UsageError, match="data/x: not an S3 URL"):
            session.instance_roles.plan(data=["data/x"])
        name = session.instance_roles.plan(data=["s3://bucket"]).name
        iam.create_role(RoleName=name, AssumeRolePolicyDocument="{}")
        with pytest.raises(UsageError, match="was not created for this cluster"):
            session.instance_roles.plan(data=["s3://bucket"])
        with pytest.raises(UsageError, match="was not created for this cluster"):
            session.instance_roles.find()
    iam.delete_role(RoleName=name)


def test_a_profile_of_the_users_own_is_never_changed(cloud: dict[str, str], tmp_path: Path) -> None:
    lab = Project(tmp_path, "own-profile", cloud)
    lab.job("single = true\n")
    with lab.session() as session:
        plan = session.instance_roles.plan()
        assert session.instance_roles.create(plan) is plan

    assert (plan.name, plan.role, plan.is_current) == ("rehearsal", None, True)


def test_signs_that_policies_interpret_widen_no_role() -> None:
    """A job's folder may come from somebody else."""
    urls = ["s3://lab-data/a*", "s3://lab-data/run?/${aws:username}", "s3://lab-data"]
    role = instance_roles.documents("r", urls, ["s3://lab-data/*"])

    resources = [name for item in role.permissions["Statement"] for name in item["Resource"]]
    keys = [name.partition(":::lab-data")[2] for name in resources]
    assert [key for key in keys if key] == [
        *("/a${*}", "/a${*}/*", "/run${?}/${$}{aws:username}", "/run${?}/${$}{aws:username}/*", "/*", "/${*}/*")
    ]
    assert instance_roles.urls_in(role.permissions) == (urls, ["s3://lab-data/*"])
    with pytest.raises(UsageError, match="'\\*' is not the name of a bucket"):
        instance_roles.documents("r", ["s3://*/a"], [])
