"""The mesh of a run, its agents as real processes on addresses of this computer's own."""

from __future__ import annotations

import asyncio
import importlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from orchestrator.core import remote_scripts
from orchestrator.core.clock import REAL_CLOCK
from orchestrator.crypto.tls import generate_cluster_tls
from orchestrator.jobs.frameworks.mesh import GUARD_SCRIPTS, LAUNCHER_SCRIPTS
from tests.support.paths import REMOTE
from tests.support.waiting import wait_until

# Scripts on the VMs import each other from their own folder.
sys.path.append(str(REMOTE))
lead_module = importlib.import_module("mesh_lead")
SCRIPTS = (*remote_scripts.RUN_SCRIPTS, *LAUNCHER_SCRIPTS, *GUARD_SCRIPTS, "horovod.sh", "mpi.sh")
HOSTS = {"ml-0": "127.0.66.1", "ml-1": "127.0.66.2", "ml-2": "127.0.66.3"}


@dataclass
class Mesh:
    """A run's folder on each of several hosts, and its processes."""

    folder: Path
    env: dict[str, str] = field(default_factory=lambda: {"STRATUS_WAIT": "20"})
    agents: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def stage(self, command: str, hosts: dict[str, str] = HOSTS) -> None:
        """Write the run's folder for each host."""
        tls = generate_cluster_tls(list(hosts.values()), REAL_CLOCK.now())
        files = {"ca.pem": tls.ca, "cert.pem": tls.cert, "key.pem": tls.key, "port": str(free_port())}
        files["members"] = "".join(f"{name} {address}\n" for name, address in hosts.items())
        for name in hosts:
            for inner in ("bin", "mesh", "state", "workdir"):
                (self.folder / name / inner).mkdir(parents=True)
            for tool, data in remote_scripts.scripts(SCRIPTS).items():
                (self.folder / name / "bin" / tool).write_bytes(data)
                (self.folder / name / "bin" / tool).chmod(0o700)
            for file, text in files.items():
                (self.folder / name / "mesh" / file).write_text(text)
            (self.folder / name / "bin/command.sh").write_text(command)

    def start(self, name: str, script: str, *args: str, **env: str) -> subprocess.Popen[bytes]:
        """Start one of the run's scripts on a host, in the environment of a task."""
        folder = self.folder / name
        task_env = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(folder),
            "STRATUS_SLOTS": "2",
        }
        task_env |= {"STRATUS_HOST": name, "STRATUS_ADDRESS": HOSTS[name], "STRATUS_FOLDER": str(folder)}
        # A name of its own: cancel.sh in other tests ends the processes of its run on all of this computer.
        task_env |= {
            "STRATUS_RUN": str(self.folder).replace("/", "-"),
            "STRATUS_MESH_TEST": str(self.folder),
            "PYTHONUNBUFFERED": "1",
        }
        with (folder / f"{script}.log").open("wb") as log:
            process = subprocess.Popen(
                ["sh", str(folder / "bin" / script), str(folder), *args],
                env=task_env | self.env | env,
                cwd=folder / "workdir",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def up(self, *names: str) -> None:
        """Start the agents of these hosts."""
        self.agents |= {name: self.start(name, "mesh_host.sh") for name in names}

    def lead(self, launcher: str = "mpi.sh", **env: str) -> subprocess.Popen[bytes]:
        """Start the main task."""
        return self.start("ml-0", "mesh_main.sh", launcher, **env)

    def log(self, name: str = "ml-0", script: str = "mesh_main.sh") -> str:
        """Return the output of a script."""
        return (self.folder / name / f"{script}.log").read_text()

    def listens(self, name: str) -> bool:
        """Return True if a host's agent accepts connections."""
        port = int((self.folder / name / "mesh/port").read_text())
        raw = socket.inet_aton(HOSTS[name])[::-1].hex().upper()
        # State 0A is LISTEN. A connection would do as well, but the agent would take it for its first host's.
        listening = f"{raw}:{port:04X} 00000000:0000 0A"
        return listening in Path("/proc/net/tcp").read_text()

    def left(self, host: str = "") -> list[int]:
        """Return the remaining processes of this mesh, or of one of its hosts, detached ones included."""
        marks = {f"STRATUS_MESH_TEST={self.folder}".encode()} | ({f"STRATUS_HOST={host}".encode()} if host else set())
        pids: list[int] = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                pids += [int(path.parent.name)] if marks <= set(path.read_bytes().split(b"\0")) else []
            except OSError:
                continue
        return pids


def free_port() -> int:
    """Return a port on which nothing listens."""
    with socket.create_server(("127.0.66.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[Mesh]:
    """A mesh whose processes are killed afterwards."""
    mesh = Mesh(tmp_path)
    yield mesh
    for pid in mesh.left():
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    for process in mesh.processes:
        process.wait(10)


STAY = 'ssh 127.0.66.3 "echo there; exec sleep 60" & ssh 127.0.66.2 "echo there; sleep 60" & wait'


def test_all_ends_with_the_first_hosts_command(mesh: Mesh) -> None:
    """Also what is still running on other hosts; the exit status is the command's, and the agents exit with 0."""
    mesh.stage('ssh 127.0.66.3 "echo there; exec sleep 60" & ssh ml@127.0.66.2 -p 1 true; sleep 0.5; exit 7')
    mesh.up(*HOSTS)

    assert mesh.lead().wait(60) == 7
    assert [agent.wait(30) for agent in mesh.agents.values()] == [0, 0, 0]
    wait_until(lambda: mesh.left() == [])
    assert "the first VM is done" in mesh.log("ml-1", "mesh_host.sh")


def test_a_lost_host_ends_the_job_everywhere_and_is_named(mesh: Mesh) -> None:
    """Whatever kills its processes, and without a client."""
    mesh.stage(STAY)
    mesh.up(*HOSTS)
    lead = mesh.lead()
    wait_until(lambda: mesh.log().count("there") == 2)
    mesh.agents["ml-2"].kill()

    assert lead.wait(60) == 1
    assert "stratus: lost ml-2 (127.0.66.3): it closed the connection" in mesh.log()
    assert mesh.agents["ml-1"].wait(30) == 0
    wait_until(lambda: mesh.left("ml-0") + mesh.left("ml-1") == [])


@pytest.mark.slow
def test_a_frozen_host_is_lost_after_a_silence(mesh: Mesh) -> None:
    """An open connection without heartbeats counts as lost."""
    mesh.stage(STAY)
    mesh.up(*HOSTS)
    lead = mesh.lead()
    wait_until(lambda: mesh.log().count("there") == 2)
    os.kill(mesh.agents["ml-1"].pid, signal.SIGSTOP)

    assert lead.wait(60) == 1
    assert "stratus: lost ml-1 (127.0.66.2): it was silent for 15 s" in mesh.log()


@pytest.mark.slow
def test_a_host_that_does_not_connect_is_named(mesh: Mesh) -> None:
    """The job's command does not start."""
    mesh.stage("echo begun")
    mesh.up("ml-0", "ml-2")
    wait_until(lambda: mesh.listens("ml-0") and mesh.listens("ml-2"))

    assert mesh.lead(STRATUS_WAIT="3").wait(60) == 1
    assert "stratus: not connected after 3 s: ml-1 (" in mesh.log()
    assert "begun" not in mesh.log()
    assert [mesh.agents[name].wait(30) for name in ("ml-0", "ml-2")] == [0, 0]


def test_an_agent_without_a_first_host_ends_by_itself(mesh: Mesh) -> None:
    """Sixty seconds after the time limit for connecting; here that is half a second."""
    mesh.stage("true")
    mesh.env["STRATUS_WAIT"] = "-59.5"
    mesh.up("ml-0")

    assert mesh.agents["ml-0"].wait(30) == 1
    assert "the first VM did not connect" in mesh.log("ml-0", "mesh_host.sh")


def test_the_pair_that_cannot_connect_is_named(mesh: Mesh) -> None:
    """Every host tries all others, on an ephemeral port as launchers use them."""
    mesh.stage("true")
    mesh.up(*HOSTS)
    closed = free_port()

    async def checked() -> str:
        lead = lead_module.Lead(mesh.folder / "ml-0")
        await lead.gather(20)
        await lead.check()
        lead.connected[HOSTS["ml-2"]].probe = closed
        try:
            await lead.check()
        except lead_module.MeshError as error:
            return str(error)
        finally:
            await lead.release()
        return ""

    assert asyncio.run(checked()) == (
        "VMs do not reach each other on all TCP ports: ml-0 -> ml-2 (Connection refused), "
        "ml-1 -> ml-2 (Connection refused); see their firewall"
    )


@pytest.mark.slow
def test_a_host_of_another_run_is_rejected(mesh: Mesh) -> None:
    """The keys of another run start nothing."""
    mesh.stage('ssh 127.0.66.2 "echo in"; echo "ended $?"')
    other = generate_cluster_tls(list(HOSTS.values()), REAL_CLOCK.now())
    for file, text in (("ca.pem", other.ca), ("cert.pem", other.cert), ("key.pem", other.key)):
        (mesh.folder / "ml-1/mesh" / file).write_text(text)
    mesh.up("ml-0", "ml-1")

    assert mesh.lead(STRATUS_WAIT="1").wait(60) == 1
    assert "ml-1 (" in mesh.log()


@pytest.mark.slow
def test_an_elastic_run_continues_without_a_lost_host_and_accepts_a_new_one(mesh: Mesh) -> None:
    """The host list for Horovod follows; below min_hosts the job ends."""
    mesh.stage('while sleep 0.1; do cat "$STRATUS_FOLDER/state/alive" | tr "\\n" " "; echo; done')
    members = mesh.folder / "ml-0/mesh/members"
    first = "".join(members.read_text().splitlines(keepends=True)[:2])
    newcomer = members.read_text().splitlines(keepends=True)[2]
    members.write_text(first)
    mesh.up("ml-0", "ml-1")
    lead = mesh.lead(STRATUS_MIN_HOSTS="1")
    wait_until(lambda: "127.0.66.1:2 127.0.66.2:2 \n" in mesh.log())
    mesh.agents["ml-1"].kill()
    wait_until(lambda: mesh.log().endswith("\n127.0.66.1:2 \n"))
    mesh.up("ml-2")
    members.write_text(first + newcomer)
    wait_until(lambda: "127.0.66.1:2 127.0.66.3:2 \n" in mesh.log())

    assert lead.poll() is None
    assert "stratus: lost ml-1" in mesh.log()
    assert "stratus: ml-2 (127.0.66.3) joins" in mesh.log()
    mesh.agents["ml-2"].kill()
    mesh.agents["ml-0"].kill()
    assert lead.wait(60) == 1
    assert "0 VMs are left, and min_hosts = 1: the job ends" in mesh.log()


@pytest.mark.parametrize(
    ("args", "address", "command"),
    [
        (["-o", "PasswordAuthentication=no", "10.0.0.2", "-p", "1", "-i", "key", "cd /; x"], "10.0.0.2", "cd /; x"),
        (["-x", "-q", "ml@10.0.0.2", "orted", "-mca", "ess", "env"], "10.0.0.2", "orted -mca ess env"),
        (["-oBatchMode=yes", "-p22", "10.0.0.2", "true"], "10.0.0.2", "true"),
        (["10.0.0.2"], "10.0.0.2", ""),
        ([], "", ""),
    ],
)
def test_openssh_options_are_ignored(args: list[str], address: str, command: str) -> None:
    """As launchers pass them: before and after the address, never after the first word of the command."""
    assert lead_module.mesh.parse_ssh_args(args) == (address, command)
