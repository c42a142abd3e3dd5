"""VM hosts of the embedded cloud: one QEMU process per instance."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from localcloud.core.addresses import AddressBlock
from localcloud.hosts.docker.host_config import network_variables
from localcloud.hosts.interface import HostError
from localcloud.hosts.lanes import Lane, Lanes
from localcloud.hosts.spec import HostSpec
from localcloud.hosts.vm import boot_files, qemu
from localcloud.hosts.vm.image import VmImage
from localcloud.hosts.vm.qemu import Accelerator, VmFiles
from localcloud.hosts.vm.ssh_gate import SshGate

_log = logging.getLogger(__name__)
# Time in which a system may shut down before it loses its power.
_STOP_GRACE_S = 90.0
_POLL_S, _BANNER_TIMEOUT_S = 2.0, 120.0


@dataclass
class _Vm(Lane):
    """One host; its own thread starts QEMU.

    :param process: QEMU while it runs or its end is not handled yet; used on the host's own thread only.
    :param plugged: ids of the volumes that QEMU has; used on the host's own thread only.
    """

    gate: SshGate = field(kw_only=True)
    process: subprocess.Popen[bytes] | None = None
    plugged: set[str] = field(default_factory=set)


class VmHosts:
    """Starts and stops VMs. Safe to use from several threads.

    :param block: addresses of the cloud.
    :param on_shutdown: called with the instance id, on a separate thread, when a VM has shut itself down.
    :param environ: the owner's environment, from which VMs get access to the network; this process's by default.
    """

    def __init__(
        self,
        block: AddressBlock,
        image: VmImage,
        accelerator: Accelerator,
        *,
        on_shutdown: Callable[[str], None],
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._block, self._image, self._accelerator = block, image, accelerator
        self._variables = network_variables(os.environ if environ is None else environ)
        self._lanes = Lanes(self._new_host, (HostError, OSError), on_shutdown)
        # Instance id -> volume id -> the file behind it; volumes are attached before and after the start.
        self._volumes: dict[str, dict[str, Path]] = {}
        self._lock = threading.Lock()

    def _new_host(self, spec: HostSpec, executor: ThreadPoolExecutor) -> _Vm:
        return _Vm(spec, executor, gate=SshGate(self._block))

    def start(self, spec: HostSpec) -> None:
        """Start a VM; returns at once.

        :raises HostError: it is on already, or these hosts are closed.
        """
        self._lanes.start(spec, self._power_on)

    def stop(self, instance_id: str) -> None:
        """Shut a VM down as its power button does, or cut its power after 90 s; its disk is kept.

        :raises HostError: it is still running after 150 s.
        """
        self._lanes.end(instance_id, _shut_down)

    def destroy(self, instance_id: str) -> None:
        """Cut the power of a VM and remove its disk.

        :raises HostError: it cannot be ended.
        """
        self._lanes.end(instance_id, _cut_power)
        with self._lock:
            self._volumes.pop(instance_id, None)
        if (vm := self._lanes.remove(instance_id)) is not None:
            vm.gate.close()
            shutil.rmtree(vm.spec.folder, ignore_errors=True)

    def reboot(self, instance_id: str) -> None:
        """Shut a VM down and boot it again; returns at once. Does nothing if it is off."""
        self._lanes.submit(instance_id, self._reboot)

    def open_at(self, instance_id: str, addresses: Collection[str]) -> None:
        """Let the SSH port answer at these addresses of a VM only; returns at once. Open connections stay."""
        self._lanes.open_at(instance_id, addresses, _update_gate)

    def plug(self, instance_id: str, volume_id: str, path: Path) -> None:
        """Give a VM a volume, now and at every boot; returns at once."""
        with self._lock:
            self._volumes.setdefault(instance_id, {})[volume_id] = path
        self._lanes.submit(instance_id, self._update_volumes)

    def unplug(self, instance_id: str, volume_id: str) -> None:
        """Take a volume from a VM; returns at once."""
        with self._lock:
            self._volumes.get(instance_id, {}).pop(volume_id, None)
        self._lanes.submit(instance_id, self._update_volumes)

    def freeze(self, instance_id: str) -> None:
        """Suspend a VM: connections stay open, and nothing answers. Does nothing if it is off."""
        self._lanes.submit(instance_id, lambda vm: _send_signal(vm, signal.SIGSTOP))

    def thaw(self, instance_id: str) -> None:
        """Resume a frozen VM. Does nothing if it is off."""
        self._lanes.submit(instance_id, lambda vm: _send_signal(vm, signal.SIGCONT))

    def close(self) -> None:
        """Cut the power of all VMs; no process of them is left on return. Their folders are kept."""
        vms = self._lanes.close()
        for vm in vms:
            vm.executor.submit(_cut_power, vm)
        for vm in vms:
            vm.executor.shutdown(wait=True)
            vm.gate.close()

    def _power_on(self, vm: _Vm) -> None:
        """Boot with empty local disks: their content is lost when an instance stops, and stays when it reboots."""
        vm.spec.folder.mkdir(parents=True, exist_ok=True)
        for number, size_gib in enumerate(vm.spec.local_disks_gib):
            path = qemu.local_disk(vm.spec, number)
            path.unlink(missing_ok=True)
            qemu.create_empty(path, size_gib)
        self._boot(vm)

    def _boot(self, vm: _Vm) -> None:
        if vm.ending.wait(vm.spec.boot_seconds):
            return
        spec, files = vm.spec, VmFiles(vm.spec.folder)
        spec.folder.mkdir(parents=True, exist_ok=True)
        if not files.disk.exists():
            qemu.create_disk(self._image, files.disk)
        vm.gate.prepare(spec)
        files.boot.write_bytes(boot_files.archive(spec, self._block, self._variables))
        volumes = self._attached(vm)
        vm.plugged = set(volumes)
        with (spec.folder / "qemu.log").open("ab") as log:
            process = vm.process = subprocess.Popen(
                qemu.command(spec, self._block, self._image, self._accelerator, volumes),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
            )
        threading.Thread(target=self._watch, args=[vm, process], name=f"{spec.instance_id}-end", daemon=True).start()

    def _attached(self, vm: _Vm) -> dict[str, Path]:
        with self._lock:
            return dict(self._volumes.get(vm.spec.instance_id, {}))

    def _update_volumes(self, vm: _Vm) -> None:
        if vm.process is None or vm.process.stdin is None:
            return
        volumes = self._attached(vm)
        commands = [line for volume_id in vm.plugged - {*volumes} for line in qemu.unplug_commands(volume_id)]
        for volume_id in {*volumes} - vm.plugged:
            commands += qemu.plug_commands(volume_id, volumes[volume_id])
        vm.plugged = set(volumes)
        vm.process.stdin.write("".join(f"{line}\n" for line in commands).encode())
        vm.process.stdin.flush()

    def _watch(self, vm: _Vm, process: subprocess.Popen[bytes]) -> None:
        started_at = time.monotonic()
        addresses = [*filter(vm.spec.is_open, vm.spec.addresses)]
        if addresses and await_ssh(self._block.local_address(addresses[0]), vm.spec.port, process):
            boot_s = time.monotonic() - started_at
            _log.info("%s: SSH is up after %.0f s", vm.spec.instance_id, boot_s)
            self._image.note_boot(boot_s)
        process.wait()
        with contextlib.suppress(RuntimeError):
            # On the host's own thread: an operation on the VM may be under way there.
            vm.executor.submit(self._on_exit, vm, process)

    def _on_exit(self, vm: _Vm, process: subprocess.Popen[bytes]) -> None:
        """Handle the end of a VM that was not ended from here: its system has powered off."""
        if vm.process is process:
            vm.process = None
            self._lanes.report_shutdown(vm)

    def _reboot(self, vm: _Vm) -> None:
        _shut_down(vm)
        self._boot(vm)


def await_ssh(address: str, port: int, process: subprocess.Popen[bytes]) -> bool:
    """Return True as soon as a VM's SSH server answers, and False if the VM ends before that."""
    while process.poll() is None:
        # QEMU accepts connections before the VM does, and closes them. An emulated server takes long to answer: further
        # connections would reach its limit for unauthenticated ones (MaxStartups), and keep users out.
        with contextlib.suppress(OSError), socket.create_connection((address, port), _BANNER_TIMEOUT_S) as connection:
            if connection.recv(4) == b"SSH-":
                return True
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_POLL_S)
    return False


def _update_gate(vm: _Vm) -> None:
    if vm.process is None or vm.process.stdin is None:
        return
    try:
        vm.gate.update(vm.spec, vm.process.stdin)
    except OSError as error:
        # It has just ended, or is frozen: the rules are applied at every boot.
        _log.warning("%s: its security groups are not applied: %s", vm.spec.instance_id, error)


def _send_signal(vm: _Vm, number: int) -> None:
    if vm.process is not None:
        vm.process.send_signal(number)


def _shut_down(vm: _Vm) -> None:
    if vm.process is None or vm.process.stdin is None:
        return
    _send_signal(vm, signal.SIGCONT)
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        vm.process.stdin.write(b"system_powerdown\n")
        vm.process.stdin.flush()
        vm.process.wait(_STOP_GRACE_S)
    _cut_power(vm)


def _cut_power(vm: _Vm) -> None:
    process, vm.process = vm.process, None
    if process is not None:
        process.kill()
        process.wait()
        if process.stdin is not None:
            process.stdin.close()
