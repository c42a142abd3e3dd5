"""apt.sh and requirements.sh: locks, and disks that are full."""

from __future__ import annotations

from tests.support.host_tools import HostWithTools, fake_disk, fix_of, host, run_step

__all__ = ["host"]

LOCKED = "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 4711 (unattended-upgr)"


def test_the_holder_of_apts_lock_is_reported_and_waited_for(host: HostWithTools) -> None:
    """Reported once, not at every attempt; no lock is removed and no process killed."""
    tries = f'echo "$@" >>{host.home}/calls\n[ "$(wc -l <{host.home}/calls)" -gt 2 ]'
    host.tool("apt-get", f'{tries} || {{ echo "{LOCKED}"; exit 100; }}\n')
    host.tool("sleep", "exit 0\n")
    status, lines = run_step(host, "apt.sh", "docker.io")
    calls = [call.split()[3:] for call in (host.home / "calls").read_text().splitlines()]

    assert status == 0
    assert lines.count("@@say another apt runs here (unattended-upgr, pid 4711): waiting") == 1
    assert calls == [["update"]] * 3 + [["install", "docker.io"]]


def test_a_lock_that_is_never_released_is_one_line(host: HostWithTools) -> None:
    host.tool("apt-get", f'echo "{LOCKED}"\nexit 100\n')
    status, lines = run_step(HostWithTools(host.home, {"STRATUS_APT_PATIENCE": "1"}), "apt.sh", "docker.io")

    assert status == 1
    assert lines[-1] == "another apt still runs here after 1 s (unattended-upgr, pid 4711)"
    assert fix_of(lines) == "InstallDeps() again when it is done"


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
