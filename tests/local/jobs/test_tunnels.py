"""Tunnels to VMs: TensorBoard through one, and their list in Status."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from socket import create_connection, create_server
from urllib.request import ProxyHandler, build_opener

import pytest

from orchestrator.core.errors import UsageError
from orchestrator.hosts.tunnel_uses import TunnelUses
from orchestrator.session import Session
from tests.support.localcloud.clients import wait_until
from tests.support.localcloud.iam_enforcement import as_user
from tests.support.paths import ROOT
from tests.support.project import Project

pytestmark = pytest.mark.slow

WRITE_LOGS = """
import os, time
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter
writer = EventFileWriter(os.path.expanduser("~/stratus/runs/20261122-101112-abc/workdir/outputs/logs"))
values = Summary(value=[Summary.Value(tag="loss", simple_value=1)])
writer.add_event(Event(wall_time=time.time(), step=1, summary=values))
writer.close()
"""


@pytest.fixture(scope="module")
def project(cloud: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project with one VM."""
    project = Project(tmp_path_factory.mktemp("tunnels"), "tn", cloud)
    project.job("single = true\n")
    with project.session() as session:
        assert not session.cluster.launch(session.cluster.plan(1)).failed
    yield project
    with project.session("cleaner") as session:
        assert session.cluster.terminate().remaining == ()


@pytest.fixture
def session(project: Project) -> Iterator[Session]:
    with project.session() as session:
        yield session


def read(url: str) -> str:
    """Return what an address answers."""
    with build_opener(ProxyHandler({})).open(url, timeout=60) as answer:
        return str(answer.read().decode())


def on_host(session: Session, command: str) -> str:
    """Run a command on the VM; return its output."""
    (output,) = session.hosts.run_command(command).hosts
    return "\n".join(output.lines)


def test_tensorboard_shows_the_logs_of_a_run_and_one_call_ends_it(session: Session) -> None:
    with pytest.raises(UsageError, match="no run there yet"):
        session.tensorboard.open("outputs/logs")
    on_host(session, "mkdir -p ~/stratus/runs/20261122-101112-abc/workdir")
    with pytest.raises(UsageError, match="outputs/logs: no such folder in run 20261122-101112-abc"):
        session.tensorboard.open("outputs/logs")
    on_host(session, f"~/stratus/venvs/.tensorboard/bin/python -c '{WRITE_LOGS}'")
    page = session.tensorboard.open("outputs/logs", run_id="abc")
    tags = wait_until(lambda: "loss" in read(f"{page.url}data/plugin/scalars/tags"))
    again = session.tensorboard.open("outputs/logs")
    listed = [(tunnel.purpose, tunnel.pid) for tunnel in session.hosts.open_tunnels()]
    stops = [session.tensorboard.stop().count, session.tensorboard.stop().count]
    closed = session.hosts.open_tunnels()

    assert tags
    assert page.url == again.url
    assert listed == [("TensorBoard", os.getpid())]
    assert stops == [1, 0]
    assert closed == ()


def test_a_port_has_one_tunnel_of_a_shell_until_it_is_closed(session: Session) -> None:
    first, again = session.hosts.tunnel("tn-0", 8265), session.hosts.tunnel("tn-0", 8265)
    other = session.hosts.tunnel("tn-0", 8266)
    listed = {tunnel.port for tunnel in session.hosts.open_tunnels()}
    first.close()
    reopened = session.hosts.tunnel("tn-0", 8265)
    create_connection((reopened.address, reopened.port), timeout=30).close()
    reopened.close()
    other.close()

    assert again is first
    assert listed == {first.port, other.port}
    assert reopened is not first
    assert session.hosts.open_tunnels() == ()


def test_terminating_closes_the_tunnels(project: Project, tmp_path: Path) -> None:
    own = Project(tmp_path, "te", project.env)
    own.job("single = true\n")
    with own.session() as session:
        assert not session.cluster.launch(session.cluster.plan(1)).failed
        tunnel = session.hosts.tunnel("te-0", 8265)
        assert session.cluster.terminate().remaining == ()

        assert session.hosts.open_tunnels() == ()
        with pytest.raises(ConnectionRefusedError):
            create_connection((tunnel.address, tunnel.port), timeout=30).close()


def test_a_tunnel_is_use_of_its_vm_while_something_moves_through_it(project: Project, session: Session) -> None:
    """Told by a file for each connection, which idle.sh reads; seen over a connection of its own."""
    (host,) = session.inventory.hosts()
    ssh = session.context.ssh
    uses = TunnelUses(ssh, interval_s=0.2)
    with project.session() as other, create_server((host.private_address, 0)) as server:

        def marks() -> tuple[str, ...]:
            return other.hosts.run_command("cat stratus/tunnels/* 2>/dev/null; true").hosts[0].lines

        with ssh.forward(host, server.getsockname()[1]) as tunnel:
            uses.add(host, tunnel, counts=True)
            wait_until(lambda: marks() == ("quiet",))
            with create_connection((tunnel.address, tunnel.port)) as page:
                server.settimeout(30)
                accepted, _ = server.accept()
                stop = threading.Event()
                talk = threading.Thread(target=lambda: [page.send(b"x") for _ in iter(lambda: stop.wait(0.05), True)])
                talk.start()
                wait_until(lambda: marks() == ("used",))
                stop.set()
                talk.join()
                # Open, as a page that is not looked at.
                wait_until(lambda: marks() == ("quiet",))
                accepted.close()
        wait_until(lambda: marks() == ())


def test_status_lists_the_tunnels_of_another_process_until_it_is_killed(project: Project, session: Session) -> None:
    base = [sys.executable, str(ROOT / "run_interface.py"), "--config", str(project.config)]
    env = os.environ | as_user(project.env) | {"STRATUS_HOME": str(project.folder / "laptop")}
    with closing(create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        command = [*base, "tunnel", "tn-0", str(port)]
        with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True, cwd=project.folder) as shell:
            assert shell.stdout
            shell.stdout.readline()
            text = subprocess.run([*base, "status"], env=env, cwd=project.folder, capture_output=True, text=True).stdout
            (tunnel,) = session.hosts.open_tunnels()
            shell.send_signal(signal.SIGKILL)
        left = session.hosts.open_tunnels()

    assert (tunnel.host, tunnel.remote_port, tunnel.pid) == ("tn-0", port, shell.pid)
    # Another port here, because a program has this one.
    assert tunnel.port != port
    assert f"tunnel  {tunnel.address}:{tunnel.port}  port {port} on tn-0  process {shell.pid}\n" in text
    assert left == ()
