"""The script that mounts disks, on a folder with the stand-ins of a process host."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from localcloud.core.disk_folders import DiskFolders
from localcloud.hosts.process.disk import STAND_INS
from orchestrator.core import remote_scripts

VOLUME = "vol-0123456789abcdef0"


class Machine:
    """A host's folder, its volumes and the file systems that it shares."""

    def __init__(self, folder: Path) -> None:
        self.folders = DiskFolders(folder, folder / "machines")
        self.root = folder / "machines/i-1"
        self.home = self.root / "home/ubuntu"
        for path in (self.home, self.root / "run", self.root / "etc"):
            path.mkdir(parents=True)
        self.folders.shared.mkdir()
        (self.root / "run/filesystems").write_text(f"{self.folders.shared}\n")
        shutil.copytree(STAND_INS, self.root / "bin")
        for program in (self.root / "bin").iterdir():
            program.chmod(0o755)

    def mount(self, *arguments: str) -> tuple[int, list[str]]:
        """Run the script; return its exit status and its output."""
        env = {"HOME": str(self.home), "PATH": f"{self.root}/bin:{os.environ['PATH']}", "STRATUS_DEVICE_PATIENCE": "1"}
        command = ["sh", "-c", remote_scripts.text("disks.sh"), "disks.sh", *arguments]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout.splitlines()

    @property
    def fstab(self) -> str:
        """The table of file systems."""
        return (self.root / "etc/fstab").read_text()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A host with one empty volume."""
    host = Machine(tmp_path)
    host.folders.attach("i-1", VOLUME)
    return host


def volume(path: str = "/data", name: str = "data") -> list[str]:
    """Return the arguments of the mount of a volume."""
    return ["volume", name, f"sdf,{VOLUME}", path, "auto", "defaults"]


def test_an_empty_volume_gets_a_file_system_and_a_line_in_fstab_once(machine: Machine) -> None:
    first = machine.mount(*volume())
    (machine.root / "data/file").write_text("kept")
    second = machine.mount(*volume())

    assert first == second == (0, [f"@@mounted data {machine.root}/data"])
    assert (machine.root / "data/file").read_text() == "kept"
    (line,) = machine.fstab.splitlines()
    assert line.startswith("UUID=")
    assert line.endswith(f" {machine.root}/data auto defaults,nofail,x-systemd.device-timeout=30s,x-stratus.data 0 2")
    assert (machine.home / "stratus/state/mounts").read_text() == f"{machine.root}/data\n"


def test_a_volume_with_a_file_system_is_not_formatted(machine: Machine) -> None:
    machine.mount(*volume())
    (machine.root / "data/file").write_text("kept")
    (machine.root / "data").unlink()
    (machine.root / "etc/fstab").unlink()

    assert machine.mount(*volume("~/other", "other"))[0] == 0
    assert (machine.home / "other/file").read_text() == "kept"


def test_a_mount_point_moves_and_other_lines_of_fstab_stay(machine: Machine) -> None:
    (machine.root / "etc/fstab").write_text("LABEL=root / ext4 defaults 0 1\n")
    machine.mount(*volume("/old"))
    machine.mount(*volume("/new"))

    first, second = machine.fstab.splitlines()
    assert first == "LABEL=root / ext4 defaults 0 1"
    assert f" {machine.root}/new " in second


def test_a_shared_file_system_is_mounted_by_its_source(machine: Machine) -> None:
    machine.folders.make_shared("fs-1")
    source = "fs-1.efs.us-west-2.amazonaws.com:/"

    status, lines = machine.mount("shared", "lab", source, "/lab", "nfs4", "new,nfsvers=4.1,nofail")

    assert (status, lines) == (0, [f"@@mounted lab {machine.root}/lab"])
    assert machine.fstab == f"{source} {machine.root}/lab nfs4 nfsvers=4.1,nofail,x-stratus.lab 0 0\n"
    assert (machine.root / "lab").resolve() == machine.folders.shared / "fs-1"
    link = machine.home / "stratus/data/.mounts/lab"
    assert link.readlink() == machine.root / "lab"
    machine.mount("shared", "lab", source, "/lab", "nfs4", "nfsvers=4.1,nofail")
    assert link.readlink() == machine.root / "lab"


@pytest.mark.parametrize(
    ("arguments", "reason", "advice"),
    [
        (
            ["volume", "x", "sdf,vol-0fedcba9876543210", "/x", "auto", "defaults"],
            "x: volume vol-0fedcba9876543210 is attached, but no disk of this VM has its id",
            "look at: lsblk -o NAME,SERIAL",
        ),
        (
            ["local", "x", "-", "/x", "auto", "defaults"],
            "x: this instance type has no local disks",
            "use a type with NVMe disks (g5, g6, i4i, ...d), or remove the line from [volumes]",
        ),
        (
            ["shared", "x", "fs-9.efs.us-west-2.amazonaws.com:/", "/x", "nfs4", "nofail"],
            "x: mounting fs-9.efs.us-west-2.amazonaws.com:/ at {root}/x failed: mount.nfs4: Failed to resolve server "
            "fs-9.efs.us-west-2.amazonaws.com: Name or service not known",
            "check that the security groups allow it (NFS: port 2049; Lustre: 988 and 1018-1023)",
        ),
    ],
    ids=["volume", "local", "shared"],
)
def test_what_cannot_be_mounted_is_said_in_a_line_with_advice(
    machine: Machine, arguments: list[str], reason: str, advice: str
) -> None:
    status, lines = machine.mount(*arguments)

    assert status == 1
    assert lines[-2:] == [reason.format(root=machine.root), f"@@fix {advice}"]


def test_files_at_the_mount_point_are_not_hidden(machine: Machine) -> None:
    (machine.root / "data").mkdir()
    (machine.root / "data/file").touch()

    status, lines = machine.mount(*volume())

    assert status == 1
    assert lines[0] == f"data: {machine.root}/data is not empty: mounting there would hide its files"
