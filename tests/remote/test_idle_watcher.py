"""The watcher that shuts an idle host down, and what counts as use; run by a real sh."""

from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path

import pytest

from orchestrator.aws.launch.time_limits import TimeLimits
from tests.support.timer_host import TimerHost
from tests.support.waiting import wait_until


@pytest.mark.slow
def test_an_idle_host_shuts_down_and_records_the_reason(tmp_path: Path) -> None:
    vm = TimerHost.make(tmp_path, TimeLimits(480, idle_minutes=2))
    # Of an older launch, which had no such file.
    vm.state("used").unlink()
    with vm.watch(used=7) as watcher:
        wait_until(lambda: "-h now" in vm.shutdowns)
        watcher.kill()

    assert "2 min without a job" in (tmp_path / "var/lib/stratus/ended").read_text()
    assert 8 <= int((tmp_path / "var/lib/stratus/used").read_text()) <= 12


@pytest.mark.slow
def test_a_host_with_a_job_is_in_use_until_the_job_ends(tmp_path: Path) -> None:
    vm = TimerHost.make(tmp_path, TimeLimits(480, idle_minutes=1))
    state = tmp_path / "home/ubuntu/stratus/runs/r1/state"
    state.mkdir(parents=True)
    (tmp_path / "task.sh").write_text("read forever")
    with subprocess.Popen(["sh", str(tmp_path / "task.sh")], stdin=subprocess.PIPE) as job:
        (state / "main.pid").write_text(f"{job.pid}\n")
        with vm.watch() as watcher:
            wait_until(lambda: (tmp_path / "var/lib/stratus/used").exists())
            time.sleep(3)
            busy = vm.shutdowns
            job.communicate(b"\n", timeout=10)
            wait_until(lambda: "-h now" in vm.shutdowns)
            watcher.kill()

    assert busy == []


@pytest.mark.slow
def test_a_host_with_a_busy_gpu_is_in_use(tmp_path: Path) -> None:
    vm = TimerHost.make(tmp_path, TimeLimits(480, idle_minutes=1))
    vm.program("nvidia-smi", f'cat "{tmp_path}/utilization"')
    (tmp_path / "utilization").write_text("0\n97\n")
    with vm.watch() as watcher:
        time.sleep(3)
        busy = vm.shutdowns
        (tmp_path / "utilization").write_text("0\n3\n")
        wait_until(lambda: "-h now" in vm.shutdowns)
        watcher.kill()

    assert busy == []


@pytest.mark.slow
def test_a_host_with_an_ssh_session_is_in_use(tmp_path: Path) -> None:
    """Only connections to the SSH port of its own address count, not others of this computer."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        vm = TimerHost.make(tmp_path, TimeLimits(480, idle_minutes=1, ssh_port=port))
        vm.program("hostname", "echo 127.0.0.1")
        with socket.create_connection(("127.0.0.1", port)) as session, vm.watch() as watcher:
            accepted, _ = server.accept()
            time.sleep(3)
            busy = vm.shutdowns
            accepted.close()
            session.close()
            wait_until(lambda: "-h now" in vm.shutdowns)
            watcher.kill()

    assert busy == []


@pytest.mark.slow
def test_a_connection_that_only_holds_a_tunnel_open_is_no_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        vm = TimerHost.make(tmp_path, TimeLimits(480, idle_minutes=1, ssh_port=port))
        vm.program("hostname", "echo 127.0.0.1")
        with socket.create_connection(("127.0.0.1", port)) as session:
            accepted, _ = server.accept()
            folder = vm.root / "home/ubuntu/stratus/tunnels"
            folder.mkdir(parents=True)
            mark = folder / str(session.getsockname()[1])
            mark.write_text("used\n")
            # Of a connection that is gone: another one may get the port.
            gone = folder / "1"
            gone.write_text("quiet\n")
            with vm.watch() as watcher:
                time.sleep(3)
                used = vm.shutdowns
                mark.write_text("quiet\n")
                wait_until(lambda: "-h now" in vm.shutdowns)
                watcher.kill()
            accepted.close()

    assert used == []
    assert (mark.exists(), gone.exists()) == (True, False)
