"""A VM of the real image that runs one shell script as its first program: it boots in seconds, also when emulated."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from localcloud.core.addresses import AddressBlock
from localcloud.hosts import system_files
from localcloud.hosts.vm import qemu
from localcloud.hosts.vm.image import VmImage
from localcloud.hosts.vm.qemu import Accelerator, VmFiles

_PROLOGUE = """#!/bin/sh
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
export PATH HOME
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmpfs /run
ip link set lo up
/lib/systemd/systemd-udevd --daemon
udevadm trigger
udevadm settle
"""
_EPILOGUE = "\necho @@end\nsync\necho o >/proc/sysrq-trigger\nsleep 60\n"
_START = """/bin/busybox ip link set eth0 up
/bin/busybox ip addr add {address}/{prefix} dev eth0
/bin/busybox umount /proc
exec /bin/busybox switch_root /root /bin/sh /etc/localcloud/script
"""


def run(
    folder: Path,
    image: VmImage,
    accelerator: Accelerator,
    block: AddressBlock,
    script: str,
    *,
    address: str,
    devices: Sequence[str] = (),
    files: dict[str, str] | None = None,
    timeout_s: float = 300.0,
) -> list[str]:
    """Boot a VM on the disk in a folder, which stays; return what the script printed.

    :param address: private address.
    :param devices: further options of QEMU.
    :param files: path without the first slash -> content, besides the script.
    """
    paths = VmFiles(folder)
    folder.mkdir(exist_ok=True)
    if not paths.disk.exists():
        qemu.create_disk(image, paths.disk)
    start = _START.format(address=address, prefix=block.space.prefixlen)
    program = _PROLOGUE + script + _EPILOGUE
    archive = {"etc/localcloud/network": start, "etc/localcloud/script": program, **(files or {})}
    paths.boot.write_bytes(system_files.to_tar(archive))
    # A file server has the same devices up to its own disk.
    qemu.create_empty(paths.content, 1)
    command = [*qemu.file_server_command(folder, block, image, accelerator), *devices]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, check=False)
    lines = paths.console.read_text(errors="replace").splitlines()
    paths.console.unlink()
    assert "@@end" in lines, (lines[-20:], done.stderr)
    return lines
