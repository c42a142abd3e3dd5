"""Machines as a whole: boot, user data, power, confinement, and that nothing of them is ever left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import pytest

from localcloud.hosts.interface import HostError
from localcloud.hosts.process.hosts import ProcessHosts
from localcloud.hosts.process.sandbox import landlock_abi
from tests.support.embedded_cloud import wait_until
from tests.support.process_hosts import (
    NEEDS_OPENSSH,
    PORT,
    Machine,
    Rig,
    alive,
    answers,
    has_openssh,
    open_rig,
    processes_of,
)

pytestmark = pytest.mark.skipif(not has_openssh(), reason=NEEDS_OPENSSH)
confined = pytest.mark.skipif(landlock_abi() < 1, reason="this kernel has no Landlock")
scoped = pytest.mark.skipif(landlock_abi() < 6, reason="this kernel's Landlock does not scope signals")

HOST_KEY = asyncssh.generate_private_key("ssh-ed25519")


def cloud_config(*lines: str) -> str:
    return "\n".join(["#cloud-config", *lines, ""])


def indented(text: str) -> str:
    return "".join(f"    {line}\n" for line in text.splitlines())


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    yield from open_rig(tmp_path_factory.mktemp("hosts"))


@pytest.fixture(scope="module")
def machine(rig: Rig) -> Machine:
    return rig.boot()


# Boot


def test_ssh_opens_no_earlier_than_asked(rig: Rig) -> None:
    spec = rig.spec(boot_seconds=0.6)
    began = time.monotonic()
    rig.hosts.start(spec)
    assert rig.hosts.state(spec.instance_id).state == "booting"
    assert not answers(spec)
    assert rig.hosts.wait(spec.instance_id, "running", deadline_s=10)
    assert time.monotonic() - began >= 0.6
    assert answers(spec)


def test_a_machine_still_booting_can_be_stopped(rig: Rig) -> None:
    spec = rig.spec(boot_seconds=60)
    rig.hosts.start(spec)
    rig.hosts.stop(spec.instance_id)
    assert rig.hosts.state(spec.instance_id).state == "off"


def test_a_machine_that_is_on_cannot_be_started_again(machine: Machine) -> None:
    with pytest.raises(HostError, match="already on"):
        machine.rig.hosts.start(machine.spec)


def test_the_host_key_of_the_user_data_is_the_one_the_machine_shows(rig: Rig) -> None:
    private = HOST_KEY.export_private_key().decode()
    public = HOST_KEY.export_public_key().decode().strip()
    data = cloud_config(
        "ssh_deletekeys: true", "ssh_keys:", "  ed25519_private: |", indented(private), f"  ed25519_public: {public}"
    )
    machine = rig.boot(user_data=data)
    assert public.split()[1] in machine.console
    assert machine.say("echo pinned") == "pinned"


def test_a_host_key_made_at_boot_is_printed_on_the_console_and_kept_over_stop_and_start(rig: Rig) -> None:
    machine = rig.boot()
    assert machine.console.count("-----BEGIN SSH HOST KEY KEYS-----\nssh-ed25519 ") == 1
    words = machine.ssh_words()
    machine.again()
    assert subprocess.run([*words, "echo same"], capture_output=True, check=True).stdout == b"same\n"


def test_user_data_runs_once_and_per_boot_scripts_at_every_boot(rig: Rig) -> None:
    data = cloud_config(
        "write_files:",
        "- path: /var/lib/cloud/scripts/per-boot/10-note",
        '  permissions: "0755"',
        "  owner: root:root",
        "  content: |",
        "    #!/bin/sh",
        '    echo "$LOCALCLOUD_INSTANCE per-boot" >> ~/boots',
        "runcmd:",
        "- cd /",
        "- [sh, -c, 'echo $MARK runcmd from $PWD >> ~/boots']",
        "- echo to the console",
    )
    machine = rig.boot(user_data=data, MARK="my")
    assert machine.say("cloud-init status --wait") == "status: done"
    first = machine.say("cat boots").splitlines()
    assert first == [f"{machine.spec.instance_id} per-boot", "my runcmd from /"]
    assert "to the console\n" in machine.console
    machine.again()
    machine.say("cloud-init status --wait")
    assert machine.say("cat boots").splitlines() == [*first, first[0]]


def test_a_shell_script_is_user_data_too_and_its_failure_is_told(rig: Rig) -> None:
    machine = rig.boot(user_data="#!/bin/bash\necho script of $USER\nexit 3\n")
    assert machine.run("cloud-init status --wait").stdout == b"status: error\n"
    assert "script of ubuntu\n" in machine.console
    assert "exit code 3" in machine.console


# Power


def test_shutdown_ends_the_machine_with_all_that_detached_itself_and_tells_the_owner(rig: Rig) -> None:
    machine = rig.boot()
    pid = int(machine.say("setsid nohup sh -c 'sleep 300 & exec sleep 300' >/dev/null 2>&1 & echo $!"))
    assert alive(pid)
    machine.run("shutdown -h now")
    wait_until(lambda: machine.spec.instance_id in rig.shut_down)
    assert not alive(pid)
    assert processes_of(machine.spec.folder) == []
    assert not answers(machine.spec)
    assert rig.hosts.state(machine.spec.instance_id).cause == "shutdown"
    assert machine.spec.folder.exists()


def test_a_timed_shutdown_is_kept_by_the_machine_and_can_be_cancelled(rig: Rig) -> None:
    machine = rig.boot()
    assert "Shutdown scheduled" in machine.run("shutdown -h +480 'see you'").stderr.decode()
    assert "System off in 28800 seconds" in machine.console
    machine.say("shutdown -c")
    assert "cancelled" in machine.console
    assert machine.run("shutdown -h soon").returncode == 1
    # What "shutdown -h +N" sends, with a time no test has to wait a minute for.
    machine.say("echo off 1 > $HOME/../../run/control")
    assert rig.hosts.wait(machine.spec.instance_id, "off", deadline_s=5)
    wait_until(lambda: machine.spec.instance_id in rig.shut_down)


def test_reboot_kills_everything_and_boots_the_same_disk(rig: Rig) -> None:
    machine = rig.boot()
    pid = int(machine.say("touch kept; setsid sleep 300 >/dev/null 2>&1 & echo $!"))
    machine.run("reboot")
    wait_until(lambda: rig.hosts.state(machine.spec.instance_id).boots == 2)
    assert rig.hosts.wait(machine.spec.instance_id, "running", deadline_s=10)
    assert not alive(pid)
    assert machine.say("ls") == "kept"


def test_a_machine_whose_own_process_is_killed_boots_again_without_its_orphans(rig: Rig) -> None:
    machine = rig.boot()
    pid = int(machine.say("setsid sleep 300 >/dev/null 2>&1 & echo $!"))
    machine.run("kill -9 $PPID")
    wait_until(lambda: rig.hosts.state(machine.spec.instance_id).cause == "crash")
    assert rig.hosts.wait(machine.spec.instance_id, "running", deadline_s=10)
    assert not alive(pid)


def test_a_frozen_machine_says_nothing_until_it_is_thawed(rig: Rig) -> None:
    machine = rig.boot()
    rig.hosts.freeze(machine.spec.instance_id)
    wait_until(lambda: _state_letters(processes_of(machine.spec.folder)) <= {"T"})
    with pytest.raises(subprocess.TimeoutExpired):
        machine.run("true", timeout=0.5)
    rig.hosts.thaw(machine.spec.instance_id)
    assert machine.say("echo back") == "back"
    rig.hosts.freeze(machine.spec.instance_id)
    rig.hosts.stop(machine.spec.instance_id)


def _state_letters(pids: list[int]) -> set[str]:
    return {Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] for pid in pids}


def test_destroy_removes_the_folder_even_where_a_program_locked_it(rig: Rig) -> None:
    machine = rig.boot()
    machine.say("mkdir -p a/b; touch a/b/c; chmod 0 a/b a")
    rig.hosts.destroy(machine.spec.instance_id)
    assert not machine.spec.folder.exists()


def test_the_owner_may_destroy_a_machine_while_it_is_told_of_its_shutdown(tmp_path: Path, rig: Rig) -> None:
    ended = []

    def destroy(instance_id: str) -> None:
        hosts.destroy(instance_id)
        ended.append(instance_id)

    with ProcessHosts(tmp_path, on_shutdown=destroy) as hosts:
        machine = Rig(rig.folder, hosts, rig.key).boot()
        machine.run("poweroff")
        wait_until(lambda: ended == [machine.spec.instance_id])
    assert not machine.spec.folder.exists()


# Nothing is left


def test_orphans_are_reaped_and_leave_no_zombies(machine: Machine) -> None:
    server = int(machine.say("for i in 1 2 3 4 5; do (setsid sh -c 'sleep 0.05 & exit' &) ; done; echo $PPID"))
    children = Path(f"/proc/{server}/task/{server}/children")
    if not children.exists():
        pytest.skip("this kernel does not list children")
    wait_until(lambda: children.read_text() == "")


def test_thirty_two_machines_boot_at_once_and_closing_leaves_nothing(tmp_path: Path, rig: Rig) -> None:
    hosts = ProcessHosts(tmp_path / "cloud", on_shutdown=lambda _: None)
    fleet = Rig(tmp_path, hosts, rig.key)
    specs = [fleet.spec() for _ in range(32)]
    for spec in specs:
        hosts.start(spec)
    assert all(hosts.wait(spec.instance_id, "running", deadline_s=60) for spec in specs)
    hosts.close()
    assert processes_of(tmp_path) == []
    assert not any(answers(spec) for spec in specs)


_OWNER = """
import sys
from pathlib import Path
from localcloud.hosts.process.hosts import ProcessHosts
from localcloud.hosts.spec import HostSpec
folder, address, port, key = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
hosts = ProcessHosts(folder / "cloud", on_shutdown=print)
data = b"#!/bin/sh\\nsetsid nohup sleep 300 &\\necho $! > ~/sleeper\\n"
hosts.start(HostSpec("i-1", address, port, folder / "disk", "ubuntu", (key,), data))
hosts.wait("i-1", "running", deadline_s=10)
print("up", flush=True)
sys.stdin.read()
"""


def test_machines_die_with_an_owner_that_is_killed(tmp_path: Path) -> None:
    words = [sys.executable, "-c", _OWNER, str(tmp_path), "127.77.240.250", str(PORT), "ssh-ed25519 AAAA"]
    owner = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert owner.stdin
    assert owner.stdout
    with owner.stdin, owner.stdout:
        assert owner.stdout.readline() == b"up\n"
        note = tmp_path / "disk/home/ubuntu/sleeper"
        sleeper = wait_until(lambda: note.exists() and int(note.read_text() or 0))
        assert alive(sleeper)
        os.kill(owner.pid, signal.SIGKILL)
        owner.wait()
    wait_until(lambda: processes_of(tmp_path) == [])
    assert not alive(sleeper)


def test_a_home_belongs_to_one_owner_at_a_time(rig: Rig) -> None:
    with pytest.raises(HostError, match="another embedded cloud"):
        ProcessHosts(rig.folder / "cloud", on_shutdown=lambda _: None)


# Confinement


@confined
def test_a_machine_writes_its_own_folder_and_nothing_else(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("whole")
    machine.say(
        f"touch mine $TMPDIR/mine {machine.rig.folder}/cloud/cache/ours /dev/shm/stratus-test; rm /dev/shm/stratus-test"
    )
    for attempt in (
        f"touch {tmp_path}/new",
        f"echo > {tmp_path}/victim",
        f"rm {tmp_path}/victim",
        f"ln mine {tmp_path}/link",
    ):
        assert machine.run(attempt).returncode != 0, attempt
    assert [path.name for path in tmp_path.iterdir()] == ["victim"]
    assert (tmp_path / "victim").read_text() == "whole"
    assert machine.rig.hosts.state(machine.spec.instance_id).confined is True


@confined
@pytest.mark.parametrize("secret", ["user's home", "temporary folder", "other machine"])
def test_a_machine_cannot_read_what_is_not_its_own(machine: Machine, rig: Rig, tmp_path: Path, secret: str) -> None:
    other = rig.folder / "cloud/secret"
    for path in (other, tmp_path / "secret"):
        path.write_text("s3cret")
    places = {"user's home": Path.home(), "temporary folder": tmp_path / "secret", "other machine": other}
    attempt = machine.run(f"ls {places[secret]} && cat {places[secret]}")
    assert attempt.returncode != 0
    assert b"Permission denied" in attempt.stderr
    assert b"s3cret" not in attempt.stdout


@confined
def test_links_left_on_the_disk_do_not_lead_the_next_boot_outside(rig: Rig, tmp_path: Path) -> None:
    machine = rig.boot()
    machine.say(f"cd ../..; mv bin old; ln -s {tmp_path} bin")
    rig.hosts.stop(machine.spec.instance_id)
    rig.hosts.start(machine.spec)
    assert rig.hosts.wait(machine.spec.instance_id, "off", deadline_s=10)
    assert list(tmp_path.iterdir()) == []


@scoped
def test_a_machine_cannot_signal_processes_outside(machine: Machine) -> None:
    with subprocess.Popen(["sleep", "60"]) as outsider:
        try:
            assert b"not permitted" in machine.run(f"kill {outsider.pid}").stderr
            assert outsider.poll() is None
        finally:
            outsider.kill()


@confined
def test_python_environments_and_process_pools_work_in_confinement(machine: Machine) -> None:
    machine.say("python3 -m venv --without-pip v")
    script = "import sys, multiprocessing as m; print(sys.prefix, m.get_context('fork').Pool(2).map(abs, [-1, 2]))"
    assert machine.say(f'v/bin/python -c "{script}"') == f"{machine.home}/v [1, 2]"


@pytest.mark.parametrize("command", ["sudo true", "apt-get update", "systemctl status"])
def test_what_would_change_the_computer_is_refused_in_words(machine: Machine, command: str) -> None:
    refused = machine.run(command)
    assert refused.returncode == 1
    assert f"{command.split()[0]} is not available on a process host" in refused.stderr.decode()
