"""Two computers with sessions of one role on the embedded cloud: each ends its own VMs, or those that it names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import localcloud
from tests.support.localcloud.clients import boto
from tests.support.paths import ROOT

CONFIG = (
    "[cluster]\nname = ml\n[aws]\nregion = us-west-2\nendpoint_url = {endpoint}\nssh_from = 127.0.0.1/32\n"
    "[ssh]\nport = {port}\n"
)


@dataclass(frozen=True)
class Computer:
    """A computer with a home folder of its own, and the credentials of a session of the role ``Lab``."""

    cloud: dict[str, str]
    folder: Path
    session: str

    def stratus(self, *args: str) -> tuple[int, Any]:
        """Run the command line; return its exit code and its last JSON document."""
        self.folder.mkdir(exist_ok=True)
        endpoint, port = self.cloud["AWS_ENDPOINT_URL"], self.cloud["REHEARSAL_SSH_PORT"]
        (self.folder / "config.ini").write_text(CONFIG.format(endpoint=endpoint, port=port))
        done = subprocess.run(
            [sys.executable, "-m", "orchestrator", "--config", "config.ini", args[0], "--output", "json", *args[1:]],
            env={**os.environ, **self._environment(), "PYTHONPATH": str(ROOT)},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)

    def _environment(self) -> dict[str, str]:
        role = boto(self.cloud, "sts").assume_role(
            RoleArn="arn:aws:iam::123456789012:role/Lab", RoleSessionName=self.session
        )["Credentials"]
        keys = {"AWS_ACCESS_KEY_ID": role["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": role["SecretAccessKey"]}
        return {**self.cloud, **keys, "AWS_SESSION_TOKEN": role["SessionToken"], "STRATUS_HOME": str(self.folder)}


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A cloud of its own, with the role ``Lab``."""
    env = localcloud.up(tmp_path / "cloud", pending=0.2, boot=0.1, bound_to=os.getpid())
    boto(env, "iam").create_role(RoleName="Lab", AssumeRolePolicyDocument="{}")
    yield env
    localcloud.down(tmp_path / "cloud")


@pytest.mark.slow
def test_each_computer_of_a_role_ends_its_own_and_what_it_names(cloud: dict[str, str], tmp_path: Path) -> None:
    build = Computer(cloud, tmp_path / "build", "AWSCodeBuild-1")
    later = Computer(cloud, tmp_path / "build", "AWSCodeBuild-2")
    fresh = Computer(cloud, tmp_path / "fresh", "AWSCodeBuild-1")
    assert build.stratus("launch", "-n", "1", "--yes")[0] == 0

    hosts = later.stratus("exec", "hostname")[1]["hosts"]
    assert [(host["host"], host["status"]) for host in hosts] == [("ml-0", 0)]

    code, document = fresh.stratus("terminate")
    (message,) = document["left"]
    assert (code, "launched with your role" in message) == (4, True)
    owner = later.stratus("status")[1]["owner_id"]
    assert f"--config config.ini terminate --owner {owner} terminates them" in str(document)
    assert [machine["state"] for machine in later.stratus("status")[1]["machines"]] == ["running"]

    assert fresh.stratus("terminate", "--owner", owner)[0] == 0
    states = [
        instance["State"]["Name"]
        for reservation in boto(cloud, "ec2").describe_instances()["Reservations"]
        for instance in reservation["Instances"]
    ]
    assert states == ["terminated"]
    assert boto(cloud, "ec2").describe_key_pairs()["KeyPairs"] == []
    assert fresh.stratus("terminate")[0] == later.stratus("terminate")[0] == 0
