"""Daemon of the embedded cloud: one per home, a fast start, and nothing left after its end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import localcloud
from localcloud import LocalCloudError
from tests.support.localcloud.clients import TYPE, boto, image, wait_for_state, wait_until
from tests.support.localcloud.instances import allow_ssh
from tests.support.paths import ROOT


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """Return a folder for a cloud of the test's own."""
    yield tmp_path / "home"
    localcloud.down(tmp_path / "home")


def command(*args: str, home: Path) -> subprocess.CompletedProcess[str]:
    """Run the command line with LOCALCLOUD_HOME set."""
    return subprocess.run(
        [sys.executable, "-m", "localcloud", *args],
        env={**os.environ, "LOCALCLOUD_HOME": str(home)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )


def home_of(env: dict[str, str]) -> Path:
    return Path(env["LOCALCLOUD_HOME"])


def status(home: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(command("status", "--output", "json", home=home).stdout)
    return facts


def launch(env: dict[str, str], count: int, **arguments: Any) -> list[dict[str, Any]]:
    """Launch instances and wait until they are running."""
    ec2 = boto(env, "ec2")
    allow_ssh(ec2)
    arguments = {"ImageId": image(env), "InstanceType": TYPE, "MinCount": count, "MaxCount": count, **arguments}
    launched = ec2.run_instances(**arguments)["Instances"]
    return wait_for_state(ec2, [instance["InstanceId"] for instance in launched], "running")


def banner(address: str) -> bytes:
    """Return the first bytes from a host's SSH port, once it is open."""

    def read() -> bytes | None:
        try:
            with socket.create_connection((address, 22022), timeout=10) as connection:
                return connection.recv(8)
        except ConnectionRefusedError:
            return None

    greeting: bytes = wait_until(read)
    return greeting


def is_open(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True


def alive(pids: list[int]) -> list[int]:
    """Return the processes that are still alive; zombies are not."""

    def state(pid: int) -> str:
        try:
            return Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return "X"

    return [pid for pid in pids if state(pid) not in "XZ"]


@pytest.mark.slow
def test_a_cloud_ends_with_the_process_it_is_bound_to(home: Path) -> None:
    owner = subprocess.Popen(["sleep", "600"])
    env = localcloud.up(home, bound_to=owner.pid)
    owner.kill()
    owner.wait()

    wait_until(lambda: not localcloud.running(home))
    assert not is_open(env["AWS_ENDPOINT_URL"][7:-5], 4566)


@pytest.mark.slow
def test_a_cloud_ends_when_its_folder_is_removed(home: Path) -> None:
    env = localcloud.up(home)
    shutil.rmtree(home)

    wait_until(lambda: not is_open(env["AWS_ENDPOINT_URL"][7:-5], 4566))


def test_importing_the_package_loads_no_large_libraries() -> None:
    script = "import sys, localcloud; print(sorted({'moto', 'boto3', 'asyncssh', 'werkzeug'} & set(sys.modules)))"
    process = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=30)

    assert process.stdout == "[]\n"


@pytest.mark.slow
def test_up_prints_the_same_environment_every_time(home: Path) -> None:
    first, second = command("up", "--pending", "0", "--boot", "0", home=home), command("up", home=home)
    printed = dict(line.split("=", 1) for line in first.stdout.splitlines())

    assert (first.returncode, first.stderr) == (0, "")
    assert second.stdout == first.stdout == command("env", home=home).stdout
    assert printed["AWS_ENDPOINT_URL"].startswith("http://127.77.")
    assert printed["AWS_DEFAULT_REGION"] == "us-west-2"
    assert printed["REHEARSAL_SSH_PORT"] == "22022"
    assert printed["LOCALCLOUD_HOME"] == str(home)


def test_the_environment_overrides_the_profile_of_a_shell(cloud: dict[str, str]) -> None:
    script = "import boto3; print(boto3.client('sts').get_caller_identity()['Arn'])"
    shell = {"PATH": os.environ["PATH"], "AWS_PROFILE": "work", "AWS_SESSION_TOKEN": "stale"}
    process = subprocess.run(
        [sys.executable, "-c", script], env={**shell, **cloud}, capture_output=True, text=True, timeout=60
    )

    assert (process.stdout.strip(), process.stderr) == ("arn:aws:iam::123456789012:user/researcher", "")


def test_concurrent_calls_of_up_start_one_cloud(home: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: localcloud.up(home), range(4)))

    assert all(answer == answers[0] for answer in answers)
    assert localcloud.running(home)


@pytest.mark.slow
def test_two_homes_are_two_clouds_with_their_own_addresses(cloud: dict[str, str], home: Path) -> None:
    other = localcloud.up(home, pending=0, boot=0)
    (instance,) = launch(other, 1)

    assert other["AWS_ENDPOINT_URL"] != cloud["AWS_ENDPOINT_URL"]
    assert banner(instance["PublicIpAddress"]).startswith(b"SSH-2.0")
    filters = [{"Name": "ip-address", "Values": [instance["PublicIpAddress"]]}]
    assert boto(cloud, "ec2").describe_instances(Filters=filters)["Reservations"] == []


def test_status_lists_instances_and_processes_as_text_and_json(cloud: dict[str, str]) -> None:
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "ml-0"}]}]
    (instance,) = launch(cloud, 1, TagSpecifications=tags)
    facts, text = status(home_of(cloud)), command("status", home=home_of(cloud)).stdout
    boto(cloud, "ec2").terminate_instances(InstanceIds=[instance["InstanceId"]])

    (listed,) = (entry for entry in facts["instances"] if entry["id"] == instance["InstanceId"])
    assert (listed["id"], listed["name"], listed["state"]) == (instance["InstanceId"], "ml-0", "running")
    assert facts["pid"] in alive(facts["processes"])
    assert len(facts["processes"]) >= 3
    assert instance["InstanceId"] in text
    assert str(facts["pid"]) in text


@pytest.mark.slow
def test_down_leaves_no_process_no_open_port_and_no_host_folder(home: Path) -> None:
    env = localcloud.up(home, pending=0, boot=0)
    instances = launch(env, 2, UserData="#!/bin/sh\nsetsid sleep 3600 &\nsetsid nohup sleep 3600 >/dev/null 2>&1 &\n")
    addresses = [instance["PublicIpAddress"] for instance in instances]
    for address in addresses:
        banner(address)
    before = status(home)["processes"]

    assert command("down", home=home).returncode == 0

    assert alive(before) == []
    assert not any(is_open(address, 22022) for address in addresses)
    assert not is_open(env["AWS_ENDPOINT_URL"][7:-5], 4566)
    assert not (home / "machines").exists()
    assert not localcloud.running(home)


@pytest.mark.slow
def test_down_cleans_up_after_a_killed_daemon(home: Path) -> None:
    (instance,) = launch(localcloud.up(home, pending=0, boot=0), 1)
    before = status(home)
    os.kill(before["pid"], signal.SIGKILL)
    wait_until(lambda: not localcloud.running(home))

    localcloud.down(home)

    assert alive([pid for pid in before["processes"] if pid != before["pid"]]) == []
    assert not (home / "machines").exists()
    assert not is_open(instance["PublicIpAddress"], 22022)
    assert localcloud.up(home)


@pytest.mark.slow
def test_thirty_two_instances_start_at_once(cloud: dict[str, str]) -> None:
    instances = launch(cloud, 32)
    addresses = {instance["PublicIpAddress"] for instance in instances}

    assert len(addresses) == 32
    with ThreadPoolExecutor(16) as pool:
        assert all(greeting.startswith(b"SSH-2.0") for greeting in pool.map(banner, addresses))
    boto(cloud, "ec2").terminate_instances(InstanceIds=[instance["InstanceId"] for instance in instances])


@pytest.mark.slow
def test_an_idle_cloud_uses_no_processor_time(cloud: dict[str, str]) -> None:
    pid = json.loads((home_of(cloud) / "cloud.json").read_text())["pid"]

    def ticks() -> int:
        fields = Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    def used(seconds: float) -> int:
        before = ticks()
        with socket.socket() as silence:
            # Nothing ever connects: the timeout is the length of the measurement.
            silence.bind(("127.0.0.1", 0))
            silence.listen()
            silence.settimeout(seconds)
            with pytest.raises(TimeoutError):
                silence.accept()
        return ticks() - before

    # The daemon may still be warming up, or stopping the hosts of the test before.
    wait_until(lambda: used(0.2) == 0)
    assert used(1.0) <= 5


def test_the_log_has_one_line_per_call(cloud: dict[str, str]) -> None:
    boto(cloud, "ec2").describe_dhcp_options()

    assert wait_until(lambda: "ec2 DescribeDhcpOptions 200" in command("logs", home=home_of(cloud)).stdout)


def test_verbs_without_a_running_cloud_explain_how_to_start_one(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    env, facts = command("env", home=nowhere), command("status", home=nowhere)

    assert (env.returncode, env.stdout) == (1, "")
    assert "python -m localcloud up" in env.stderr
    assert facts.returncode == 1
    assert command("down", home=nowhere).returncode == 0
    assert not nowhere.exists()


@pytest.mark.slow
def test_a_failed_start_is_reported_in_one_line(home: Path) -> None:
    home.mkdir()
    (home / "cloud.part").mkdir()

    with pytest.raises(LocalCloudError, match=r"did not start: .*cloud\.part"):
        localcloud.up(home)
    assert not localcloud.running(home)


def test_a_home_that_is_a_file_is_refused(tmp_path: Path) -> None:
    taken = tmp_path / "file"
    taken.touch()

    with pytest.raises(LocalCloudError, match="cannot create the folder"):
        localcloud.up(taken)
