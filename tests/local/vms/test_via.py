"""VMs behind a jump host, an EC2 Instance Connect Endpoint or SSM: the same verbs over a command as the connection."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.config.settings import Settings
from orchestrator.core.errors import ConnectError, NotReady, UsageError
from orchestrator.session import Session
from orchestrator.ssh import via
from tests.support.project import Project

pytestmark = pytest.mark.slow

# Stands for the AWS CLI: connects to the address in the environment, and records how it was called.
RELAY = """#!{python}
import os, socket, sys, threading
open(os.environ["RELAY_LOG"], "a").write(" ".join(sys.argv[1:]) + "\\n")
sock = socket.create_connection((os.environ["RELAY_ADDRESS"], int(os.environ["RELAY_PORT"])))
def up():
    while data := os.read(0, 65536):
        sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)
threading.Thread(target=up, daemon=True).start()
while data := sock.recv(65536):
    os.write(1, data)
"""


@pytest.fixture(scope="module")
def project(cloud: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Two VMs: the first is the jump host of the second."""
    lab = Project(tmp_path_factory.mktemp("via"), "via", cloud)
    lab.job("single = echo through\n")
    with lab.session() as session:
        session.cluster.launch(session.cluster.plan(2))
        jump = session.inventory.hosts(["via-0"])[0]
        (lab.folder / "jump").write_text(f"ubuntu@{jump.address}:{jump.port}")
        (lab.folder / "key").write_text(str(jump.key_file))
        (lab.folder / "known_hosts").write_text(f"[{jump.address}]:{jump.port} {jump.host_key}\n")
        yield lab
        session.cluster.terminate()


def through(project: Project, *, known_hosts: str = "known_hosts", **changes: str) -> Session:
    def adapt(loaded: Settings) -> Settings:
        way: dict[str, Any] = {
            "via": (project.folder / "jump").read_text(),
            "via_key": (project.folder / "key").read_text(),
            "via_known_hosts": str(project.folder / known_hosts),
            **changes,
        }
        return replace(loaded, ssh=replace(loaded.ssh, **way))

    return project.session(adapt=adapt)


def connections_through_a_command() -> list[str]:
    """Return the command lines of the children of this process that are a connection."""
    children = subprocess.run(["ps", "-ww", "-o", "args=", "--ppid", str(os.getpid())], capture_output=True, text=True)
    return [line for line in children.stdout.splitlines() if " -W " in line]


def test_a_vm_is_reached_through_the_jump_host_and_a_job_runs_there(project: Project) -> None:
    with through(project) as session:
        (host,) = session.inventory.hosts(["via-1"])
        assert host.address == host.private_address
        session.jobs.install(["via-1"])
        lines: list[str] = []
        handle = session.jobs.start(multi=False, names=["via-1"])
        session.jobs.follow(handle.run_id, on_line=lambda _, line: lines.append(line))
        assert lines == ["through"]
        assert connections_through_a_command()


def test_plain_ssh_takes_the_same_way(project: Project) -> None:
    with through(project) as session:
        argv = session.hosts.ssh_command("via-1")
        assert any(word.startswith("ProxyCommand=ssh ") for word in argv)
        done = subprocess.run([*argv, "echo", "plain"], capture_output=True, text=True, timeout=60)
        assert (done.stdout, done.returncode) == ("plain\n", 0), done.stderr


def test_a_jump_host_of_an_unknown_key_gets_no_connection_and_the_error_says_what_to_do(project: Project) -> None:
    (project.folder / "empty").write_text("")
    unknown = pytest.raises(ConnectError, match="Host key verification failed")
    with through(project, known_hosts="empty") as session, unknown as caught:
        session.context.ssh.run(session.inventory.hosts(["via-1"])[0], "true")
    assert caught.value.kind == "key-file"
    assert str(caught.value.fix).startswith("connect to it once and compare its key: ssh -p ")


def test_a_jump_host_that_does_not_answer_is_named(project: Project) -> None:
    refused = pytest.raises(ConnectError, match=r"ssh via ubuntu@127.0.0.1: .*Connection refused")
    with through(project, via="ubuntu@127.0.0.1:9") as session, refused:
        session.context.ssh.run(session.inventory.hosts(["via-1"])[0], "true")


@pytest.mark.parametrize(
    ("way", "words"),
    [
        ("eice-0123456789abcdef0", "ec2-instance-connect open-tunnel --instance-id i-"),
        ("ssm", "ssm start-session --target i-"),
    ],
)
def test_endpoint_and_session_manager_are_reached_by_the_aws_cli(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str, words: str
) -> None:
    for name in ("aws", "session-manager-plugin"):
        (tmp_path / name).write_text(RELAY.format(python=sys.executable))
        (tmp_path / name).chmod(0o755)
    with through(project, via=way) as session:
        (host,) = session.inventory.hosts(["via-1"])
        variables = {"RELAY_LOG": str(tmp_path / "log"), "RELAY_ADDRESS": host.address, "RELAY_PORT": str(host.port)}
        for name, value in {**variables, "PATH": f"{tmp_path}:{os.environ['PATH']}"}.items():
            monkeypatch.setenv(name, value)
        via.check_programs(way)
        assert session.context.ssh.run(host, "echo relayed").stdout == "relayed\n"
    assert words in (tmp_path / "log").read_text()


def test_a_way_whose_program_is_missing_is_reported_before_a_launch(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    missing = pytest.raises((UsageError, NotReady), match="needs the program aws, which is not here")
    with through(project, via="eice-0123456789abcdef0") as session, missing:
        session.cluster.plan(1)
