"""Hosts that misbehave as their scenario says, in front of the real ones."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from localcloud.scenarios.scenario import Fault

if TYPE_CHECKING:
    from localcloud.hosts.interface import HostControl
    from localcloud.hosts.spec import HostSpec

_CLOUD_CONFIG = b"#cloud-config"


class Closable(Protocol):
    """Something that can be closed."""

    def close(self) -> None:
        """Close it."""


class FaultyHosts:
    """Does to hosts what faults say; without any, it only passes orders on.

    :param hosts: the real ones.
    :param faults: those of an instance, by name.
    :param decoy: opens a port that takes no part in SSH (see ``Decoy``).
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
        self._blocked_ports: dict[str, Closable] = {}

    def start(self, spec: HostSpec) -> None:
        """Start a host, or less than a host."""
        faults = self._faults(spec.instance_id)
        if "boot-hangs" in faults:
            return
        spec = _apply_faults(spec, faults)
        if "ssh-silent" in faults or "ssh-dropped" in faults:
            self._block_port(spec, answers="ssh-silent" in faults)
        if faults.keys() & {"ssh-refused", "ssh-silent", "ssh-dropped"}:
            spec = replace(spec, port=spec.port + 1)
        with self._lock:
            self._specs[spec.instance_id] = spec
        self._hosts.start(spec)

    def stop(self, instance_id: str) -> None:
        """End every process of a host, keep its folder."""
        self._unblock_port(instance_id)
        self._hosts.stop(instance_id)

    def destroy(self, instance_id: str) -> None:
        """End every process of a host and remove its folder."""
        self._unblock_port(instance_id)
        with self._lock:
            self._specs.pop(instance_id, None)
        self._hosts.destroy(instance_id)

    def reboot(self, instance_id: str) -> None:
        """Have a host boot again."""
        self._hosts.reboot(instance_id)

    def freeze(self, instance_id: str) -> None:
        """Stop a host in its tracks."""
        self._hosts.freeze(instance_id)

    def thaw(self, instance_id: str) -> None:
        """Let a frozen host go on."""
        self._hosts.thaw(instance_id)

    def replace_host(self, instance_id: str) -> None:
        """Put another machine on the host's address: with a host key of its own, and nothing of the old one's disk."""
        with self._lock:
            spec = self._specs.get(instance_id)
        if spec is not None:
            self._hosts.destroy(instance_id)
            self._hosts.start(replace(spec, user_data=b"", boot_seconds=0.0))

    def _block_port(self, spec: HostSpec, *, answers: bool) -> None:
        decoy = self._open_unresponsive_port(spec.address, spec.port, answers)
        with self._lock:
            self._blocked_ports[spec.instance_id] = decoy

    def _unblock_port(self, instance_id: str) -> None:
        with self._lock:
            decoy = self._blocked_ports.pop(instance_id, None)
        if decoy is not None:
            decoy.close()


def _apply_faults(spec: HostSpec, faults: Mapping[str, Fault]) -> HostSpec:
    if "slow-boot" in faults:
        spec = replace(spec, boot_seconds=spec.boot_seconds + faults["slow-boot"]["seconds"])
    if "user-data-ignored" in faults:
        spec = replace(spec, user_data=b"")
    if "other-host-key" in faults:
        spec = replace(spec, user_data=_without_host_keys(spec.user_data))
    return spec


def _without_host_keys(user_data: bytes) -> bytes:
    """User data that brings no host keys, so that the machine makes its own; only cloud-config is understood."""
    import yaml

    if not user_data.startswith(_CLOUD_CONFIG):
        return user_data
    with contextlib.suppress(yaml.YAMLError):
        config = yaml.safe_load(user_data)
        if isinstance(config, dict):
            config.pop("ssh_keys", None)
            return b"\n".join([_CLOUD_CONFIG, yaml.safe_dump(config).encode()])
    return user_data


class UnresponsivePort:
    """A port that connections get nowhere on.

    :param answers: whether connections are taken, by the kernel, and then meet silence; else they are not even
        answered: the queue of connections is full, and the kernel drops whatever else comes.
    """

    def __init__(self, address: str, port: int, accepts: bool) -> None:
        self._listener = socket.socket()
        self._fillers: list[socket.socket] = []
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind((address, port))
        self._listener.listen(128 if accepts else 0)
        if not accepts:
            self._fill(address, port)

    def _fill(self, address: str, port: int) -> None:
        """Connect until nothing more fits: a queue of length 0 takes one connection, and may take one more."""
        for _ in range(4):
            filler = socket.socket()
            filler.settimeout(0.1)
            self._fillers.append(filler)
            try:
                filler.connect((address, port))
            except TimeoutError:
                return

    def close(self) -> None:
        """Free the port."""
        for one in (*self._fillers, self._listener):
            one.close()
