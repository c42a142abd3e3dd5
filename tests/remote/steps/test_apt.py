"""apt.sh and requirements.sh: locks, and disks that are full."""

from __future__ import annotations

import sys

import pytest

from tests.support.host_tools import HostWithTools, fake_disk, fix_of, host, run_step, without

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


@pytest.mark.slow
def test_a_lock_that_is_never_released_is_one_line(host: HostWithTools) -> None:
    host.tool("apt-get", f'echo "{LOCKED}"\nexit 100\n')
    status, lines = run_step(HostWithTools(host.home, {"STRATUS_APT_PATIENCE": "1"}), "apt.sh", "docker.io")

    assert status == 1
    assert lines[-1] == "another apt still runs here after 1 s (unattended-upgr, pid 4711)"
    assert fix_of(lines) == "InstallDeps() again when it is done"


NO_WAY = """Err:1 http://eu.archive.ubuntu.com/ubuntu noble InRelease
  Could not connect to eu.archive.ubuntu.com:80 (91.189.91.83), connection timed out
W: Failed to fetch http://eu.archive.ubuntu.com/ubuntu/dists/noble/InRelease  Could not connect, connection timed out
W: Some index files failed to download. They have been ignored, or old ones used instead."""
NO_DNS = NO_WAY.replace("connection timed out", "Temporary failure resolving 'eu.archive.ubuntu.com'")


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


def test_names_that_are_not_resolved_are_no_missing_route(host: HostWithTools) -> None:
    host.tool("apt-get", f'cat <<"E"\n{NO_DNS}\nE\nexit 100\n')
    status, lines = run_step(host, "apt.sh", "docker.io")

    assert status == 1
    assert lines[-1] == (
        "this VM cannot resolve names (DNS), eu.archive.ubuntu.com for one, so that docker.io cannot be installed"
    )
    assert "enableDnsSupport" in fix_of(lines)


def test_a_mirror_that_never_answers_has_a_deadline(host: HostWithTools) -> None:
    """apt tries each address of each mirror for each index, which takes minutes."""
    waits = "echo 'Ign:1 http://eu.archive.ubuntu.com/ubuntu noble InRelease'\nexec sleep 60\n"
    missing = "E: Unable to locate package docker.io"
    host.tool("apt-get", f'case "$*" in *install*) echo "{missing}"; exit 100 ;; esac\n{waits}')
    status, lines = run_step(HostWithTools(host.home, {"STRATUS_APT_UPDATE_S": "1"}), "apt.sh", "docker.io")

    assert status == 1
    assert lines[-1].startswith("no way to the package mirror eu.archive.ubuntu.com, so that docker.io cannot")


EARLY = "E: Release file for http://mirror/dists/noble/InRelease is not valid yet (invalid for another 2h 59min 8s)."


def test_a_clock_that_ntp_has_not_set_yet_is_waited_for(host: HostWithTools) -> None:
    tries = f'echo x >>{host.home}/calls\n[ "$(wc -l <{host.home}/calls)" -gt 2 ]'
    host.tool("apt-get", f'{tries} || {{ echo "{EARLY}"; exit 100; }}\n')
    host.tool("sleep", "exit 0\n")
    status, lines = run_step(host, "apt.sh", "docker.io")

    assert status == 0
    assert lines.count("@@say the clock of this VM is behind, and NTP has not set it yet: waiting") == 1


def test_a_clock_that_stays_wrong_is_one_line(host: HostWithTools) -> None:
    host.tool("apt-get", f'echo "{EARLY}"\nexit 100\n')
    status, lines = run_step(HostWithTools(host.home, {"STRATUS_APT_PATIENCE": "0"}), "apt.sh", "docker.io")

    assert status == 1
    assert lines[-1] == "the clock of this VM is still behind after 0 s, so that docker.io cannot be installed"
    assert fix_of(lines).startswith("timedatectl  on that host")


def test_no_service_is_restarted_by_an_install(host: HostWithTools) -> None:
    """needrestart restarts services on Ubuntu 24.04 also without a terminal; one may run a job.

    https://discourse.ubuntu.com/t/needrestart-changes-in-ubuntu-24-04-service-restarts/44671
    """
    host.tool("apt-get", f'echo "$NEEDRESTART_SUSPEND$DEBIAN_FRONTEND" >>{host.home}/calls\n')

    assert run_step(host, "apt.sh", "docker.io")[0] == 0
    assert set((host.home / "calls").read_text().split()) == {"1noninteractive"}


def test_an_index_that_is_missing_does_not_fail_an_install_from_another(host: HostWithTools) -> None:
    host.tool("apt-get", f'case "$*" in *update*) cat <<"E"\n{NO_WAY}\nE\nexit 100 ;; esac\n')

    assert run_step(host, "apt.sh", "docker.io")[0] == 0


def test_the_holder_of_dnfs_lock_is_named(host: HostWithTools) -> None:
    host.tool("dnf", "echo 'Waiting for process with pid 4711 to finish.'\nexec sleep 60\n")
    system = without(host, "apt-get")
    system = HostWithTools(system.home, system.extra_env | {"STRATUS_APT_PATIENCE": "1"})
    status, lines = run_step(system, "apt.sh", "docker")

    assert (status, lines[-1]) == (1, "another dnf still runs here after 1 s (pid 4711)")


def test_a_system_with_another_package_manager_is_one_line(host: HostWithTools) -> None:
    status, lines = run_step(without(host, "apt-get", "dnf"), "apt.sh", "docker")

    assert (status, lines[-1]) == (1, "neither apt nor dnf on this VM, so that docker cannot be installed")


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


@pytest.mark.parametrize(
    ("manager", "output"),
    [
        ("apt-get", "dpkg: error: cannot copy: No space left on device"),
        ("apt-get", "E: You don't have enough free space in /var/cache/apt/archives/."),
        ("dnf", "At least 120MB more space needed on the / filesystem."),
    ],
)
def test_packages_that_do_not_fit_on_the_disk(host: HostWithTools, manager: str, output: str) -> None:
    host = without(host, "apt-get", "dnf")
    host.tool(manager, f'echo "{output}"\nexit 100\n')
    fake_disk(host, total=8000, free=3)
    status, lines = run_step(host, "apt.sh", "docker.io")

    assert status == 1
    assert lines[-1] == "the disk is full: docker.io did not fit, 3 MB free of 8.4 GB"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("index", "line"),
    [
        ("http://127.0.0.1:9/simple", "no way to the package index, so that the packages of the job cannot"),
        ("https://index.invalid/simple", "this VM cannot resolve names (DNS), the package index for one, so that the"),
    ],
)
def test_an_index_that_cannot_be_reached_is_no_missing_package(host: HostWithTools, index: str, line: str) -> None:
    """With pip itself."""
    venv = host.home / "stratus/venvs/job/bin"
    venv.mkdir(parents=True)
    (venv / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (venv / "python").chmod(0o755)
    options = ["--isolated", "--index-url", index, "--retries", "1"]
    plan = [["requirements", "requirements.sh", "job", "d1", "requirements.txt", *options]]
    host = HostWithTools(host.home, {"STRATUS_UV": "no", "NO_PROXY": "*"})
    _, lines = host.install(plan, None, **{"requirements.txt": b"stratus-nothing\n"})

    assert [text for text in lines if text.startswith(line)], lines
    assert "[aws] subnet_id" in fix_of(lines)


@pytest.mark.parametrize(
    ("requirement", "line"),
    [
        ("numpy==2.2.6", "the packages of the job need Python 3.10 or newer, and the environment has 3.9.18"),
        ("numpy>=2.3", "the packages of the job need Python 3.10 or newer, and the environment has 3.9.18"),
        ("numpy==9.9", "ERROR: No matching distribution found for numpy==9.9"),
    ],
)
def test_packages_for_a_newer_python_are_no_missing_packages(host: HostWithTools, requirement: str, line: str) -> None:
    """As pip 23 on Python 3.9, the python3 of Amazon Linux 2023 and Red Hat 9."""
    ignored = "; ".join(f"{version} Requires-Python >=3.{minor}" for version, minor in (("2.2.6", 10), ("2.3.0", 11)))
    venv = host.home / "stratus/venvs/job/bin"
    venv.mkdir(parents=True)
    (venv / "python").write_text(
        f"""#!/bin/sh
case "$*" in *platform*) echo 3.9.18; exit ;; esac
echo 'ERROR: Ignored the following versions that require a different python version: {ignored}'
echo 'ERROR: Could not find a version that satisfies the requirement {requirement} (from versions: 1.26.4, 2.0.2)'
echo 'ERROR: No matching distribution found for {requirement}'
exit 1
"""
    )
    (venv / "python").chmod(0o755)
    plan = [["requirements", "requirements.sh", "job", "d1", "requirements.txt"]]
    host = HostWithTools(host.home, {"STRATUS_UV": "no"})
    _, lines = host.install(plan, None, **{"requirements.txt": b"numpy\n"})

    assert lines[-2] == line
    assert ("python3.12" in fix_of(lines)) == line.startswith("the packages")


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
