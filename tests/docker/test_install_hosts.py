"""InstallDeps on hosts with an operating system of their own: the engine by apt, images from a registry, full disks."""

from __future__ import annotations

import json
import os
import re
import shlex
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import localcloud
from localcloud.server.registry import Registry
from orchestrator.session import Session
from tests.support.docker.install_watch import ChannelCounter, ProcessWatch, files_containing
from tests.support.docker.registry import docker
from tests.support.localcloud.clients import wait_until
from tests.support.project import Project, add_install_settings

pytestmark = pytest.mark.slow

HOLDER = """
import fcntl, os, time
with open("/var/lib/dpkg/lock-frontend", "w") as lock:
    fcntl.lockf(lock, fcntl.LOCK_EX)
    print("held", flush=True)
    until = time.monotonic() + 120
    while not os.path.exists("/tmp/give-back") and time.monotonic() < until:
        time.sleep(0.1)
"""


@pytest.fixture(scope="module")
def cloud(host_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """An embedded cloud whose machines are containers with root, apt and room for an engine."""
    home = tmp_path_factory.mktemp("cloud")
    yield dict(localcloud.up(home, hosts="docker", pending=0.2, boot=0.05, bound_to=os.getpid()))
    localcloud.down(home)


@pytest.fixture(scope="module")
def store(
    registry_program: None, cloud: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Registry]:
    """The cloud's own registry: it wants the password that ECR gives out."""
    with Registry(tmp_path_factory.mktemp("registry"), cloud, login=True) as found:
        yield found


@pytest.fixture(scope="module")
def project(cloud: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Two machines that are up, with nothing on them."""
    made = Project(tmp_path_factory.mktemp("lab"), "vm", cloud)
    made.job("single = true\n")
    with made.session() as session:
        assert not session.cluster.launch(session.cluster.plan(2)).failed
        yield made
        assert session.cluster.terminate().remaining == ()


def said(session: Session, command: str) -> dict[str, str]:
    """What each machine answers."""
    return {each.host: "\n".join(each.lines) for each in session.hosts.run_command(command).hosts}


def give_back(project: Project) -> None:
    """Let whoever holds apt's lock go once every machine has said that it waits."""
    waiting = "another apt runs here (python3, pid "
    wait_until(lambda: len({one.host for one in [*project.events] if one.text.startswith(waiting)}) == 2, seconds=120)
    with project.session() as session:
        said(session, "touch /tmp/give-back")


def test_an_engine_comes_from_the_distribution_once_apt_is_free_and_pulls_behind_a_login(
    project: Project, store: Registry, layered: str
) -> None:
    """The whole of InstallDeps on new machines; then again: nothing to do, one channel per machine."""
    name, secret = store.push(layered, "job:1"), store.info.password
    docker("rmi", layered)
    add_install_settings(project, "registry = ecr\n")
    project.job(
        f"runtime = docker\nimage = {name}\nmulti = id -u; echo on $STRATUS_HOST; mkdir outputs; echo 1 >outputs/x\n"
    )
    counted = ChannelCounter()
    lines: list[tuple[str, str]] = []
    with project.session(connect=counted.connect) as session:
        assert set(said(session, "docker --version 2>&1 || true; test -x /usr/sbin/dockerd || echo none").values()) != {
            ""
        }
        holder = shlex.quote(HOLDER)
        held = said(
            session,
            f"sudo setsid python3 -c {holder} >/tmp/held 2>&1 & until grep -q held /tmp/held; do sleep 0.1; done",
        )
        assert len(held) == 2
        giver = threading.Thread(target=give_back, args=(project,), daemon=True)
        giver.start()
        with ProcessWatch(secret) as watch:
            first = session.jobs.install()
        before = len(counted.hosts)
        second = session.jobs.install()
        channels = counted.hosts[before:]
        socket = said(session, "stat -c '%a %G' /var/run/docker.sock; id -nG $(whoami)")
        found = said(
            session,
            # In two parts and on standard input: sudo logs its arguments.
            f"printf %s%s {secret[:9]} {secret[9:]} | sudo grep -rlsF -f - / --exclude-dir=proc --exclude-dir=sys; "
            "sudo ls -A /dev/shm; "
            "sudo find / -xdev -name config.json -path '*docker*' | head; true",
        )
        run = session.jobs.start(multi=True)
        session.jobs.follow(run.run_id, on_line=lambda host, line: lines.append((host, line)))
        record = session.jobs.fetch(run.run_id)

    assert not first.failed, first.failed
    texts = [event.text for event in project.events]
    assert any(text.startswith("another apt runs here (python3, pid ") for text in texts)
    assert "pulled 3 of 3 layers" in " ".join(texts)
    assert [step.name for step in first.hosts[0].steps] == ["code", "engine", "gpu", "image"]
    assert {host.image.split()[1].partition("@")[0] for host in first.hosts} == {re.sub("(@.*|:[^/:]*)$", "", name)}
    assert second.changed == 0
    assert sorted(channels) == ["vm-0", "vm-1"]
    for text in socket.values():
        assert text.splitlines()[0] == "660 docker"
        assert "docker" in text.splitlines()[1].split()
    assert watch.findings == []
    assert watch.rounds > 3
    assert set(found.values()) == {""}
    assert files_containing(project.folder, secret) == []
    assert not [text for text in texts if secret in text]
    facts = json.loads((record.folder / "record.json").read_text())
    assert facts["image_digests"][1] == first.hosts[0].image.split()[1]
    assert ("vm-0", "on vm-0") in lines
    assert ("vm-1", "on vm-1") in lines
    assert len([path for path in record.outputs if path.endswith("/x")]) == 2


def test_an_image_is_built_on_a_base_behind_a_login_by_a_user_who_needs_sudo(
    project: Project, store: Registry, image: str
) -> None:
    """As in the first session of a new machine, in which the group docker does not count yet."""
    base = store.push(image, "base:1")
    (project.folder / "ca.pem").write_text("CERTIFICATE\n")
    project.config.write_text(f"{project.config.read_text()}build_args = BASE={base} LEVEL='a b'\nca_bundle = ca.pem\n")
    steps = ["ARG BASE=none", "FROM ${BASE}", "ARG LEVEL=", "COPY job.ini ca.pe[m] /job/", 'RUN echo "$LEVEL" >/said']
    project.job("runtime = docker\nsingle = cat /said /job/ca.pem; echo $STRATUS_HOST\n", Dockerfile="\n".join(steps))
    lines: list[str] = []
    with project.session() as session:
        said(session, "sudo gpasswd -d $(whoami) docker")
    with project.session() as session:
        groups = said(session, "id -nG")
        first, second = session.jobs.install(), session.jobs.install()
        run = session.jobs.start(multi=False)
        session.jobs.follow(run.run_id, on_line=lambda host, line: lines.append(line))
        trusted = said(session, f"cat /etc/docker/certs.d/{base.partition('/')[0]}/stratus.crt")

    assert not any("docker" in text.split() for text in groups.values())
    assert not first.failed, first.failed
    assert second.changed == 0
    assert lines == ["a b", "CERTIFICATE", "vm-0"]
    assert set(trusted.values()) == {"CERTIFICATE"}
    assert any(event.text.startswith("Step 5/5 : RUN echo") for event in project.events)


def test_an_end_to_all_runs_leaves_no_container(project: Project, store: Registry, image: str) -> None:
    """Also of one whose process will not listen."""
    project.job(
        f"runtime = docker\nimage = {store.push(image, 'tiny:1')}\nmulti = trap '' TERM; sleep 300; sleep 300\n"
    )
    with project.session() as session:
        session.jobs.install()
        run = session.jobs.start(multi=True)
        ask = (
            'for i in $(seq 100); do [ -n "$(sudo docker ps -q)" ] && break; sleep 0.1; done; sudo docker ps -q | wc -l'
        )
        before = said(session, ask)
        use = session.hosts.usage()
        report = session.jobs.cancel_all()
        after = said(session, "sudo docker ps -aq | wc -l")

    assert set(before.values()) == {"1"}
    assert all(run.run_id in {task.run_id for task in host.processes} for host in use.hosts)
    assert {host.host: (host.left, host.runs) for host in report.hosts} == {
        "vm-0": (0, (run.run_id,)),
        "vm-1": (0, (run.run_id,)),
    }
    assert set(after.values()) == {"0"}


def test_a_disk_that_is_too_small_for_the_image_is_found_out_before_the_pull(
    project: Project, store: Registry, image: str, tmp_path: Path
) -> None:
    """A real disk of 64 MB under the engine, and an image of which nobody could unpack the second half."""
    (tmp_path / "a").write_bytes(os.urandom(40_000_000))
    (tmp_path / "Dockerfile").write_text(f"FROM {image}\nCOPY a /a\n")
    docker("build", "-q", "-t", "stratus-test/big:1", str(tmp_path))
    name = store.push("stratus-test/big:1", "big:1")
    docker("rmi", "stratus-test/big:1")
    project.job(f"runtime = docker\nimage = {name}\nsingle = true\n")
    small = (
        "sudo systemctl stop docker; sudo mkdir -p /small && sudo mount -t tmpfs -o size=64m tmpfs /small && "
        'sudo sed -i \'s|{|{"data-root": "/small", |\' /etc/docker/daemon.json && sudo systemctl start docker'
    )
    with project.session() as session:
        report = session.hosts.run_command(small, names=["vm-1"])
        assert [each.exit_status for each in report.hosts] == [0], report
        failed = session.jobs.install(["vm-1"]).failed

    words = str(failed["vm-1"])
    assert words.startswith(f"vm-1: image failed: no room for {name}: 2.1 GB needed, 67 MB free on the disk of 67 MB")
    assert "[disk] size = " in words


def test_mpirun_of_the_distribution_reaches_all_hosts(project: Project) -> None:
    """``apt_packages`` and ``setup`` with sudo; the run installs them, once."""
    command = "echo rank $OMPI_COMM_WORLD_RANK on $(hostname)"
    job = project.job("single = true\n") / "job.ini"
    # Of the host's own Python, not of that of the tests.
    job.write_text(
        "[job]\nframework = mpi\napt_packages = openmpi-bin\nsetup = $SUDO touch /etc/stratus-setup\n"
        f"multi = mpirun --host $STRATUS_HOST_SLOTS -n $STRATUS_NP sh -c '{command}'\n"
    )
    project.events.clear()
    lines: list[str] = []
    with project.session() as session:
        for _ in range(2):
            handle = session.jobs.start(multi=True)
            session.jobs.follow(handle.run_id, on_line=lambda host, line: lines.append(line))
        names = said(session, "hostname; ls /etc/stratus-setup")

    announced = [event.text for event in project.events if event.phase == "install" and not event.host]
    assert [text.partition(" of ")[0] for text in announced] == [
        "packages, python, setup",
        "job installed on vm-0 vm-1",
    ]
    ranks = sorted(line for line in lines if line.startswith("rank"))
    assert [line.split()[1] for line in ranks] == ["0", "0", "1", "1"]
    assert {line.split()[3] for line in ranks} == {text.split()[0] for text in names.values()}
