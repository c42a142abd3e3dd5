"""Control of process hosts: start, stop, freeze, crashes, and cleanup."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from localcloud.core.process_tree import is_alive
from localcloud.hosts.interface import HostError
from localcloud.hosts.process.hosts import ProcessHosts
from tests.support.localcloud.clients import wait_until
from tests.support.localcloud.process_hosts import (
    NEEDS_OPENSSH,
    PORT,
    HostRig,
    RunningHost,
    accepts_connections,
    has_openssh,
    open_rig,
    processes_of,
)

pytestmark = pytest.mark.skipif(not has_openssh(), reason=NEEDS_OPENSSH)


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostRig]:
    yield from open_rig(tmp_path_factory.mktemp("hosts"))


@pytest.fixture(scope="module")
def host(rig: HostRig) -> RunningHost:
    return rig.boot()


def test_a_booting_host_can_be_stopped(rig: HostRig) -> None:
    spec = rig.spec(boot_seconds=60)
    rig.hosts.start(spec)
    rig.hosts.stop(spec.instance_id)
    assert rig.hosts.state(spec.instance_id).state == "off"


def test_a_host_that_has_just_begun_to_boot_reboots_when_it_is_told_to(rig: HostRig) -> None:
    spec = rig.spec()
    rig.hosts.start(spec)
    rig.hosts.reboot(spec.instance_id)

    assert rig.hosts.wait(spec.instance_id, "running", deadline_s=30)
    assert rig.hosts.state(spec.instance_id).cause == "reboot"


def test_a_host_that_is_on_cannot_be_started_again(host: RunningHost) -> None:
    with pytest.raises(HostError, match="already on"):
        host.rig.hosts.start(host.spec)


def test_a_host_whose_process_is_killed_reboots_without_orphans(rig: HostRig) -> None:
    host = rig.boot()
    pid = int(host.output_of("setsid sleep 300 >/dev/null 2>&1 & echo $!"))
    host.run("kill -9 $PPID")
    wait_until(lambda: rig.hosts.state(host.spec.instance_id).cause == "crash")
    assert rig.hosts.wait(host.spec.instance_id, "running", deadline_s=10)
    assert not is_alive(pid)


def test_a_frozen_host_is_silent_until_it_is_thawed(rig: HostRig) -> None:
    host = rig.boot()
    rig.hosts.freeze(host.spec.instance_id)
    wait_until(lambda: _state_letters(processes_of(host.spec.folder)) <= {"T"})
    with pytest.raises(subprocess.TimeoutExpired):
        host.run("true", timeout=0.5)
    rig.hosts.thaw(host.spec.instance_id)
    assert host.output_of("echo back") == "back"
    rig.hosts.freeze(host.spec.instance_id)
    rig.hosts.stop(host.spec.instance_id)


def _state_letters(pids: list[int]) -> set[str]:
    return {Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] for pid in pids}


def test_destroy_removes_folders_without_permissions(rig: HostRig) -> None:
    host = rig.boot()
    host.output_of("mkdir -p a/b; touch a/b/c; chmod 0 a/b a")
    rig.hosts.destroy(host.spec.instance_id)
    assert not host.spec.folder.exists()


def test_the_owner_can_destroy_a_host_in_its_shutdown_callback(tmp_path: Path, rig: HostRig) -> None:
    ended: list[str] = []

    def destroy(instance_id: str) -> None:
        hosts.destroy(instance_id)
        ended.append(instance_id)

    with ProcessHosts(tmp_path, on_shutdown=destroy) as hosts:
        host = HostRig(rig.folder, hosts, rig.key).boot()
        host.run("poweroff")
        wait_until(lambda: ended == [host.spec.instance_id])
    assert not host.spec.folder.exists()


@pytest.mark.slow
def test_thirty_two_hosts_boot_at_once_and_closing_leaves_nothing(tmp_path: Path, rig: HostRig) -> None:
    hosts = ProcessHosts(tmp_path / "cloud", on_shutdown=lambda _: None)
    fleet = HostRig(tmp_path, hosts, rig.key)
    specs = [fleet.spec() for _ in range(32)]
    for spec in specs:
        hosts.start(spec)
    assert all(hosts.wait(spec.instance_id, "running", deadline_s=60) for spec in specs)
    hosts.close()
    assert processes_of(tmp_path) == []
    assert not any(accepts_connections(spec) for spec in specs)


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


def test_hosts_end_with_a_killed_owner(tmp_path: Path) -> None:
    args = [sys.executable, "-c", _OWNER, str(tmp_path), "127.77.240.250", str(PORT), "ssh-ed25519 AAAA"]
    owner = subprocess.Popen(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert owner.stdin
    assert owner.stdout
    with owner.stdin, owner.stdout:
        assert owner.stdout.readline() == b"up\n"
        note = tmp_path / "disk/home/ubuntu/sleeper"
        sleeper = wait_until(lambda: note.exists() and int(note.read_text() or 0))
        assert is_alive(sleeper)
        os.kill(owner.pid, signal.SIGKILL)
        owner.wait()
    wait_until(lambda: processes_of(tmp_path) == [])
    assert not is_alive(sleeper)


def test_a_home_has_one_owner_at_a_time(rig: HostRig) -> None:
    with pytest.raises(HostError, match="another embedded cloud"):
        ProcessHosts(rig.folder / "cloud", on_shutdown=lambda _: None)
