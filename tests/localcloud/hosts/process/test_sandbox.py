"""Sandbox of process hosts: Landlock rules."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from localcloud.hosts.process.sandbox import (
    EXECUTE,
    IOCTL_DEV,
    REFER,
    TRUNCATE,
    Confinement,
    handled_rights,
    landlock_abi,
)
from tests.support.localcloud.process_hosts import HostRig, RunningHost, open_rig


@pytest.mark.skipif(landlock_abi() < 1, reason="this kernel has no Landlock")
@pytest.mark.parametrize("newest", range(1, 8))
def test_every_version_of_landlock_protects_files_outside(tmp_path: Path, newest: int) -> None:
    (tmp_path / "own").mkdir()
    script = f"""
from pathlib import Path
from localcloud.hosts.process.sandbox import Rules, confine
own = Path({str(tmp_path / "own")!r})
held = confine(Rules((Path("/usr"),), (), (own,)), newest={newest})
(own / "file").write_text("x")
try:
    (own.parent / "file").write_text("x")
except PermissionError:
    print(held)
"""
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert process.stdout.startswith("confined by Landlock ABI")
    assert [path.name for path in tmp_path.iterdir()] == ["own"]


def test_missing_confinement_is_reported() -> None:
    assert str(Confinement(0)).startswith("NOT confined")
    assert "not signals to your other processes" in str(Confinement(5))


def test_older_kernels_govern_fewer_rights() -> None:
    assert handled_rights(1) & (REFER | TRUNCATE | IOCTL_DEV) == 0
    assert handled_rights(3) & (REFER | TRUNCATE | IOCTL_DEV) == REFER | TRUNCATE
    assert handled_rights(7) & (IOCTL_DEV | EXECUTE) == IOCTL_DEV | EXECUTE


confined = pytest.mark.skipif(landlock_abi() < 1, reason="this kernel has no Landlock")


scoped = pytest.mark.skipif(landlock_abi() < 6, reason="this kernel's Landlock does not scope signals")


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostRig]:
    yield from open_rig(tmp_path_factory.mktemp("hosts"))


@pytest.fixture(scope="module")
def host(rig: HostRig) -> RunningHost:
    return rig.boot()


@confined
def test_a_host_can_write_only_its_own_folder(host: RunningHost, tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("whole")
    host.output_of(
        f"touch mine $TMPDIR/mine {host.rig.folder}/cloud/cache/ours /dev/shm/stratus-test; rm /dev/shm/stratus-test"
    )
    for attempt in (
        f"touch {tmp_path}/new",
        f"echo > {tmp_path}/victim",
        f"rm {tmp_path}/victim",
        f"ln mine {tmp_path}/link",
    ):
        assert host.run(attempt).returncode != 0, attempt
    assert [path.name for path in tmp_path.iterdir()] == ["victim"]
    assert (tmp_path / "victim").read_text() == "whole"
    assert host.rig.hosts.state(host.spec.instance_id).confined is True


@confined
@pytest.mark.parametrize("secret", ["user's home", "temporary folder", "other machine"])
def test_a_host_cannot_read_private_files(host: RunningHost, rig: HostRig, tmp_path: Path, secret: str) -> None:
    other = rig.folder / "cloud/secret"
    for path in (other, tmp_path / "secret"):
        path.write_text("s3cret")
    places = {"user's home": Path.home(), "temporary folder": tmp_path / "secret", "other machine": other}
    attempt = host.run(f"ls {places[secret]} && cat {places[secret]}")
    assert attempt.returncode != 0
    assert b"Permission denied" in attempt.stderr
    assert b"s3cret" not in attempt.stdout


@confined
def test_links_on_the_disk_do_not_lead_the_next_boot_outside(rig: HostRig, tmp_path: Path) -> None:
    host = rig.boot()
    host.output_of(f"cd ../..; mv bin old; ln -s {tmp_path} bin")
    rig.hosts.stop(host.spec.instance_id)
    rig.hosts.start(host.spec)
    assert rig.hosts.wait(host.spec.instance_id, "off", deadline_s=10)
    assert list(tmp_path.iterdir()) == []


@scoped
def test_a_host_cannot_signal_processes_outside(host: RunningHost) -> None:
    with subprocess.Popen(["sleep", "60"]) as outsider:
        try:
            assert b"not permitted" in host.run(f"kill {outsider.pid}").stderr
            assert outsider.poll() is None
        finally:
            outsider.kill()


@confined
def test_virtual_environments_and_process_pools_work_in_the_sandbox(host: RunningHost) -> None:
    host.output_of("python3 -m venv --without-pip v")
    script = "import sys, multiprocessing as m; print(sys.prefix, m.get_context('fork').Pool(2).map(abs, [-1, 2]))"
    assert host.output_of(f'v/bin/python -c "{script}"') == f"{host.home}/v [1, 2]"
