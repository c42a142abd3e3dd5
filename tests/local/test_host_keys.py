"""Host key rotation: the key of the user data is replaced in the first session, also after a crash in between."""

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
from tests.support.localcloud.clients import boto
from tests.support.project import Project


@pytest.fixture(scope="module")
def project(cloud: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    project = Project(tmp_path_factory.mktemp("hostkeys"), "hk", cloud)
    project.job("single = true\n")
    yield project
    with project.session() as session:
        assert session.cluster.terminate().remaining == ()


@pytest.fixture(autouse=True)
def _fresh(project: Project) -> None:
    project.events.clear()
    project.calls.clear()


def tags(project: Project, instance: str) -> dict[str, str]:
    """Return the tags of an instance, as EC2 shows them."""
    found = boto(project.env, "ec2").describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
    return {tag["Key"]: tag["Value"] for tag in found["Tags"]}


def launch_key(project: Project, instance: str) -> dict[str, str]:
    """Return the host key in the user data."""
    answer = boto(project.env, "ec2").describe_instance_attribute(InstanceId=instance, Attribute="userData")
    text = base64.b64decode(answer["UserData"]["Value"]).decode()
    found: dict[str, str] = json.loads(text.removeprefix("#cloud-config\n"))["ssh_keys"]
    return found


def disk(project: Project, instance: str) -> Path:
    """Return the folder that is an instance's disk."""
    return next(Path(project.env["LOCALCLOUD_HOME"]).rglob(f"{instance}*/etc/ssh")).parent.parent


def key_on(disk: Path) -> tuple[str, int, list[Path]]:
    """Return the host key on a disk, its mode, and leftover files of a rotation."""
    private = disk / "etc/ssh/ssh_host_ed25519_key"
    left = list(private.parent.glob("*.stratus-*"))
    return ssh_keys.read_public_key(private), private.stat().st_mode & 0o777, left


def reached(session: Session, host: Host) -> str:
    """Connect to a host; return ``in``, or the kind of the failure."""
    session.context.ssh.disconnect(host)
    try:
        return session.context.ssh.run(host, "echo in", timeout_s=10).stdout.strip()
    except ConnectError as error:
        return error.kind


@pytest.mark.slow
def test_after_the_launch_every_host_has_its_own_key(project: Project) -> None:
    """The key of the user data is refused; each key was generated on its host; tags, known hosts and hosts agree."""
    with project.session() as session:
        report = session.cluster.launch(session.cluster.plan(2))
        hosts = session.inventory.hosts()
        stale = [replace(host, host_key=launch_key(project, host.identity)["ed25519_public"]) for host in hosts]
        outcome = [(reached(session, old), reached(session, new)) for old, new in zip(stale, hosts, strict=True)]
        state = {host.identity: (tags(project, host.identity), key_on(disk(project, host.identity))) for host in hosts}
        session.cluster.terminate()

    assert not report.failed
    assert len({host.host_key for host in hosts} | {host.host_key for host in stale}) == 3
    assert outcome == [("host-key", "in")] * 2
    for host in hosts:
        shown, found = state[host.identity]
        assert (f"ssh-ed25519 {shown['stratus:hostkey']}", shown["stratus:bootkey"]) == (host.host_key, "")
        assert found == (host.host_key, 0o600, [])
    assert project.calls.count("CreateTags") == len(hosts) + 1


@pytest.mark.slow
def test_another_computer_and_a_restart_find_the_new_key(project: Project) -> None:
    """From the tags alone; and no key is rotated twice."""
    with project.session() as session:
        session.cluster.launch(session.cluster.plan(1))
        before = session.inventory.hosts()[0].host_key
    project.copy_key("laptop", "desktop")
    with project.session("desktop") as session:
        session.jobs.install()
        session.cluster.stop()
        started = session.cluster.start()
        host = session.inventory.hosts()[0]
        answer = reached(session, host)
        session.cluster.terminate()

    assert [(one.state, one.error) for one in started] == [("running", "")]
    assert (host.host_key, answer) == (before, "in")
    # New key; launch's forgotten; before the restart what was billed and the latest possible end, after it the VM's.
    assert project.calls.count("CreateTags") == 5


STOPS = ("staged", "tagged", "adopted")


def half_done(session: Session, host: Host, stop: str) -> None:
    """Rotate a host's key, up to the point of a crash."""
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
def half(project: Project) -> Iterator[dict[str, Host]]:
    """Four hosts: three on which a rotation was cut short, one on which rotation is not allowed."""
    with project.session() as session:
        ssh = session.context.ssh
        instances, _ = session.cluster.launcher.request(session.cluster.plan(4))
        running = waiters.wait_for_state(session.context.clients, [instance.id for instance in instances])
        hosts = {instance.name: session.inventory.host(instance) for instance in running}
        *interrupted, last = [hosts[name] for name in sorted(hosts)]
        for host, stop in zip(interrupted, STOPS, strict=True):
            ssh.wait_until_ready(host, timeout_s=60)
            half_done(session, host, stop)
        ssh.wait_until_ready(last, timeout_s=60)
        (disk(project, last.identity) / "bin/sshd").write_text("#!/bin/sh\nexit 1\n")
    with project.session() as session:
        yield dict(zip([*STOPS, "not allowed"], session.inventory.hosts(), strict=True))
        session.cluster.terminate()


@pytest.mark.slow
def test_a_crash_during_the_rotation_does_not_lock_users_out(project: Project, half: dict[str, Host]) -> None:
    """The next session connects with the key in use, and completes the rotation.

    A host on which that is not allowed keeps the key of the launch, and a warning is printed.
    """
    with project.session() as session:
        connected = {stop: reached(session, host) for stop, host in half.items()}
        plain = {stop: ssh(session, host) for stop, host in half.items()}
        installed = session.jobs.install()
        after = dict(zip(half, session.inventory.hosts(), strict=True))
        stale = {stop: replace(host, host_key=host.boot_key, boot_key="") for stop, host in half.items()}
        old = {stop: reached(session, host) for stop, host in stale.items()}
        new = {stop: reached(session, host) for stop, host in after.items()}

    assert connected == dict.fromkeys(half, "in")
    assert plain == dict.fromkeys(half, "in\n")
    assert old == dict.fromkeys(STOPS, "host-key") | {"not allowed": "in"}
    assert new == dict.fromkeys(half, "in")
    for stop in STOPS:
        shown = tags(project, after[stop].identity)
        assert (shown["stratus:bootkey"], f"ssh-ed25519 {shown['stratus:hostkey']}") == ("", after[stop].host_key)
    assert not installed.failed
    assert after["not allowed"].host_key == half["not allowed"].host_key
    warnings = [event.text for event in project.events if event.state == "warning"]
    assert warnings == ["still has the host key of its launch: sudo is not allowed here"]


def ssh(session: Session, host: Host) -> str:
    """Return the output of a command through plain ssh."""
    words = [*session.hosts.ssh_command(host.name), "echo in"]
    return subprocess.run(words, capture_output=True, text=True, timeout=20, check=False).stdout
