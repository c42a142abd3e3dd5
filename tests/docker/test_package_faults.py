"""Faults of packages on docker hosts, with their own apt."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import localcloud
from tests.support import package_faults
from tests.support.project import Project

pytestmark = pytest.mark.slow


@pytest.fixture
def project(host_image: str, tmp_path: Path) -> Iterator[Project]:
    """A project on an embedded cloud of its own."""
    env = localcloud.up(tmp_path / "cloud", hosts="docker", pending=0.2, boot=0.05, bound_to=os.getpid())
    yield Project(tmp_path / "lab", "packages", env)
    localcloud.down(tmp_path / "cloud")


def test_rehearsed_faults_of_packages_are_one_line_of_their_vm(project: Project) -> None:
    package_faults.play(project.env)
    ends = ("sudo systemctl stop host-apt-lock", "sudo rm /etc/apt/apt.conf.d/99clock-behind")
    package_faults.check_install(project, "geoip-database", ends=ends)
    starts = "sudo journalctl -u ssh.service | grep -c 'Started ssh.service'"
    again = f"sudo apt-get -qy install --reinstall geoip-database >/dev/null 2>&1; {starts}"
    with project.session() as session:
        outputs = [
            session.hosts.run_command(command, names=["packages-3"]).hosts[0].lines for command in (starts, again)
        ]

    # An install that does not forbid it restarts services, as on Ubuntu 24.04.
    assert [lines[-1] for lines in outputs] == ["1", "2"]
