"""VMs with a tiny kernel, in real QEMU."""

from __future__ import annotations

import os
import queue
from pathlib import Path

from localcloud.core.addresses import VM_BLOCKS
from localcloud.hosts.spec import HostSpec
from localcloud.hosts.vm.hosts import VmHosts
from localcloud.hosts.vm.image import VmImage
from localcloud.hosts.vm.qemu import Accelerator, VmFiles
from tests.support.localcloud.tiny_kernel import GREETING, kernel

EMULATED = Accelerator("a test")
# The last block, which a cloud takes only if fifteen others run.
BLOCK = VM_BLOCKS[-1]


class Lab:
    """VMs with a tiny kernel, and the ids of those that have shut themselves down."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.ended = folder, queue.SimpleQueue[str]()
        self.image = VmImage(folder / "image, with a comma")
        self.image.folder.mkdir()
        self.image.kernel.write_bytes(kernel())
        self.image.initrd.write_bytes(b"initrd")
        self.image.disk.write_bytes(bytes(1 << 20))
        self.hosts = VmHosts(BLOCK, self.image, EMULATED, on_shutdown=self.ended.put, environ={})

    def spec(self, number: int = 4) -> HostSpec:
        """Return a host with addresses of its own."""
        private = str(BLOCK.network[number])
        public = str(BLOCK.public_network[number]) if BLOCK.public_network else ""
        return HostSpec(f"i-{number}", private, 22022, self.folder / f"i-{number}", "admin", public_address=public)

    def boots(self, spec: HostSpec) -> int:
        """Return how often a VM has booted, from its console."""
        console = VmFiles(spec.folder).console
        return console.read_bytes().count(GREETING) if console.exists() else 0

    def processes(self, spec: HostSpec) -> list[int]:
        """Return the QEMU processes of a VM."""
        return [int(name) for name in filter(str.isdigit, os.listdir("/proc")) if str(spec.folder) in _command(name)]


def _command(pid: str) -> str:
    try:
        return Path("/proc", pid, "cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""
