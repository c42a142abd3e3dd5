"""apt.sh and requirements.sh: locks, and disks that are full."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.host_tools import HostWithTools, fake_disk, fix_of, host, run_step

__all__ = ["host"]

LOCKED = "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 4711 (unattended-upgr)"


def test_the_holder_of_apts_lock_is_reported_and_waited_for(host: HostWithTools) -> None:
    """Reported once, not at every attempt; no lock is removed and no process killed."""
    tries = f'echo "$@" >>{host.home}/calls\n[ "$(wc -l <{host.home}/calls)" -gt 2 ]'
    host.tool("apt-get", f'{tries} || {{ echo "{LOCKED}"; exit 100; }}\n')
    host.tool("sleep", "exit 0\n")
    status, lines = run_step(host, "apt.sh", "docker.io")
    calls = [
        call.split()[call.split().index("update" if "update" in call else "install") :]
        for call in (host.home / "calls").read_text().splitlines()
    ]

    assert status == 0
    assert lines.count("@@say another apt runs here (unattended-upgr, pid 4711): waiting") == 1
    assert calls == [["update"]] * 3 + [["install", "docker.io"]]


def test_a_lock_that_is_never_released_is_one_line(host: HostWithTools) -> None:
    host.tool("apt-get", f'echo "{LOCKED}"\nexit 100\n')
    status, lines = run_step(HostWithTools(host.home, {"STRATUS_APT_PATIENCE": "1"}), "apt.sh", "docker.io")

    assert status == 1
    assert lines[-1] == "another apt still runs here after 1 s (unattended-upgr, pid 4711)"
    assert fix_of(lines) == "InstallDeps() again when it is done"


NO_WAY = """Err:1 http://eu.archive.ubuntu.com/ubuntu noble InRelease
  Temporary failure resolving 'eu.archive.ubuntu.com'
W: Failed to fetch http://eu.archive.ubuntu.com/ubuntu/dists/noble/InRelease  Temporary failure
W: Some index files failed to download. They have been ignored, or old ones used instead."""


@pytest.mark.parametrize("update_status", [0, 100])
def test_a_mirror_that_cannot_be_reached_is_no_missing_package(host: HostWithTools, update_status: int) -> None:
    """Older versions of apt succeed when no index could be downloaded."""
    missing = "E: Couldn't find any package by regex 'docker.io'"
    host.tool(
        "apt-get",
        f'case "$*" in *update*) cat <<"E"\n{NO_WAY}\nE\nexit {update_status} ;; esac\necho "{missing}"; exit 100\n',
    )
    status, lines = run_step(host, "apt.sh", "docker.io")

    assert status == 1
    assert lines[-1].startswith("no way to the package mirror eu.archive.ubuntu.com, so that docker.io cannot be")
    assert "NAT" in fix_of(lines)


def test_an_index_that_is_missing_does_not_fail_an_install_from_another(host: HostWithTools) -> None:
    host.tool("apt-get", f'case "$*" in *update*) cat <<"E"\n{NO_WAY}\nE\nexit 100 ;; esac\n')

    assert run_step(host, "apt.sh", "docker.io")[0] == 0


def test_a_mirror_of_dnf_that_cannot_be_reached_is_named(host: HostWithTools) -> None:
    output = "Curl error (28): Timeout was reached for https://al2023-repos.s3.amazonaws.com/core/mirrors/repomd.xml"
    host.tool("dnf", f'echo "{output}"; exit 1\n')
    status, lines = run_step(without(host, "apt-get"), "apt.sh", "docker")

    assert status == 1
    assert lines[-1].startswith("no way to the package mirror al2023-repos.s3.amazonaws.com, so that docker cannot")


@pytest.mark.parametrize(
    ("manager", "python", "packages"),
    [
        # https://docs.aws.amazon.com/linux/al2023/ug/python.html: the system's python3 is 3.9 with ensurepip; newer
        # versions are the packages python3.11, python3.11-pip. There is no python3-venv.
        ("dnf", "python3.99", ["python3.99", "python3.99-pip"]),
        # https://packages.debian.org/bookworm/python3.11-venv: ensurepip is in a package of its own for each version.
        ("apt-get", "python3.99", ["python3.99", "python3.99-venv"]),
    ],
)
def test_a_version_of_python_is_installed_by_the_names_of_the_distribution(
    host: HostWithTools, manager: str, python: str, packages: list[str]
) -> None:
    system = without(host, "apt-get", "dnf")
    host.tool(manager, f'echo "$@" >>{host.home}/calls; echo "No match for argument: {python}"; exit 1\n')
    status, lines = run_step(system, "python.sh", "apply", "job", python, "no")
    calls = (host.home / "calls").read_text().splitlines()

    assert calls[-1].split()[-2:] == packages
    assert (status, lines[-1]) == (1, f"no {python} on this VM: set python in job.ini")


def without(host: HostWithTools, *names: str) -> HostWithTools:
    """Return the host without some programs of this computer."""
    folder = host.home / "system"
    folder.mkdir(exist_ok=True)
    for path in map(Path, os.environ["PATH"].split(os.pathsep)):
        for program in path.iterdir() if path.is_dir() else ():
            if not (folder / program.name).is_symlink():
                (folder / program.name).symlink_to(program)
    for name in names:
        (folder / name).unlink(missing_ok=True)
    return HostWithTools(host.home, {"PATH": f"{host.home}/tools:{folder}"})


def test_packages_that_do_not_fit_on_the_disk(host: HostWithTools) -> None:
    host.tool("apt-get", "echo 'dpkg: error: cannot copy: No space left on device'\nexit 100\n")
    fake_disk(host, total=8000, free=3)
    status, lines = run_step(host, "apt.sh", "docker.io")

    assert status == 1
    assert lines[-1] == "the disk is full: docker.io did not fit, 3 MB free of 8.4 GB"


def test_a_disk_that_fills_up_under_pip(host: HostWithTools) -> None:
    fake_disk(host, total=8000, free=2)
    venv = host.home / "stratus/venvs/job/bin"
    venv.mkdir(parents=True)
    (venv / "python").write_text("#!/bin/sh\necho 'ERROR: [Errno 28] No space left on device'\nexit 1\n")
    (venv / "python").chmod(0o755)
    plan = [["requirements", "requirements.sh", "job", "d1", "requirements.txt"]]
    _, lines = host.install(plan, None, **{"requirements.txt": b"torch\n"})

    assert "the disk is full: the packages of the job did not fit, 2 MB free of 8.4 GB" in lines
    assert fix_of(lines).startswith("set [disk] size = 17 (GiB)")
