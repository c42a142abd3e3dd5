"""VM hosts of the embedded cloud: one QEMU process per instance."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from localcloud.core.addresses import AddressBlock
from localcloud.hosts.docker.host_config import network_variables
from localcloud.hosts.interface import HostError
from localcloud.hosts.spec import HostSpec
from localcloud.hosts.vm import boot_files, qemu
from localcloud.hosts.vm.image import VmImage
from localcloud.hosts.vm.qemu import Accelerator, VmFiles
from localcloud.hosts.vm.ssh_gate import SshGate

_log = logging.getLogger(__name__)
# Time in which a system may shut down before it loses its power.
_STOP_GRACE_S = 90.0
_STOP_DEADLINE_S = 150.0
_POLL_S, _BANNER_TIMEOUT_S = 2.0, 120.0


@dataclass
class _Slot:
    """One host. A thread of its own carries out its operations one after the other, and starts QEMU.

    :param on: False from a stop, or from the host's own end, to the next start.
    :param process: QEMU while it runs or its end is not handled yet; used on the host's own thread only.
    :param ending: set while the host is being stopped.
    :param plugged: ids of the volumes that QEMU has; used on the host's own thread only.
    """

    spec: HostSpec
    executor: ThreadPoolExecutor
    gate: SshGate
    on: bool = True
    process: subprocess.Popen[bytes] | None = None
    ending: threading.Event = field(default_factory=threading.Event)
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
        self._on_shutdown = on_shutdown
        self._variables = network_variables(os.environ if environ is None else environ)
        self._slots: dict[str, _Slot] = {}
        # Instance id -> volume id -> the file behind it; volumes are attached before and after the start.
        self._volumes: dict[str, dict[str, Path]] = {}
        self._lock = threading.Lock()
        self._closed = False
        self._shutdowns: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        threading.Thread(target=self._report_shutdowns, name="shutdowns", daemon=True).start()

    def start(self, spec: HostSpec) -> None:
        """Start a VM; returns at once.

        :raises HostError: it is on already, or these hosts are closed.
        """
        with self._lock:
            if self._closed:
                raise HostError("these hosts are closed")
            slot = self._slots.get(spec.instance_id)
            if slot is None:
                lane = ThreadPoolExecutor(1, thread_name_prefix=spec.instance_id)
                slot = self._slots[spec.instance_id] = _Slot(spec, lane, SshGate(self._block))
            elif slot.on:
                raise HostError(f"{spec.instance_id} is already on")
            slot.spec, slot.on = spec, True
            slot.ending.clear()
            slot.executor.submit(self._guarded, slot, self._power_on)

    def stop(self, instance_id: str) -> None:
        """Shut a VM down as its power button does, or cut its power after 90 s; its disk is kept.

        :raises HostError: it is still running after 150 s.
        """
        self._end(instance_id, _shut_down)

    def destroy(self, instance_id: str) -> None:
        """Cut the power of a VM and remove its disk.

        :raises HostError: it cannot be ended.
        """
        self._end(instance_id, _cut_power)
        with self._lock:
            slot = self._slots.pop(instance_id, None)
            self._volumes.pop(instance_id, None)
        if slot is not None:
            slot.gate.close()
            slot.executor.shutdown(wait=False)
            shutil.rmtree(slot.spec.folder, ignore_errors=True)

    def reboot(self, instance_id: str) -> None:
        """Shut a VM down and boot it again; returns at once. Does nothing if it is off."""
        self._submit(instance_id, self._reboot)

    def open_at(self, instance_id: str, addresses: Collection[str]) -> None:
        """Let the SSH port answer at these addresses of a VM only; returns at once. Open connections stay."""
        with self._lock:
            slot = self._slots.get(instance_id)
            if slot is not None:
                # For the next boot as well.
                slot.spec = replace(slot.spec, open_addresses=tuple(addresses))
        self._submit(instance_id, _update_gate)

    def plug(self, instance_id: str, volume_id: str, path: Path) -> None:
        """Give a VM a volume, now and at every boot; returns at once."""
        with self._lock:
            self._volumes.setdefault(instance_id, {})[volume_id] = path
        self._submit(instance_id, self._update_volumes)

    def unplug(self, instance_id: str, volume_id: str) -> None:
        """Take a volume from a VM; returns at once."""
        with self._lock:
            self._volumes.get(instance_id, {}).pop(volume_id, None)
        self._submit(instance_id, self._update_volumes)

    def freeze(self, instance_id: str) -> None:
        """Suspend a VM: connections stay open, and nothing answers. Does nothing if it is off."""
        self._submit(instance_id, lambda slot: _send_signal(slot, signal.SIGSTOP))

    def thaw(self, instance_id: str) -> None:
        """Resume a frozen VM. Does nothing if it is off."""
        self._submit(instance_id, lambda slot: _send_signal(slot, signal.SIGCONT))

    def close(self) -> None:
        """Cut the power of all VMs; no process of them is left on return. Their folders are kept."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            slots = list(self._slots.values())
        for slot in slots:
            slot.ending.set()
            slot.executor.submit(_cut_power, slot)
        for slot in slots:
            slot.executor.shutdown(wait=True)
            slot.gate.close()
        self._shutdowns.put(None)

    def _submit(self, instance_id: str, action: Callable[[_Slot], None]) -> None:
        with self._lock:
            slot = self._slots.get(instance_id)
        if slot is not None and slot.on:
            with contextlib.suppress(RuntimeError):
                slot.executor.submit(self._guarded, slot, action)

    def _end(self, instance_id: str, action: Callable[[_Slot], None]) -> None:
        with self._lock:
            slot = self._slots.get(instance_id)
        if slot is None:
            return
        slot.ending.set()
        try:
            slot.executor.submit(action, slot).result(_STOP_DEADLINE_S)
        except (TimeoutError, OSError) as error:
            raise HostError(f"{instance_id} cannot be stopped: {error}") from error
        slot.on = False

    def _guarded(self, slot: _Slot, action: Callable[[_Slot], None]) -> None:
        """Run an operation that has no caller waiting; if it fails, the host counts as off."""
        try:
            action(slot)
        except (HostError, OSError) as error:
            _log.warning("%s: %s", slot.spec.instance_id, error)
            slot.on = False

    def _power_on(self, slot: _Slot) -> None:
        """Boot with empty local disks: their content is lost when an instance stops, and stays when it reboots."""
        slot.spec.folder.mkdir(parents=True, exist_ok=True)
        for number, size_gib in enumerate(slot.spec.local_disks_gib):
            path = qemu.local_disk(slot.spec, number)
            path.unlink(missing_ok=True)
            qemu.create_empty(path, size_gib)
        self._boot(slot)

    def _boot(self, slot: _Slot) -> None:
        if slot.ending.wait(slot.spec.boot_seconds):
            return
        spec, files = slot.spec, VmFiles(slot.spec.folder)
        spec.folder.mkdir(parents=True, exist_ok=True)
        if not files.disk.exists():
            qemu.create_disk(self._image, files.disk)
        slot.gate.prepare(spec)
        files.boot.write_bytes(boot_files.archive(spec, self._block, self._variables))
        volumes = self._attached(slot)
        slot.plugged = set(volumes)
        with (spec.folder / "qemu.log").open("ab") as log:
            process = slot.process = subprocess.Popen(
                qemu.command(spec, self._block, self._image, self._accelerator, volumes),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
            )
        threading.Thread(target=self._watch, args=[slot, process], name=f"{spec.instance_id}-end", daemon=True).start()

    def _attached(self, slot: _Slot) -> dict[str, Path]:
        with self._lock:
            return dict(self._volumes.get(slot.spec.instance_id, {}))

    def _update_volumes(self, slot: _Slot) -> None:
        if slot.process is None or slot.process.stdin is None:
            return
        volumes = self._attached(slot)
        commands = [line for volume_id in slot.plugged - {*volumes} for line in qemu.unplug_commands(volume_id)]
        for volume_id in {*volumes} - slot.plugged:
            commands += qemu.plug_commands(volume_id, volumes[volume_id])
        slot.plugged = set(volumes)
        slot.process.stdin.write("".join(f"{line}\n" for line in commands).encode())
        slot.process.stdin.flush()

    def _watch(self, slot: _Slot, process: subprocess.Popen[bytes]) -> None:
        started_at = time.monotonic()
        addresses = [*filter(slot.spec.is_open, slot.spec.addresses)]
        if addresses and await_ssh(self._block.local_address(addresses[0]), slot.spec.port, process):
            boot_s = time.monotonic() - started_at
            _log.info("%s: SSH is up after %.0f s", slot.spec.instance_id, boot_s)
            self._image.note_boot(boot_s)
        process.wait()
        with contextlib.suppress(RuntimeError):
            # On the host's own thread: an operation on the VM may be under way there.
            slot.executor.submit(self._on_exit, slot, process)

    def _on_exit(self, slot: _Slot, process: subprocess.Popen[bytes]) -> None:
        """Handle the end of a VM that was not ended from here: its system has powered off."""
        if slot.process is process:
            slot.process, slot.on = None, False
            self._shutdowns.put(slot.spec.instance_id)

    def _reboot(self, slot: _Slot) -> None:
        _shut_down(slot)
        self._boot(slot)

    def _report_shutdowns(self) -> None:
        """Call the owner on a separate thread, because it may call ``stop`` in return."""
        while (instance_id := self._shutdowns.get()) is not None:
            try:
                self._on_shutdown(instance_id)
            except Exception as error:
                # A failing callback must not prevent later ones.
                sys.excepthook(type(error), error, error.__traceback__)


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


def _update_gate(slot: _Slot) -> None:
    if slot.process is None or slot.process.stdin is None:
        return
    try:
        slot.gate.update(slot.spec, slot.process.stdin)
    except OSError as error:
        # It has just ended, or is frozen: the rules are applied at every boot.
        _log.warning("%s: its security groups are not applied: %s", slot.spec.instance_id, error)


def _send_signal(slot: _Slot, number: int) -> None:
    if slot.process is not None:
        slot.process.send_signal(number)


def _shut_down(slot: _Slot) -> None:
    if slot.process is None or slot.process.stdin is None:
        return
    _send_signal(slot, signal.SIGCONT)
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        slot.process.stdin.write(b"system_powerdown\n")
        slot.process.stdin.flush()
        slot.process.wait(_STOP_GRACE_S)
    _cut_power(slot)


def _cut_power(slot: _Slot) -> None:
    process, slot.process = slot.process, None
    if process is not None:
        process.kill()
        process.wait()
        if process.stdin is not None:
            process.stdin.close()
