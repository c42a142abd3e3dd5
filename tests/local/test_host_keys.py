"""The launch's host key serves once: hosts get keys of their own, and whoever dies in between locks nobody out."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.aws.ec2 import instance_tags, waiters
from orchestrator.core.errors import ConnectError
from orchestrator.core.host import Host
from orchestrator.core.remote_scripts import inline_command
from orchestrator.crypto import ssh_keys
from orchestrator.session import Session
from tests.support.embedded_cloud import boto
from tests.support.project import Project


@pytest.fixture(scope="module")
def lab(cloud: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    made = Project(tmp_path_factory.mktemp("hostkeys"), "hk", cloud)
    made.job("single = true\n")
    yield made
    with made.session() as session:
        assert session.cluster.terminate().remaining == ()


@pytest.fixture(autouse=True)
def _fresh(lab: Project) -> None:
    lab.events.clear()
    lab.calls.clear()


def tags(lab: Project, instance: str) -> dict[str, str]:
    """The tags of a machine as EC2 has them."""
    found = boto(lab.env, "ec2").describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
    return {tag["Key"]: tag["Value"] for tag in found["Tags"]}


def launch_key(lab: Project, instance: str) -> dict[str, str]:
    """The host key that anybody who may ask for the user data can read."""
    answer = boto(lab.env, "ec2").describe_instance_attribute(InstanceId=instance, Attribute="userData")
    text = base64.b64decode(answer["UserData"]["Value"]).decode()
    found: dict[str, str] = json.loads(text.removeprefix("#cloud-config\n"))["ssh_keys"]
    return found


def disk(lab: Project, instance: str) -> Path:
    """The folder that is a machine's disk."""
    return next(Path(lab.env["LOCALCLOUD_HOME"]).rglob(f"{instance}*/etc/ssh")).parent.parent


def key_on(disk: Path) -> tuple[str, int, list[Path]]:
    """The host key that lies on a disk, its mode, and what was left of others."""
    private = disk / "etc/ssh/ssh_host_ed25519_key"
    left = list(private.parent.glob("*.stratus-*"))
    return ssh_keys.read_public_key(private), private.stat().st_mode & 0o777, left


def reached(session: Session, host: Host) -> str:
    """How a connection to a host goes: ``in``, or the kind of its failure."""
    session.context.ssh.disconnect(host)
    try:
        return session.context.ssh.run(host, "echo in", timeout_s=10).stdout.strip()
    except ConnectError as error:
        return error.kind


def test_after_the_launch_every_host_has_a_key_of_its_own(lab: Project) -> None:
    """What the user data shows opens nothing; each key was made on its host; tags, pins and hosts agree."""
    with lab.session() as session:
        report = session.cluster.launch(session.cluster.plan(2))
        hosts = session.inventory.hosts()
        stale = [replace(host, host_key=launch_key(lab, host.identity)["ed25519_public"]) for host in hosts]
        outcome = [(reached(session, old), reached(session, new)) for old, new in zip(stale, hosts, strict=True)]
        state = {host.identity: (tags(lab, host.identity), key_on(disk(lab, host.identity))) for host in hosts}
        session.cluster.terminate()

    assert not report.failed
    assert len({host.host_key for host in hosts} | {host.host_key for host in stale}) == 3
    assert outcome == [("host-key", "in")] * 2
    for host in hosts:
        shown, found = state[host.identity]
        assert (f"ssh-ed25519 {shown['stratus:hostkey']}", shown["stratus:bootkey"]) == (host.host_key, "")
        assert found == (host.host_key, 0o600, [])
    assert lab.calls.count("CreateTags") == len(hosts) + 1


@pytest.mark.slow
def test_another_computer_and_a_restart_find_the_new_key(lab: Project) -> None:
    """By the tags alone; and nothing is replaced twice."""
    with lab.session() as session:
        session.cluster.launch(session.cluster.plan(1))
        before = session.inventory.hosts()[0].host_key
    lab.copy_key("laptop", "desktop")
    with lab.session("desktop") as session:
        session.jobs.install()
        session.cluster.stop()
        started = session.cluster.start()
        host = session.inventory.hosts()[0]
        answer = reached(session, host)
        session.cluster.terminate()

    assert [(one.state, one.error) for one in started] == [("running", "")]
    assert (host.host_key, answer) == (before, "in")
    # New key; launch's forgotten; before the restart the latest end that is possible, after it the machine's own.
    assert lab.calls.count("CreateTags") == 4


STOPS = ("staged", "tagged", "adopted")


def half_done(session: Session, host: Host, stop: str) -> None:
    """Replace a host's key, and stop where a computer that dies does."""
    links = session.context.ssh
    said = links.run(host, inline_command("rotate.sh", "stage", host.boot_key)).stdout
    new = said.split(" ", 1)[1].strip()
    if stop == "staged":
        return
    instance_tags.tag_host_key(session.context.clients, host.identity, new)
    if stop == "tagged":
        return
    links.run(host, inline_command("rotate.sh", "adopt", host.boot_key, new)).raise_if_failed("adopt")


@pytest.fixture(scope="module")
def half(lab: Project) -> Iterator[dict[str, Host]]:
    """Four machines: on three a computer died at one of the stops; on the fourth nobody may replace the key."""
    with lab.session() as session:
        cluster = session.cluster
        instances, _ = cluster.launch(session.cluster.plan(4))
        up = sorted(
            waiters.wait_for_state(cluster.clients, [each.id for each in instances]), key=lambda each: each.name
        )
        for instance, stop in zip(up, STOPS, strict=False):
            host = cluster.host(instance)
            cluster.ssh.wait_until_ready(host, timeout_s=20)
            half_done(session, host, stop)
        last = cluster.host(up[-1])
        cluster.ssh.wait_until_ready(last, timeout_s=20)
        (disk(lab, last.identity) / "bin/sshd").write_text("#!/bin/sh\nexit 1\n")
    with lab.session() as session:
        yield dict(zip([*STOPS, "not allowed"], session.inventory.hosts(), strict=True))
        session.cluster.terminate()


@pytest.mark.slow
def test_a_computer_that_dies_in_between_locks_nobody_out(lab: Project, half: dict[str, Host]) -> None:
    """The next session gets in with the key that is in force, and brings the change to its end.

    A host on which that is not allowed keeps the launch's key, works on, and everybody is told.
    """
    with lab.session() as session:
        came_in = {stop: reached(session, host) for stop, host in half.items()}
        plain = {stop: ssh(session, host) for stop, host in half.items()}
        installed = session.jobs.install()
        after = dict(zip(half, session.inventory.hosts(), strict=True))
        stale = {stop: replace(host, host_key=host.boot_key, boot_key="") for stop, host in half.items()}
        old = {stop: reached(session, host) for stop, host in stale.items()}
        new = {stop: reached(session, host) for stop, host in after.items()}

    assert came_in == dict.fromkeys(half, "in")
    assert plain == dict.fromkeys(half, "in\n")
    assert old == dict.fromkeys(STOPS, "host-key") | {"not allowed": "in"}
    assert new == dict.fromkeys(half, "in")
    for stop in STOPS:
        shown = tags(lab, after[stop].identity)
        assert (shown["stratus:bootkey"], f"ssh-ed25519 {shown['stratus:hostkey']}") == ("", after[stop].host_key)
    assert not installed.failed
    assert after["not allowed"].host_key == half["not allowed"].host_key
    warnings = [event.text for event in lab.events if event.state == "warning"]
    assert warnings == ["still has the host key of its launch: sudo is not allowed here"]


def ssh(session: Session, host: Host) -> str:
    """What plain ssh brings."""
    words = [*session.hosts.ssh_command(host.name), "echo in"]
    return subprocess.run(words, capture_output=True, text=True, timeout=20, check=False).stdout
