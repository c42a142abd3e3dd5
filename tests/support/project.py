"""A user's project on the embedded cloud: a config file, job folders, and sessions of several computers."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.aws import client
from orchestrator.cluster.context import Runtime, connect_over_ssh
from orchestrator.config import settings
from orchestrator.config.settings import Settings, SshSettings
from orchestrator.core.clock import REAL_CLOCK, Clock
from orchestrator.core.events import Event
from orchestrator.session import Session
from orchestrator.ssh import SshClient
from tests.support.localcloud.iam_enforcement import as_user

CONFIG = """
[cluster]
name = {name}
count = 2
[aws]
region = us-west-2
endpoint_url = {endpoint}
ssh_from = 127.0.0.1/32
instance_profile = rehearsal
[ssh]
port = {port}
[job]
run = job
"""


@dataclass
class Project:
    """A config file for one cluster, job folders and home folders.

    :param env: of the embedded cloud.
    :param calls: names of all API calls made by the sessions.
    :param on_session: called with the boto3 session of every session.
    """

    folder: Path
    name: str
    env: Mapping[str, str]
    events: list[Event] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    on_session: Callable[[Any], None] = lambda session: None

    def job(self, text: str, *, name: str = "job", **files: str) -> Path:
        """Write a job's folder. Its environment uses the packages of the tests, which makes the install fast."""
        folder = self.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "job.ini").write_text(f"[job]\npython = {sys.executable}\nsystem_packages = yes\n{text}")
        for file, content in files.items():
            (folder / file.replace("__", ".")).write_text(content)
        return folder

    @property
    def config(self) -> Path:
        """The config file, written at the first access."""
        path = self.folder / "config.ini"
        if not path.exists():
            values = {"endpoint": self.env["AWS_ENDPOINT_URL"], "port": self.env["REHEARSAL_SSH_PORT"]}
            path.write_text(CONFIG.format(name=self.name, **values))
        return path

    def session(
        self,
        computer: str = "laptop",
        connect: Callable[[SshSettings, Clock], SshClient] = connect_over_ssh,
        adapt: Callable[[Settings], Settings] = lambda loaded: loaded,
    ) -> Session:
        """Return a session as it would be on this computer.

        :param connect: makes its SSH client.
        :param adapt: changes the settings of the config file.
        """
        import boto3

        config = adapt(settings.load(self.config, {}))
        user = as_user(self.env)
        session = boto3.Session(
            aws_access_key_id=user["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=user["AWS_SECRET_ACCESS_KEY"],
            region_name="us-west-2",
        )
        session.events.register("before-call", self._note)
        session.events.register("before-parameter-build.ec2.RunInstances", assert_safe_launch)
        self.on_session(session)
        clients = client.Clients(session, region="us-west-2", clock=REAL_CLOCK, endpoint_url=config.aws.endpoint_url)
        home, runs = self.folder / computer, self.folder / computer / "runs"
        # A busy machine leaves nothing out; scripts/fault-matrix holds that nobody waits for long.
        runtime = Runtime(REAL_CLOCK, connect, optional_timeout_s=30.0)
        return Session(config, home=home, runs=runs, on_event=self.events.append, clients=clients, runtime=runtime)

    def _note(self, model: Any, params: dict[str, Any], **_: Any) -> None:
        body = params["body"] if isinstance(params["body"], dict) else {}
        self.calls.append(model.name + (" (dry run)" if body.get("DryRun") == "true" else ""))

    def copy_key(self, source: str, to: str) -> None:
        """Copy the cluster's private key from one computer to another."""
        shutil.copytree(self.folder / source / "keys", self.folder / to / "keys")


def assert_safe_launch(params: dict[str, Any], **_: Any) -> None:
    """Check a RunInstances request: IMDSv2, an encrypted disk that is deleted with its instance, tags."""
    metadata, disk = params["MetadataOptions"], params["BlockDeviceMappings"][0]
    assert (metadata["HttpTokens"], metadata["HttpPutResponseHopLimit"]) == ("required", 1)
    assert (disk["Ebs"]["Encrypted"], disk["Ebs"]["DeleteOnTermination"]) == (True, True)
    assert params["InstanceInitiatedShutdownBehavior"] == "terminate"
    assert all("stratus:cluster" in [tag["Key"] for tag in tagged["Tags"]] for tagged in params["TagSpecifications"])


def add_install_settings(project: Project, text: str) -> None:
    """Add settings to the section [install]."""
    project.config.write_text(f"{project.config.read_text()}[install]\n{text}")
