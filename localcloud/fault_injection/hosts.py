"""Wrapper around the hosts that injects the faults of a scenario."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from localcloud.hosts.hostile import behavior
from localcloud.hosts.hostile.behavior import Hostility
from localcloud.scenarios.scenario import Fault

if TYPE_CHECKING:
    from localcloud.hosts.interface import Closable, HostControl
    from localcloud.hosts.spec import HostSpec

_CLOUD_CONFIG = b"#cloud-config"
PACKAGE_FAULTS = ("apt-locked", "no-route", "no-dns", "clock-behind", "disk-nearly-full", "needrestart")
"""Kinds of faults that concern a host's package manager, and its access to packages."""


class FaultyHosts:
    """Passes requests on to the hosts, changed by the faults of each instance.

    :param hosts: the actual hosts.
    :param faults: returns the faults of an instance, by kind.
    :param open_unresponsive_port: see ``localcloud.hosts.interface.HostSite``.
    """

    def __init__(
        self,
        hosts: HostControl,
        faults: Callable[[str], Mapping[str, Fault]],
        open_unresponsive_port: Callable[[str, int, bool], Closable],
    ) -> None:
        self._hosts, self._faults, self._open_unresponsive_port = hosts, faults, open_unresponsive_port
        self._lock = threading.Lock()
        self._specs: dict[str, HostSpec] = {}
        self._blocked_ports: dict[str, list[Closable]] = {}

    def start(self, spec: HostSpec) -> None:
        """Start a host with its faults; an instance whose boot hangs has no host."""
        faults = self._faults(spec.instance_id)
        # No host at all: connections to its address are refused, as on an instance without a booted kernel.
        if "boot-hangs" in faults:
            return
        spec = _apply_faults(spec, faults)
        if "ssh-silent" in faults or "ssh-dropped" in faults:
            self._block_port(spec, answers="ssh-silent" in faults)
        # The host itself runs, on another port, because its shutdown timer and user data must work.
        if faults.keys() & {"ssh-refused", "ssh-silent", "ssh-dropped"}:
            spec = replace(spec, port=spec.port + 1)
        with self._lock:
            self._specs[spec.instance_id] = spec
        self._hosts.start(spec)

    def stop(self, instance_id: str) -> None:
        """End every process of a host and keep its disk."""
        self._unblock_port(instance_id)
        self._hosts.stop(instance_id)

    def destroy(self, instance_id: str) -> None:
        """End every process of a host and remove its disk."""
        self._unblock_port(instance_id)
        with self._lock:
            self._specs.pop(instance_id, None)
        self._hosts.destroy(instance_id)

    def reboot(self, instance_id: str) -> None:
        """Reboot a host."""
        self._hosts.reboot(instance_id)

    def open_at(self, instance_id: str, addresses: Collection[str]) -> None:
        """Let the SSH port answer at these addresses of a host only."""
        with self._lock:
            spec = self._specs.get(instance_id)
            if spec is not None:
                self._specs[instance_id] = replace(spec, open_addresses=tuple(addresses))
        self._hosts.open_at(instance_id, addresses)

    def freeze(self, instance_id: str) -> None:
        """Suspend every process of a host."""
        self._hosts.freeze(instance_id)

    def thaw(self, instance_id: str) -> None:
        """Resume a frozen host."""
        self._hosts.thaw(instance_id)

    def replace_host(self, instance_id: str) -> None:
        """Replace a host by another one on the same address, with a host key of its own and an empty disk."""
        with self._lock:
            spec = self._specs.get(instance_id)
        if spec is not None:
            self._hosts.destroy(instance_id)
            # Without user data the new host generates a host key of its own.
            other = replace(spec, user_data=b"", boot_seconds=0.0)
            with self._lock:
                self._specs[instance_id] = other
            self._hosts.start(other)

    def spec(self, instance_id: str) -> HostSpec | None:
        """Return the specification of a host as its faults changed it; None if it has not started."""
        with self._lock:
            return self._specs.get(instance_id)

    def make_hostile(self, instance_id: str, hostility: Hostility) -> None:
        """Make a host hostile; simulated hosts have no disk, and stay as they are."""
        with self._lock:
            spec = self._specs.get(instance_id)
        if spec is None:
            return
        with contextlib.suppress(OSError):
            earlier = behavior.read(spec.folder)
            behavior.write(spec.folder, hostility)
            if hostility.is_port or (earlier is not None and earlier.is_port):
                # A port is opened at boot.
                self._hosts.reboot(instance_id)

    def break_gpu(self, instance_id: str, fault: str) -> None:
        """Let the GPUs of a host have a fault, in the words of its stand-in of nvidia-smi."""
        with self._lock:
            spec = self._specs.get(instance_id)
        # Simulated hosts have no disk.
        if spec is None or not spec.gpus or not spec.folder.is_dir():
            return
        file = spec.folder / "etc/gpu-faults"
        # The host may not have prepared its disk yet.
        file.parent.mkdir(exist_ok=True)
        with file.open("a") as faults:
            faults.write(f"{fault}\n")

    def _block_port(self, spec: HostSpec, *, answers: bool) -> None:
        ports = [self._open_unresponsive_port(address, spec.port, answers) for address in spec.addresses]
        with self._lock:
            self._blocked_ports[spec.instance_id] = ports

    def _unblock_port(self, instance_id: str) -> None:
        with self._lock:
            ports = self._blocked_ports.pop(instance_id, [])
        for port in ports:
            port.close()


def _apply_faults(spec: HostSpec, faults: Mapping[str, Fault]) -> HostSpec:
    if "slow-boot" in faults:
        spec = replace(spec, boot_seconds=spec.boot_seconds + faults["slow-boot"]["seconds"])
    if "user-data-ignored" in faults:
        spec = replace(spec, user_data=b"")
    if "other-host-key" in faults:
        spec = replace(spec, user_data=_without_host_keys(spec.user_data))
    return replace(spec, package_faults=tuple(_package_faults(faults)))


def _package_faults(faults: Mapping[str, Fault]) -> Iterator[str]:
    """Yield the faults of packages as hosts read them."""
    for kind in PACKAGE_FAULTS:
        if kind in faults:
            options = faults[kind].options
            yield f"{kind} {math.ceil(options.get('seconds', 0))} {options.get('free', 0)}"


def _without_host_keys(user_data: bytes) -> bytes:
    """Return user data without host keys, so that the host makes its own; only cloud-config is understood."""
    import yaml

    if not user_data.startswith(_CLOUD_CONFIG):
        return user_data
    with contextlib.suppress(yaml.YAMLError):
        config = yaml.safe_load(user_data)
        if isinstance(config, dict):
            config.pop("ssh_keys", None)
            return b"\n".join([_CLOUD_CONFIG, yaml.safe_dump(config).encode()])
    return user_data
