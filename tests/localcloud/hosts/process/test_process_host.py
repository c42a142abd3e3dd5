"""One process host: boot, user data, power."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import pytest

from localcloud.core.process_tree import is_alive
from tests.support.localcloud.clients import wait_until
from tests.support.localcloud.process_hosts import (
    NEEDS_OPENSSH,
    HostRig,
    RunningHost,
    accepts_connections,
    has_openssh,
    open_rig,
    processes_of,
)

pytestmark = pytest.mark.skipif(not has_openssh(), reason=NEEDS_OPENSSH)


HOST_KEY = asyncssh.generate_private_key("ssh-ed25519")


def cloud_config(*lines: str) -> str:
    return "\n".join(["#cloud-config", *lines, ""])


def indented(text: str) -> str:
    return "".join(f"    {line}\n" for line in text.splitlines())


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostRig]:
    yield from open_rig(tmp_path_factory.mktemp("hosts"))


@pytest.fixture(scope="module")
def host(rig: HostRig) -> RunningHost:
    return rig.boot()


def test_ssh_opens_after_the_boot_time(rig: HostRig) -> None:
    spec = rig.spec(boot_seconds=0.6)
    began = time.monotonic()
    rig.hosts.start(spec)
    assert rig.hosts.state(spec.instance_id).state == "booting"
    assert not accepts_connections(spec)
    assert rig.hosts.wait(spec.instance_id, "running", deadline_s=10)
    assert time.monotonic() - began >= 0.6
    assert accepts_connections(spec)


def test_the_host_key_of_the_user_data_is_used(rig: HostRig) -> None:
    private = HOST_KEY.export_private_key().decode()
    public = HOST_KEY.export_public_key().decode().strip()
    data = cloud_config(
        "ssh_deletekeys: true", "ssh_keys:", "  ed25519_private: |", indented(private), f"  ed25519_public: {public}"
    )
    host = rig.boot(user_data=data)
    assert public.split()[1] in host.console
    assert host.output_of("echo pinned") == "pinned"


def test_a_generated_host_key_is_on_the_console_and_kept_over_stop_and_start(rig: HostRig) -> None:
    host = rig.boot()
    assert host.console.count("-----BEGIN SSH HOST KEY KEYS-----\nssh-ed25519 ") == 1
    words = host.ssh_command()
    host.restart()
    assert subprocess.run([*words, "echo same"], capture_output=True, check=True).stdout == b"same\n"


def test_user_data_runs_once_and_per_boot_scripts_at_every_boot(rig: HostRig) -> None:
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
    host = rig.boot(user_data=data, MARK="my")
    assert host.output_of("cloud-init status --wait") == "status: done"
    first = host.output_of("cat boots").splitlines()
    assert first == [f"{host.spec.instance_id} per-boot", "my runcmd from /"]
    assert "to the console\n" in host.console
    host.restart()
    host.output_of("cloud-init status --wait")
    assert host.output_of("cat boots").splitlines() == [*first, first[0]]


def test_user_data_can_be_a_script_and_its_failure_is_reported(rig: HostRig) -> None:
    host = rig.boot(user_data="#!/bin/bash\necho script of $USER\nexit 3\n")
    assert host.run("cloud-init status --wait").stdout == b"status: error\n"
    assert "script of ubuntu\n" in host.console
    assert "exit code 3" in host.console


def test_shutdown_kills_detached_processes_and_notifies_the_owner(rig: HostRig) -> None:
    host = rig.boot()
    pid = int(host.output_of("setsid nohup sh -c 'sleep 300 & exec sleep 300' >/dev/null 2>&1 & echo $!"))
    assert is_alive(pid)
    host.run("shutdown -h now")
    wait_until(lambda: host.spec.instance_id in rig.shut_down)
    assert not is_alive(pid)
    assert processes_of(host.spec.folder) == []
    assert not accepts_connections(host.spec)
    assert rig.hosts.state(host.spec.instance_id).cause == "shutdown"
    assert host.spec.folder.exists()


@pytest.mark.slow
def test_a_timed_shutdown_outlives_its_session_and_can_be_cancelled(rig: HostRig) -> None:
    host = rig.boot()
    assert "Shutdown scheduled" in host.run("shutdown -h +480 'see you'").stderr.decode()
    assert "System off in 28800 seconds" in host.console
    host.output_of("shutdown -c")
    assert "cancelled" in host.console
    assert host.run("shutdown -h soon").returncode == 1
    # What "shutdown -h +N" sends, with a time no test has to wait a minute for.
    host.output_of("echo off 1 > $HOME/../../run/control")
    assert rig.hosts.wait(host.spec.instance_id, "off", deadline_s=5)
    wait_until(lambda: host.spec.instance_id in rig.shut_down)


def test_reboot_kills_all_processes_and_keeps_the_disk(rig: HostRig) -> None:
    host = rig.boot()
    pid = int(host.output_of("touch kept; setsid sleep 300 >/dev/null 2>&1 & echo $!"))
    host.run("reboot")
    wait_until(lambda: rig.hosts.state(host.spec.instance_id).boots == 2)
    assert rig.hosts.wait(host.spec.instance_id, "running", deadline_s=10)
    assert not is_alive(pid)
    assert host.output_of("ls") == "kept"


def test_orphans_are_reaped(host: RunningHost) -> None:
    server = int(host.output_of("for i in 1 2 3 4 5; do (setsid sh -c 'sleep 0.05 & exit' &) ; done; echo $PPID"))
    children = Path(f"/proc/{server}/task/{server}/children")
    if not children.exists():
        pytest.skip("this kernel does not list children")
    wait_until(lambda: children.read_text() == "")


@pytest.mark.parametrize("command", ["sudo true", "apt-get update", "systemctl status"])
def test_commands_that_would_change_the_computer_are_refused(host: RunningHost, command: str) -> None:
    refused = host.run(command)
    assert refused.returncode == 1
    assert f"{command.split()[0]} is not available on a process host" in refused.stderr.decode()
