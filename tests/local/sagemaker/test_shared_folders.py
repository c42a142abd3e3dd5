"""A job's data on a shared file system: the same line on VMs and on SageMaker, where the files are."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from orchestrator.core.errors import JobFailed, UsageError
from orchestrator.services.sagemaker import TrainingChoices
from orchestrator.session import Session
from tests.support.localcloud.clients import boto
from tests.support.localcloud.training_project import prepare
from tests.support.project import Project

pytestmark = pytest.mark.slow
ROOT = "${HOME%/home/*}"
MADE, READ = "shared = efs at /shared\n", "data = {id}:/scenes -> scenes\nsingle = {command}\n"
PRINT = "cat scenes/a.txt; touch scenes/b && echo written || echo kept"


@pytest.fixture(scope="module")
def project(cloud: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Return a project with a VM and a file system, in which there is a file."""
    project = Project(tmp_path_factory.mktemp("folders"), "folders", cloud)
    project.job("single = true\n")
    prepare(project)
    project.config.write_text(f"{project.config.read_text()}[file_systems]\n{MADE}")
    with project.session() as session:
        session.cluster.launch(session.cluster.plan(1))
        (host,) = session.inventory.hosts()
        session.context.ssh.run(host, f"mkdir {ROOT}/shared/scenes; echo of-efs >{ROOT}/shared/scenes/a.txt")
    yield project
    with project.session("cleaner") as session:
        assert session.cluster.terminate(kept=True).remaining == ()


@pytest.fixture(scope="module")
def file_system(project: Project) -> str:
    """Return the id of the file system."""
    listed = boto(project.env, "efs").describe_file_systems()["FileSystems"]
    (own,) = [item for item in listed if {"Key": "stratus:cluster", "Value": project.name} in item["Tags"]]
    return str(own["FileSystemId"])


def train(session: Session, count: int = 1) -> tuple[str, list[str]]:
    """Train the project's job; return its name, and its lines in order."""
    lines: list[str] = []
    plan = session.sagemaker.plan(TrainingChoices(None, count))
    session.sagemaker.start(plan)
    session.runs.follow(plan.run_id, on_line=lambda host, line: lines.append(line), on_hosts=lambda hosts: None)
    return plan.request.name, sorted(lines)


def test_a_folder_of_the_clusters_file_system_is_read_where_it_is_and_not_changed(
    project: Project, file_system: str
) -> None:
    project.job(READ.format(id=file_system, command=PRINT) + f"multi = {PRINT}\n")

    with project.session() as session:
        name, lines = train(session, 2)

    job = boto(project.env, "sagemaker").describe_training_job(TrainingJobName=name)
    targets = boto(project.env, "efs").describe_mount_targets(FileSystemId=file_system)["MountTargets"]
    groups = boto(project.env, "ec2").describe_security_groups(GroupIds=job["VpcConfig"]["SecurityGroupIds"])
    assert {"kept", "of-efs"} <= set(lines)
    assert (lines.count("of-efs"), lines.count("written")) == (2, 0)
    assert job["VpcConfig"]["Subnets"] == [target["SubnetId"] for target in targets]
    assert [group["GroupName"].endswith("-files") for group in groups["SecurityGroups"]] == [True]
    assert job["InputDataConfig"][1]["DataSource"]["FileSystemDataSource"] == {
        "FileSystemId": file_system,
        "FileSystemAccessMode": "ro",
        "FileSystemType": "EFS",
        "DirectoryPath": "/scenes",
    }


def test_the_same_line_is_the_mounted_folder_on_a_vm_that_has_it(project: Project, file_system: str) -> None:
    project.job(READ.format(id=file_system, command="cat scenes/a.txt"))
    text = project.config.read_text()
    with project.session() as session, pytest.raises(UsageError, match=f"do not have the file system {file_system}"):
        session.jobs.start(multi=False)
    project.config.write_text(text.replace(MADE, f"shared = efs {file_system} at /shared\n"))

    lines: list[str] = []
    with project.session() as session:
        handle = session.jobs.start(multi=False)
        session.jobs.follow(handle.run_id, on_line=lambda host, line: lines.append(line))
    project.config.write_text(text)

    assert lines == ["of-efs"]


def test_a_folder_that_does_not_exist_fails_the_job_as_aws_words_it(project: Project, file_system: str) -> None:
    project.job(f"data = {file_system}:/nowhere -> scenes\nsingle = true\n")

    with project.session() as session, pytest.raises(JobFailed, match="Unable to mount file system") as caught:
        train(session)

    assert f"{file_system}. directory path: /nowhere" in str(caught.value)
