"""Shared file systems, local disks and volumes of VMs: with a tiny kernel, and on request with the real image."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from localcloud.hosts.vm import image, qemu
from localcloud.hosts.vm.disks import VmDisks
from localcloud.hosts.vm.file_servers import FileServers
from localcloud.hosts.vm.image import VmImage
from localcloud.hosts.vm.qemu import Accelerator, VmFiles
from orchestrator.aws.disks import file_systems
from orchestrator.aws.disks.mounts import EFS, Mount
from orchestrator.core import remote_scripts
from tests.support.localcloud import script_vm
from tests.support.localcloud.tiny_kernel import GREETING
from tests.support.localcloud.vm_lab import BLOCK, EMULATED, Lab
from tests.support.waiting import wait_until

pytestmark = pytest.mark.skipif(
    not shutil.which(qemu.PROGRAM) or not shutil.which("qemu-img"),
    reason="QEMU is not installed: apt-get install qemu-system-x86 qemu-utils",
)
FILE_SYSTEM = "fs-0a1b"
TARGET = str(BLOCK.network[9])


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    lab = Lab(tmp_path)
    yield lab
    lab.hosts.close()


def test_a_file_server_lives_as_long_as_its_file_system(lab: Lab, tmp_path: Path) -> None:
    servers = FileServers(tmp_path / "filesystems", BLOCK, lab.image, EMULATED)
    disks = VmDisks(tmp_path, tmp_path, servers, lab.hosts.plug, lab.hosts.unplug)
    folder = tmp_path / "filesystems" / FILE_SYSTEM

    def is_up() -> bool:
        console = VmFiles(folder).console
        return console.exists() and GREETING in console.read_bytes()

    disks.make_shared(FILE_SYSTEM)
    disks.add_target(TARGET, FILE_SYSTEM)
    wait_until(is_up)
    assert (tmp_path / "filesystems/targets" / TARGET).read_text() == f"{FILE_SYSTEM}\n"
    disks.remove_target(TARGET)
    disks.delete_shared(FILE_SYSTEM)
    wait_until(lambda: not folder.exists())
    disks.make_shared("fs-0a1c")
    servers.close()
    assert not (tmp_path / "filesystems/fs-0a1c").exists()


def test_volumes_stay_plugged_over_a_reboot_and_local_disks_end_with_a_stop(lab: Lab, tmp_path: Path) -> None:
    servers = FileServers(tmp_path / "filesystems", BLOCK, lab.image, EMULATED)
    disks = VmDisks(tmp_path, tmp_path, servers, lab.hosts.plug, lab.hosts.unplug)
    spec = replace(lab.spec(), local_disks_gib=(1,))
    disks.attach(spec.instance_id, "vol-1", 1)
    lab.hosts.start(spec)
    wait_until(lambda: lab.boots(spec) == 1)
    content, local = tmp_path / "volumes/vol-1/content.img", qemu.local_disk(spec, 0)
    assert [path.stat().st_size for path in (content, local)] == [1 << 30, 1 << 30]
    for path in (content, local):
        path.write_bytes(b"written")

    lab.hosts.reboot(spec.instance_id)
    wait_until(lambda: lab.boots(spec) == 2)
    assert [path.read_bytes() for path in (content, local)] == [b"written"] * 2
    disks.attach(spec.instance_id, "vol-2", 1)
    disks.detach(spec.instance_id, "vol-1")
    lab.hosts.stop(spec.instance_id)
    lab.hosts.start(spec)
    wait_until(lambda: lab.boots(spec) == 3)
    (pid,) = lab.processes(spec)
    command = Path(f"/proc/{pid}/cmdline").read_text()
    assert ("serial=vol1" in command, "serial=vol2" in command) == (False, True)
    assert content.read_bytes() == b"written"
    assert local.stat().st_size == 1 << 30
    servers.close()


# -- the real image


@pytest.fixture(scope="module")
def real() -> tuple[VmImage, Accelerator]:
    """The image of VMs, if the caller wants to wait for emulated VMs."""
    if not os.environ.get("STRATUS_TEST_VMS"):
        pytest.skip("boots real VMs, which takes minutes without KVM: STRATUS_TEST_VMS=1")
    vm_image = image.find()
    if not vm_image.exists:
        pytest.skip("the image is not built: python -m localcloud.hosts.vm.image")
    return vm_image, qemu.choose_accelerator(vm_image)


def test_what_one_vm_writes_another_reads_also_after_a_reboot(
    real: tuple[VmImage, Accelerator], tmp_path: Path
) -> None:
    servers = FileServers(tmp_path / "filesystems", BLOCK, *real)
    servers.make(FILE_SYSTEM)
    servers.add_address(FILE_SYSTEM, TARGET)
    options = file_systems.mount_options(Mount("shared", EFS, FILE_SYSTEM, "/shared"))
    mount = (
        f"mkdir -p /shared; echo '{TARGET}:/ /shared nfs4 {options},x-stratus.shared 0 0' >/etc/fstab; mount /shared\n"
    )
    try:
        first = script_vm.run(
            tmp_path / "a",
            *real,
            BLOCK,
            f"{mount}date >/shared/file; echo content >>/shared/file",
            address=str(BLOCK.network[4]),
        )
        second = script_vm.run(
            tmp_path / "b",
            *real,
            BLOCK,
            f"{mount}tail -n 1 /shared/file; mount | grep shared",
            address=str(BLOCK.network[5]),
        )
        # The line of fstab is on its disk now.
        again = script_vm.run(
            tmp_path / "b", *real, BLOCK, "mount -a; tail -n 1 /shared/file", address=str(BLOCK.network[5])
        )
    finally:
        servers.close()
    assert "@@end" in first
    assert "content" in second
    assert any("type nfs4" in line and "vers=4.1" in line for line in second)
    assert "content" in again


def test_local_disks_become_one_and_keep_their_content_over_a_reboot(
    real: tuple[VmImage, Accelerator], tmp_path: Path
) -> None:
    devices = ["-device", "virtio-scsi-pci,id=local"]
    for number in range(2):
        path = tmp_path / f"local-{number}.img"
        qemu.create_empty(path, 1)
        devices += ["-drive", f"if=none,id=local-{number},file={path},format=raw"]
        devices += ["-device", f"scsi-hd,bus=local.0,drive=local-{number},vendor=NVMe,product=Instance Storage"]
    # systemd waits for devices; this VM has none.
    script = (
        "modprobe -a virtio_scsi sd_mod; sleep 2; udevadm settle; "
        "sh /etc/localcloud/disks.sh local scratch - /scratch auto defaults; df -k /scratch | tail -n 1; {}"
    )
    files = {"etc/localcloud/disks.sh": remote_scripts.text("disks.sh")}
    address = str(BLOCK.network[4])

    first = script_vm.run(
        tmp_path / "vm",
        *real,
        BLOCK,
        script.format("echo content >/scratch/file; cat /proc/mdstat"),
        address=address,
        devices=devices,
        files=files,
    )
    again = script_vm.run(
        tmp_path / "vm", *real, BLOCK, script.format("cat /scratch/file"), address=address, devices=devices, files=files
    )
    assert "@@mounted scratch /scratch" in first
    assert any("raid0" in line for line in first)
    assert any(
        line.split()[-1:] == ["/scratch"] and int(line.split()[1]) > 1_500_000
        for line in first
        if " /scratch" in line and "%" in line
    )
    assert "content" in again
