"""The launch's host key serves once: hosts get keys of their own, and whoever dies in between locks nobody out."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator import keys
from orchestrator.cloud import ec2
from orchestrator.errors import ConnectError
from orchestrator.hosts import Host
from orchestrator.remote_files import call
from orchestrator.session import Session
from tests.local.lab import Lab
from tests.local.support import boto


@pytest.fixture(scope="module")
def lab(cloud: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    made = Lab(tmp_path_factory.mktemp("hostkeys"), "hk", cloud)
    made.job("single = true\n")
    yield made
    with made.session() as session:
        assert session.terminate().left == ()


@pytest.fixture(autouse=True)
def _nothing_left(lab: Lab) -> Iterator[None]:
    lab.events.clear()
    lab.calls.clear()
    yield
    with lab.session() as session:
        session.terminate()


def tags(lab: Lab, instance: str) -> dict[str, str]:
    """The tags of a machine as EC2 has them."""
    found = boto(lab.env, "ec2").describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
    return {tag["Key"]: tag["Value"] for tag in found["Tags"]}


def launch_key(lab: Lab, instance: str) -> dict[str, str]:
    """The host key that anybody who may ask for the user data can read."""
    answer = boto(lab.env, "ec2").describe_instance_attribute(InstanceId=instance, Attribute="userData")
    text = base64.b64decode(answer["UserData"]["Value"]).decode()
    found: dict[str, str] = json.loads(text.removeprefix("#cloud-config\n"))["ssh_keys"]
    return found


def disk(lab: Lab, instance: str) -> Path:
    """The folder that is a machine's disk."""
    return next(Path(lab.env["LOCALCLOUD_HOME"]).rglob(f"{instance}*/etc/ssh")).parent.parent


def reached(session: Session, host: Host) -> str:
    """How a connection to a host goes: ``in``, or the kind of its failure."""
    session.cluster.links.forget(host)
    try:
        return session.cluster.links.run(host, "echo in", timeout=10).stdout.strip()
    except ConnectError as error:
        return error.kind


def test_after_the_launch_every_host_has_a_key_of_its_own(lab: Lab) -> None:
    """What the user data shows opens nothing; each key was made on its host; tags, pins and hosts agree."""
    with lab.session() as session:
        report = session.launch(session.plan(2))
        hosts = session.cluster.hosts()
        stale = [replace(host, host_key=launch_key(lab, host.identity)["ed25519_public"]) for host in hosts]
        outcome = [(reached(session, old), reached(session, new)) for old, new in zip(stale, hosts, strict=True)]

    assert not report.failed
    assert len({host.host_key for host in hosts} | {host.host_key for host in stale}) == 3
    assert outcome == [("host-key", "in")] * 2
    for host in hosts:
        shown = tags(lab, host.identity)
        assert f"ssh-ed25519 {shown['stratus:hostkey']}" == host.host_key
        assert shown["stratus:bootkey"] == ""
        private = disk(lab, host.identity) / "etc/ssh/ssh_host_ed25519_key"
        assert keys.public_of(private) == host.host_key
        assert private.stat().st_mode & 0o777 == 0o600
        assert not list(private.parent.glob("*.stratus-*"))
    assert lab.calls.count("CreateTags") == len(hosts) + 1


def test_another_computer_and_a_restart_find_the_new_key(lab: Lab) -> None:
    """By the tags alone; and nothing is replaced twice."""
    with lab.session() as session:
        session.launch(session.plan(1))
        before = session.cluster.hosts()[0].host_key
    lab.carry_key("laptop", "desktop")
    with lab.session("desktop") as session:
        session.install()
        session.stop_all()
        started = session.start_all()
        host = session.cluster.hosts()[0]
        answer = reached(session, host)

    assert [(one.state, one.error) for one in started] == [("running", "")]
    assert (host.host_key, answer) == (before, "in")
    assert lab.calls.count("CreateTags") == 3  # new key; launch's forgotten; new end after the restart


def half_done(session: Session, boundary: str) -> None:
    """Replace the host key of the only host, and stop at a boundary as a computer that dies does."""
    cluster = session.cluster
    (host,) = cluster.hosts()
    said = cluster.links.run(host, call("rotate.sh", "stage", host.boot_key)).stdout
    new = said.split(" ", 1)[1].strip()
    if boundary == "staged":
        return
    ec2.pin(cluster.clients, host.identity, new)
    if boundary == "tagged":
        return
    cluster.links.run(host, call("rotate.sh", "adopt", host.boot_key, new)).check("adopt")


@pytest.mark.parametrize("boundary", ["staged", "tagged", "adopted"])
def test_a_computer_that_dies_in_between_locks_nobody_out(lab: Lab, boundary: str) -> None:
    """The next session gets in with the key that is in force, and brings the change to its end."""
    with lab.session() as session:
        cluster = session.cluster
        instances, _ = cluster.request(session.plan(1))
        host = cluster.host(next(ec2.watch(cluster.clients, [each.id for each in instances])))
        cluster.links.wait(host, deadline=20)
        half_done(session, boundary)
    with lab.session() as session:
        (before,) = session.cluster.hosts()
        came_in = reached(session, before)
        plain = subprocess.run(
            [*session.ssh_command(before.name), "echo in"], capture_output=True, text=True, timeout=20, check=False
        )
        session.install()
        (after,) = session.cluster.hosts()
        answers = (reached(session, replace(before, host_key=before.boot_key, boot_key="")), reached(session, after))

    assert (came_in, plain.stdout) == ("in", "in\n"), plain.stderr
    assert answers == ("host-key", "in")
    assert tags(lab, after.identity)["stratus:bootkey"] == ""
    assert f"ssh-ed25519 {tags(lab, after.identity)['stratus:hostkey']}" == after.host_key


def test_a_host_without_the_right_says_so_and_works_on(lab: Lab) -> None:
    """No sudo, no ssh-keygen: the launch's key stays in force, and everybody is told."""
    with lab.session() as session:
        cluster = session.cluster
        instances, _ = cluster.request(session.plan(1))
        host = cluster.host(next(ec2.watch(cluster.clients, [each.id for each in instances])))
        cluster.links.wait(host, deadline=20)
        (disk(lab, host.identity) / "bin/sshd").write_text("#!/bin/sh\nexit 1\n")
        installed = session.install()
        (after,) = session.cluster.hosts()

    warnings = [event.text for event in lab.events if event.state == "warning"]
    assert warnings == ["still has the host key of its launch: sudo is not allowed here"]
    assert not installed.failed
    assert after.host_key == host.host_key
