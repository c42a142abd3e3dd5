"""A cluster launched by an earlier version is shown, used, recovered and terminated by this one.

The folder data/previous_version holds what that version sent to EC2 and wrote to its home folder; keys, ids and times
are placeholders (``@NAME@``), filled in here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import localcloud
from tests.support.localcloud.clients import boto, image, wait_for_state
from tests.support.paths import ROOT

RECORDED = ROOT / "tests/local/launch/data/previous_version"
RESOURCE = "stratus-ml-f2c69ad8"
CONFIG = (
    "[cluster]\nname = ml\nmax_hours = 8\n[aws]\nregion = us-west-2\nendpoint_url = {endpoint}\n"
    "ssh_from = 127.0.0.1/32\n[ssh]\nport = {port}\n"
)


def key_pair() -> tuple[str, str]:
    """Return a new private key in OpenSSH format, and its public key."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return private.decode(), public.decode()


@dataclass
class PreviousVersion:
    """The earlier version on one computer: repeats its recorded requests and writes its recorded files.

    :param values: placeholder -> value.
    """

    env: dict[str, str]
    folder: Path
    values: dict[str, str] = field(default_factory=dict)
    instances: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        endpoint, port = self.env["AWS_ENDPOINT_URL"], self.env["REHEARSAL_SSH_PORT"]
        (self.folder / "config.ini").write_text(CONFIG.format(endpoint=endpoint, port=port))
        now = datetime.now(UTC)
        boot_private, boot_public = key_pair()
        login_private, login_public = key_pair()
        keys = self.folder / "home" / "keys"
        keys.mkdir(parents=True)
        (keys / f"{RESOURCE}-us-west-2.ed25519").write_text(login_private)
        (keys / f"{RESOURCE}-us-west-2.ed25519").chmod(0o400)
        self.values = {
            "NOW": now.isoformat(),
            "EXPIRES": (now + timedelta(hours=8)).isoformat(timespec="seconds"),
            "SSH_PORT": port,
            "IMAGE": image(self.env),
            "BOOT_PRIVATE_KEY": boot_private.replace("\n", "\\n"),
            "BOOT_PUBLIC_KEY": boot_public.split()[1],
            "LOGIN_PUBLIC_KEY": login_public,
        }

    def launch(self) -> None:
        """Create the security group, the key pair and two instances."""
        ec2 = boto(self.env, "ec2")
        zone = [{"Name": "availability-zone", "Values": ["us-west-2a"]}]
        subnet = ec2.describe_subnets(Filters=zone)["Subnets"][0]
        self.values |= {"SUBNET": subnet["SubnetId"], "VPC": subnet["VpcId"]}
        self.values["GROUP"] = ec2.create_security_group(**self._request("CreateSecurityGroup"))["GroupId"]
        self.values["KEY_PAIR"] = ec2.import_key_pair(**self._request("ImportKeyPair"))["KeyPairId"]
        access = self._request("AuthorizeSecurityGroupIngress")
        ssh = access["IpPermissions"][0]
        ssh["FromPort"] = ssh["ToPort"] = int(ssh["FromPort"])
        ec2.authorize_security_group_ingress(**access)
        request = self._request("RunInstances") | {"UserData": self._read("user_data.txt")}
        self.instances = [instance["InstanceId"] for instance in ec2.run_instances(**request)["Instances"]]
        self.values |= {f"INSTANCE_{index}": instance_id for index, instance_id in enumerate(self.instances)}

    def finish_launch(self) -> None:
        """Wait until the instances run, mark their host keys as final and write the whole journal."""
        ec2 = boto(self.env, "ec2")
        wait_for_state(ec2, self.instances, "running")
        ec2.create_tags(Resources=self.instances, Tags=[{"Key": "stratus:bootkey", "Value": ""}])
        self.write_journal(last="up")

    def write_journal(self, *, last: str, outcome: bool = True) -> None:
        """Write the journal as it was after the last entry of this kind.

        :param outcome: False stops at the intent, as after a crash.
        """
        lines = self._read("journal.jsonl").splitlines(keepends=True)
        kinds = [(entry.get("intend"), entry.get("settle")) for entry in map(json.loads, lines)]
        end = kinds.index((None, last) if outcome else (last, None)) + 1
        (self.folder / "home" / "journal.jsonl").write_text("".join(lines[:end]))

    def _request(self, action: str) -> Any:
        return json.loads(self._read("requests.json"))[action]

    def _read(self, name: str) -> str:
        text = (RECORDED / name).read_text()
        for placeholder, value in self.values.items():
            text = text.replace(f"@{placeholder}@", value)
        return text


@pytest.fixture
def previous(tmp_path: Path) -> Iterator[PreviousVersion]:
    """The earlier version on a cloud of its own, whose names and owner are those of the recording."""
    env = localcloud.up(tmp_path / "cloud", pending=0.4, boot=0.1, bound_to=os.getpid())
    yield PreviousVersion(env, tmp_path)
    localcloud.down(tmp_path / "cloud")


def stratus(previous: PreviousVersion, verb: str, *args: str) -> Any:
    """Run this version's command line on the same computer; return its JSON document."""
    env = {**os.environ, **previous.env, "STRATUS_HOME": str(previous.folder / "home")}
    command = [sys.executable, "-m", "orchestrator", "--config", str(previous.folder / "config.ini"), verb]
    done = subprocess.run(
        [*command, "--output", "json", *args],
        env=env,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def instances(previous: PreviousVersion) -> list[dict[str, Any]]:
    """Return all instances, as EC2 shows them."""
    pages = boto(previous.env, "ec2").describe_instances()["Reservations"]
    return [instance for page in pages for instance in page["Instances"]]


def assert_nothing_left(previous: PreviousVersion) -> None:
    """Check in EC2 that instances, security group and key pair are gone."""
    ec2 = boto(previous.env, "ec2")
    assert {instance["State"]["Name"] for instance in instances(previous)} == {"terminated"}
    assert RESOURCE not in [group["GroupName"] for group in ec2.describe_security_groups()["SecurityGroups"]]
    assert ec2.describe_key_pairs()["KeyPairs"] == []


@pytest.mark.slow
def test_a_launched_cluster_is_shown_used_and_terminated(previous: PreviousVersion) -> None:
    previous.launch()
    previous.finish_launch()

    machines = stratus(previous, "status")["machines"]
    assert [(machine["name"], machine["state"]) for machine in machines] == [("ml-0", "running"), ("ml-1", "running")]
    assert [machine["expires"] for machine in machines] == [previous.values["EXPIRES"]] * 2
    hosts = stratus(previous, "exec", "hostname")["hosts"]
    assert [(host["host"], host["status"]) for host in hosts] == [("ml-0", 0), ("ml-1", 0)]
    extended = stratus(previous, "extend", "2")
    assert (extended["failed"], [host["before"] for host in extended["hosts"]]) == (
        {},
        [previous.values["EXPIRES"]] * 2,
    )
    assert stratus(previous, "terminate")["left"] == []
    assert_nothing_left(previous)


@pytest.mark.slow
def test_an_interrupted_launch_is_listed_and_terminated(previous: PreviousVersion) -> None:
    """The journal ends before the answer of RunInstances: only its token leads to the instances."""
    previous.launch()
    previous.write_journal(last="launch", outcome=False)

    (launch,) = stratus(previous, "recover")["leftovers"]
    names = [f"ml-{index} ({instance_id})" for index, instance_id in enumerate(previous.instances)]
    assert (launch["run"], sorted(launch["machines"])) == ("20261121-143117-d6ed", sorted(names))
    assert stratus(previous, "recover", "terminate")["ended"]
    assert stratus(previous, "terminate")["left"] == []
    assert_nothing_left(previous)


@pytest.mark.slow
def test_an_interrupted_launch_is_resumed(previous: PreviousVersion) -> None:
    """The first session replaces the host keys that came with the user data."""
    previous.launch()
    previous.write_journal(last="launch")

    recovered = stratus(previous, "recover", "finish")
    assert ([host["name"] for host in recovered["ready"]], recovered["failed"]) == (["ml-0", "ml-1"], {})
    tags = [{tag["Key"]: tag["Value"] for tag in instance["Tags"]} for instance in instances(previous)]
    assert [instance_tags["stratus:bootkey"] for instance_tags in tags] == ["", ""]
    assert all(instance_tags["stratus:hostkey"] != previous.values["BOOT_PUBLIC_KEY"] for instance_tags in tags)
    assert stratus(previous, "recover")["leftovers"] == []
    assert stratus(previous, "terminate")["left"] == []
    assert_nothing_left(previous)
