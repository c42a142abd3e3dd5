"""A VM in use on a real systemd, with its own PAM, sshd and package manager."""

from __future__ import annotations

import subprocess
import time

import pytest

from orchestrator.aws.launch.time_limits import TimeLimits
from orchestrator.core import remote_scripts
from tests.support.paths import ROOT
from tests.support.script_host import states
from tests.support.systems.system_vm import Boot, SystemVM
from tests.support.waiting import wait_until

METADATA = ROOT / "tests" / "support" / "systems" / "metadata.py"
NOTICE = """{"action": "terminate", "time": "2026-11-22T10:00:00Z"}"""


def rotate(vm: SystemVM) -> str:
    """Let a VM replace its host key, and trust the new one only; return it."""

    def run(*arguments: str) -> list[str]:
        return vm.login.run(remote_scripts.inline_command("rotate.sh", *arguments)).split(maxsplit=1)

    boot_key = vm.host_key
    mark, staged = run("stage", boot_key)
    assert mark == "@@staged", staged
    assert run("adopt", boot_key, staged.strip()) == ["@@current", staged]
    vm.trust(staged.strip())
    return staged.strip()


@pytest.mark.parametrize("unit", ["ssh.service", "ssh.socket"])
def test_a_host_key_is_replaced_and_outlives_a_stop_and_start_which_begins_the_time_anew(boot: Boot, unit: str) -> None:
    """With sshd as a service, and started by systemd for each connection."""
    with boot(TimeLimits(30), setup=f"systemctl disable ssh.service; systemctl enable {unit}") as vm:
        key = rotate(vm)
        assert vm.login.run("echo in").strip() == "in"
        vm.stop()
        # As if it had been off for longer than its time.
        past = int(time.time()) - 3600
        vm.put({"/var/lib/stratus/until": f"{past}\n"})
        vm.put({"/var/lib/stratus/seen": ""}, age_s=7200)
        vm.start()

        assert vm.login.run("cut -d' ' -f1,2 /etc/ssh/ssh_host_ed25519_key.pub").strip() == key
        assert 25 * 60 < vm.seconds_left <= 30 * 60


def test_sessions_and_jobs_keep_a_vm_up_and_without_them_it_shuts_down(boot: Boot) -> None:
    """The watch looks once a minute: at the first look a session is open, at the second a job runs."""
    with boot(TimeLimits(30, idle_minutes=1)) as vm:
        with subprocess.Popen([*vm.login.shell, "sleep 70; echo up; sleep 15"], stdout=-1, text=True) as session:
            assert session.stdout
            assert session.stdout.readline().strip() == "up"
            # Before the session ends: no look of the watch may fall between them.
            vm.login.start(vm.run_id, main="sleep 75; echo finished")
        vm.wait_off(300)

        assert vm.file(f"/home/debian/stratus/runs/{vm.run_id}/log/main.log") == "finished"
        assert vm.file(f"/home/debian/stratus/runs/{vm.run_id}/state/main.rc") == "0"
        assert vm.file("/var/lib/stratus/ended").startswith("ended after 1 min without a job, ")


def test_packages_are_installed_and_a_job_outlives_its_session_until_a_spot_notice_ends_it(boot: Boot) -> None:
    """Engine and venv come from the distribution; the job keeps its shared memory after the logout."""
    setup = "dpkg --purge --force-depends python3-venv $(dpkg-query -W -f '${Package} ' 'python3.*-venv')"
    plan = [["python", "python.sh", "demo", "python3", "no"], ["engine", "engine.sh"]]
    # A program of its own: the shell that runs the job's command waits for it, and gets no signal.
    job = """sh -c 'trap "cat /dev/shm/mark; exit 9" TERM; echo kept >/dev/shm/mark; echo began; sleep 600 & wait'"""
    with boot(TimeLimits(30), setup=setup) as vm:
        vm.put({"/run-metadata.py": METADATA.read_text()})
        vm.root("ip address add 169.254.169.254/32 dev lo; systemd-run --quiet python3 /run-metadata.py /notice")
        vm.login.start(vm.run_id, main=job)
        # No session of the user is left: logind may remove what belongs to the sessions.
        wait_until(
            lambda: vm.root("loginctl show-user debian --property State") == "State=closing", timeout_s=60, pause_s=0.5
        )

        code, lines = vm.login.install(plan)
        assert (code, states(lines)) == (0, ["python done", "engine done"]), "\n".join(lines)
        code, lines = vm.login.install(plan)
        assert states(lines) == ["python unchanged", "engine unchanged"]
        assert vm.login.run("docker version --format '{{.Server.Os}}'").strip() == "linux"
        assert vm.login.run("stratus/venvs/demo/bin/python -m pip --version").startswith("pip ")

        assert vm.login.run(f"cat stratus/runs/{vm.run_id}/log/main.log").strip() == "began"
        vm.put({"/notice": NOTICE})
        assert [line for line in vm.login.follow(vm.run_id) if not line.startswith("@@")] == [
            "began",
            "AWS reclaims this spot instance at 2026-11-22T10:00:00Z; the job received SIGTERM",
            "kept",
        ]
        assert vm.login.run(f"cat stratus/runs/{vm.run_id}/state/spot").strip() == "2026-11-22T10:00:00Z"
        assert vm.login.exit_statuses(vm.run_id) == {"main": "9"}
