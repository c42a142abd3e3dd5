"""Faults of packages on process hosts, whose apt-get is a stand-in; its messages are those of apt."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import localcloud
from localcloud.hosts.process.disk import FAULTY_STAND_INS
from tests.support import package_faults
from tests.support.host_tools import HostWithTools, host, run_step
from tests.support.project import Project, add_install_settings

__all__ = ["host"]

END = "sed -i /{}/d ~/../../run/package-faults"
ENDED = ("apt-locked", "clock-behind")
PATIENCE = {"STRATUS_APT_PATIENCE": "0"}


@pytest.mark.slow
def test_rehearsed_faults_of_packages_are_one_line_of_their_vm(cloud: dict[str, str], tmp_path: Path) -> None:
    project = Project(tmp_path, "packages", cloud)
    package_faults.play(cloud)
    try:
        package_faults.check_install(project, "stratus-nothing", ends=[END.format(kind) for kind in ENDED])
        add_install_settings(project, "pip_options = --retries 1\n")
        project.job("requirements = requirements.txt\nsingle = true\n", requirements__txt="stratus-nothing\n")
        with project.session() as session:
            failed = session.jobs.install(["packages-0", "packages-1"]).failed
        assert "requirements failed: no way to the package index" in str(failed["packages-0"])
        assert "requirements failed: this VM cannot resolve names (DNS)" in str(failed["packages-1"])
    finally:
        localcloud.scenario(None, cloud["LOCALCLOUD_HOME"])
        with project.session() as session:
            assert session.cluster.terminate().remaining == ()


def stand_in(host: HostWithTools, fault: str) -> HostWithTools:
    """Return the host with the apt-get of a process host."""
    folder = host.home / "process/bin"
    shutil.copytree(FAULTY_STAND_INS, folder)
    (host.home / "process/run").mkdir()
    (host.home / "process/run/package-faults").write_text(f"{fault} 0 20\n")
    return HostWithTools(host.home, {**PATIENCE, "PATH": f"{folder}:{host.env['PATH']}"})


def real_apt(host: HostWithTools, source: str) -> HostWithTools:
    """Return the host with apt itself, in folders of its own."""
    apt = shutil.which("apt-get", path="/usr/bin")
    if apt is None:
        pytest.skip("no apt-get on this computer")
    root = host.home / "apt"
    for name in ("state/lists/partial", "cache/archives/partial", "etc/apt.conf.d", "etc/preferences.d", "log"):
        (root / name).mkdir(parents=True)
    (root / "state/status").touch()
    (root / "etc/sources.list").write_text(f"deb [trusted=yes] {source} stable main\n")
    folders = {
        "Dir::State": "state",
        "Dir::State::status": "state/status",
        "Dir::Cache": "cache",
        "Dir::Etc": "etc",
        "Dir::Log": "log",
    }
    options = " ".join(f"-o {name}={root / path}" for name, path in folders.items())
    # The last option of a name counts: fewer attempts, and no other user, whom root would need for downloads.
    host.tool("apt-get", f'exec {apt} "$@" {options} -o Acquire::Retries=0 -o APT::Sandbox::User=\n')
    # Without a proxy, which would resolve names.
    environment = {"PATH": f"{host.home}/tools:{os.environ['PATH']}", "no_proxy": "*"}
    return HostWithTools(host.home, {**PATIENCE, **environment})


@contextmanager
def lock_held(host: HostWithTools) -> Iterator[None]:
    """Hold the lock of apt's indexes."""
    with open(host.home / "apt/state/lists/lock", "w") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        yield


@pytest.mark.parametrize(
    ("fault", "source"), [("no-route", "http://127.0.0.1:9"), ("no-dns", "http://mirror.invalid/debian")]
)
def test_a_stand_in_fails_as_apt_does_without_a_route_or_dns(host: HostWithTools, fault: str, source: str) -> None:
    lines = [run_step(system, "apt.sh", "docker.io")[1] for system in (real_apt(host, source), stand_in(host, fault))]
    real, imitated = (
        [line.replace(server, "") for line in output] for output, server in zip(lines, SERVERS[fault], strict=True)
    )

    assert real[-1] == imitated[-1]
    assert real[-1].startswith(("no way to the package mirror", "this VM cannot resolve names"))


SERVERS = {
    "no-route": ("127.0.0.1:9", "us-west-2.ec2.archive.ubuntu.com"),
    "no-dns": ("mirror.invalid", "us-west-2.ec2.archive.ubuntu.com"),
}


def test_a_stand_in_reports_a_lock_as_apt_does(host: HostWithTools) -> None:
    real = real_apt(host, "http://127.0.0.1:9")
    with lock_held(real):
        held = run_step(real, "apt.sh", "docker.io")[1]
    imitated = run_step(stand_in(host, "apt-locked"), "apt.sh", "docker.io")[1]

    assert held[-1].startswith("another apt still runs here after 0 s (py")
    assert imitated[-1] == "another apt still runs here after 0 s (unattended-upgr, pid 642)"


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        ("clock-behind", "the clock of this VM is still behind after 0 s, so that docker.io cannot be installed"),
        ("disk-nearly-full", "the disk is full: docker.io did not fit, 21 MB free of 8.6 GB"),
    ],
)
def test_a_stand_in_has_a_clock_and_a_disk(host: HostWithTools, fault: str, line: str) -> None:
    assert run_step(stand_in(host, fault), "apt.sh", "docker.io")[1][-1] == line
