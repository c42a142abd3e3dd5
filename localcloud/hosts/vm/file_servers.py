"""NFS servers behind EFS: for each file system a small VM with the kernel's own server, in the network of the VMs."""

from __future__ import annotations

import contextlib
import logging
import shutil
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from localcloud.core.addresses import AddressBlock
from localcloud.hosts import system_files
from localcloud.hosts.interface import HostError
from localcloud.hosts.vm import qemu
from localcloud.hosts.vm.image import VmImage
from localcloud.hosts.vm.qemu import Accelerator, VmFiles

_log = logging.getLogger(__name__)
_PROGRAM = Path(__file__).with_name("file_server.sh")
# The initrd's program reads it before it starts the system, which a server has no use for.
_START = """/bin/busybox ip link set eth0 up
/bin/busybox umount /proc
exec /bin/busybox switch_root /root /bin/sh /etc/localcloud/file-server
"""
_READY = b"ready"


@dataclass
class _Server:
    """One server; used on the servers' own thread only.

    :param addresses: of the mount targets.
    :param is_ready: True once it takes addresses.
    """

    folder: Path
    process: subprocess.Popen[bytes] | None = None
    addresses: list[str] = field(default_factory=list)
    is_ready: bool = False


class FileServers:
    """Servers of one cloud. Every method returns at once; safe to use from several threads.

    :param folder: has a folder for each file system.
    """

    def __init__(self, folder: Path, block: AddressBlock, image: VmImage, accelerator: Accelerator) -> None:
        self._folder, self._block, self._image, self._accelerator = folder, block, image, accelerator
        self._servers: dict[str, _Server] = {}
        # One thread, which stays: the kernel ends a VM with the thread that started it.
        self._lane = ThreadPoolExecutor(1, thread_name_prefix="file-servers")

    def make(self, file_system_id: str) -> None:
        """Boot the server of a new file system."""
        self._submit(self._boot, file_system_id)

    def delete(self, file_system_id: str) -> None:
        """End a server and delete its content."""
        self._submit(self._end, file_system_id)

    def add_address(self, file_system_id: str, address: str) -> None:
        """Let a server answer at the address of a mount target."""
        self._submit(self._change_address, file_system_id, "add", address)

    def remove_address(self, file_system_id: str, address: str) -> None:
        """Let a server answer at an address no longer."""
        self._submit(self._change_address, file_system_id, "del", address)

    def close(self) -> None:
        """End all servers; no process of them is left on return."""
        # On their own thread: one may be about to boot.
        self._submit(self._end_all)
        self._lane.shutdown(wait=True)

    def _submit(self, action: object, *arguments: str) -> None:
        def run() -> None:
            try:
                action(*arguments)  # type: ignore[operator]
            except (HostError, OSError) as error:
                _log.warning("file server %s: %s", " ".join(arguments), error)

        # These servers may be closed.
        with contextlib.suppress(RuntimeError):
            self._lane.submit(run)

    def _boot(self, file_system_id: str) -> None:
        server = self._servers[file_system_id] = _Server(self._folder / file_system_id)
        files = VmFiles(server.folder)
        server.folder.mkdir(parents=True, exist_ok=True)
        qemu.create_disk(self._image, files.disk)
        qemu.create_empty(files.content, qemu.FILE_SERVER_GIB)
        archive = {"etc/localcloud/network": _START, "etc/localcloud/file-server": _PROGRAM.read_text()}
        files.boot.write_bytes(system_files.to_tar(archive))
        with (server.folder / "qemu.log").open("ab") as log:
            process = server.process = subprocess.Popen(
                qemu.file_server_command(server.folder, self._block, self._image, self._accelerator),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        threading.Thread(target=self._await_ready, args=[server, process], daemon=True).start()

    def _await_ready(self, server: _Server, process: subprocess.Popen[bytes]) -> None:
        if process.stdout is None:
            return
        for line in process.stdout:
            if _READY in line:
                with contextlib.suppress(RuntimeError):
                    self._lane.submit(self._on_ready, server)

    def _on_ready(self, server: _Server) -> None:
        _log.info("%s: its NFS server is up", server.folder.name)
        server.is_ready = True
        for address in server.addresses:
            self._send(server, "add", address)

    def _change_address(self, file_system_id: str, verb: str, address: str) -> None:
        server = self._servers.get(file_system_id)
        if server is None:
            return
        if verb == "add":
            server.addresses.append(address)
        elif address in server.addresses:
            server.addresses.remove(address)
        if server.is_ready:
            self._send(server, verb, address)

    def _send(self, server: _Server, verb: str, address: str) -> None:
        if server.process is not None and server.process.stdin is not None:
            server.process.stdin.write(f"{verb} {address}/{self._block.space.prefixlen}\n".encode())
            server.process.stdin.flush()

    def _end_all(self) -> None:
        for file_system_id in list(self._servers):
            self._end(file_system_id)

    def _end(self, file_system_id: str) -> None:
        server = self._servers.pop(file_system_id, None)
        if server is None:
            return
        if server.process is not None:
            server.process.kill()
            # Ends the thread that reads its output, too.
            server.process.communicate()
        shutil.rmtree(server.folder, ignore_errors=True)
