"""Docker hosts of the embedded cloud: one container per instance, with an SSH server, sudo, and room for an engine.

A host has an address of its own on the cloud's network, where SSH listens on its standard port. Its disk is the
container's, and is kept over stop and start. The programs inside the container are in
``localcloud.hosts.docker.host_image``.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Self

from localcloud.hosts.docker import host_config, image
from localcloud.hosts.docker.engine import EngineError, docker, docker_output
from localcloud.hosts.docker.liveness import LivenessLinks
from localcloud.hosts.docker.network import Network
from localcloud.hosts.interface import HostError, HostState
from localcloud.hosts.spec import HostSpec

_log = logging.getLogger(__name__)
_STOP_DEADLINE_S = 150.0
_CLOSE_DEADLINE_S = 300.0
_END_GRACE_S = 6
# More boots at once slow every one of them down: the engine is the bottleneck.
_PARALLEL_BOOTS = 4
# A host that crashes this soon after its boot, several times in a row, stays off.
_CRASH_WINDOW_S = 5.0
_CRASH_LIMIT = 3
_SHUTDOWN, _REBOOT = 41, 42

# The console is the container's log; its size is bounded, because jobs may write to it for days.
_LOG_OPTIONS = ("--log-driver", "json-file", "--log-opt", "max-size=4m")
_RUNTIME_OPTIONS = ("--tmpfs", "/run:exec,mode=755", *_LOG_OPTIONS, "--stop-signal", "SIGTERM")

CONFINEMENT = (
    "--cap-add",
    "ALL",
    "--cap-drop",
    "SYS_RESOURCE",
    "--security-opt",
    "seccomp=unconfined",
    "--security-opt",
    "apparmor=unconfined",
    "--security-opt",
    "systempaths=unconfined",
)
"""Options that let a container run a Docker engine; ``--privileged`` grants more, and is not allowed everywhere."""


@dataclass
class _Slot:
    """One host. A thread of its own carries out its operations one after the other."""

    spec: HostSpec
    executor: ThreadPoolExecutor
    created: bool = False
    boot: int = 0
    started_at: float = 0.0
    crashes: int = 0
    frozen: bool = False
    ending: bool = False
    state: HostState = field(default_factory=lambda: HostState("", "off"))


@dataclass(frozen=True)
class UnresponsiveDockerPort:
    """A port of a host on which no SSH server answers; it disappears with the host."""

    forget: Callable[[], object]

    def close(self) -> None:
        """Leave the port out at the next boot."""
        self.forget()


class DockerHosts:
    """Starts and stops docker hosts. Safe to use from several threads; a context manager.

    :param network: network of the hosts; not removed with them.
    :param on_shutdown: called with the instance id, on a separate thread, when a host has shut itself down; all of its
        processes are gone by then.
    :param environ: the owner's environment, from which hosts get access to the network; this process's by default.
    :raises EngineError: the image does not exist and cannot be built.
    """

    def __init__(
        self, network: Network, *, on_shutdown: Callable[[str], None], environ: Mapping[str, str] | None = None
    ) -> None:
        self._network, self._on_shutdown = network, on_shutdown
        self._variables = host_config.network_variables(os.environ if environ is None else environ)
        self._image = image.ensure()
        self._slots: dict[str, _Slot] = {}
        self._changed = threading.Condition()
        self._closed = False
        self._unresponsive_ports: dict[str, dict[str, object]] = {}
        self._boot_slots = threading.BoundedSemaphore(_PARALLEL_BOOTS)
        self._shutdowns: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._liveness = LivenessLinks(network.block.endpoint)
        threading.Thread(target=self._report_shutdowns, name="shutdowns", daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self, spec: HostSpec) -> None:
        """Start a host; returns at once.

        :raises HostError: it is on already, or these hosts are closed.
        """
        # Wall-clock time, because a process in the container compares it.
        opens_at = time.time() + spec.boot_seconds
        with self._changed:
            if self._closed:
                raise HostError("these hosts are closed")
            slot = self._slots.get(spec.instance_id)
            if slot is None:
                lane = ThreadPoolExecutor(1, thread_name_prefix=spec.instance_id)
                slot = self._slots[spec.instance_id] = _Slot(spec, lane)
            elif slot.state.state != "off":
                raise HostError(f"{spec.instance_id} is already on")
            slot.spec, slot.ending = spec, False
            boots = slot.state.boots + 1
            slot.state = HostState(spec.instance_id, "booting", confined=True, boots=boots)
            slot.executor.submit(self._guarded, slot, lambda: self._boot(slot, opens_at))

    def stop(self, instance_id: str) -> None:
        """Stop a host that is on; every process of it is gone on return, its disk is kept.

        :raises HostError: it is still running after 150 s.
        """
        slot = self._slot(instance_id)
        if slot is not None:
            slot.ending = True
            self._await(slot, slot.executor.submit(self._stop, slot))

    def destroy(self, instance_id: str) -> None:
        """Remove a host with its disk.

        :raises HostError: it cannot be removed.
        """
        slot = self._slot(instance_id)
        if slot is None:
            return
        slot.ending = True
        self._await(slot, slot.executor.submit(self._remove, slot))
        with self._changed:
            self._slots.pop(instance_id, None)
        slot.executor.shutdown(wait=False)

    def reboot(self, instance_id: str) -> None:
        """Kill everything that runs on a host and boot it again; returns at once. Does nothing if it is off."""
        self._submit(instance_id, lambda slot: self._reboot(slot, "reboot"))

    def freeze(self, instance_id: str) -> None:
        """Suspend a host: connections stay open, and nothing answers. Does nothing if it is off."""
        self._submit(instance_id, self._pause)

    def thaw(self, instance_id: str) -> None:
        """Resume a frozen host. Does nothing if it is off."""
        self._submit(instance_id, self._unpause)

    def state(self, instance_id: str) -> HostState:
        """Return the state of a host; an unknown one is off."""
        slot = self._slot(instance_id)
        return slot.state if slot is not None else HostState(instance_id, "off")

    def wait(self, instance_id: str, state: str, *, deadline_s: float) -> bool:
        """Wait until a host is ``booting``, ``running`` or ``off``; return False on timeout."""
        with self._changed:
            return self._changed.wait_for(lambda: self.state(instance_id).state == state, deadline_s)

    def console(self, instance_id: str) -> bytes:
        """Return the boot messages of a host; empty if there are none."""
        return docker_output("logs", self._name(instance_id))

    def unresponsive_port(self, address: str, port: int, accepts: bool) -> UnresponsiveDockerPort:
        """Open a port on which connections hang, on the host with ``address``, from its next boot on.

        :param accepts: True if connections are accepted and then get no data; otherwise they are not answered at all.
        """
        # By address: the wrapper opens the port before it starts the host.
        self._unresponsive_ports[address] = {"port": port, "accepts": accepts}
        return UnresponsiveDockerPort(lambda: self._unresponsive_ports.pop(address, None))

    def close(self) -> None:
        """Stop and remove all hosts; nothing of them is left on return."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            slots = list(self._slots.values())
        for slot in slots:
            slot.ending = True
            # An operation under way must end before its container is removed.
            slot.executor.shutdown(wait=True, cancel_futures=True)
        if created := [self._name(slot.spec.instance_id) for slot in slots if slot.created]:
            docker("rm", "--force", "--volumes", *created, timeout_s=_CLOSE_DEADLINE_S)
        self._liveness.close()
        self._shutdowns.put(None)

    def _slot(self, instance_id: str) -> _Slot | None:
        with self._changed:
            return self._slots.get(instance_id)

    def _submit(self, instance_id: str, action: Callable[[_Slot], None]) -> None:
        slot = self._slot(instance_id)
        if slot is not None and slot.state.state != "off":
            with contextlib.suppress(RuntimeError):
                slot.executor.submit(self._guarded, slot, lambda: action(slot))

    def _await(self, slot: _Slot, work: Future[None]) -> None:
        try:
            work.result(_STOP_DEADLINE_S)
        except (TimeoutError, EngineError) as error:
            raise HostError(f"{slot.spec.instance_id} cannot be stopped: {error}") from error

    def _guarded(self, slot: _Slot, action: Callable[[], None]) -> None:
        """Run an operation that has no caller waiting; if it fails, the host counts as off."""
        try:
            action()
        except EngineError as error:
            if not slot.ending:
                _log.warning("%s: %s", slot.spec.instance_id, error)
                self._set(slot, state="off", cause="crash")

    def _boot(self, slot: _Slot, opens_at: float) -> None:
        with self._boot_slots:
            if slot.ending:
                return
            if not slot.created:
                self._create(slot)
            self._copy_config(slot, opens_at)
            slot.started_at = time.monotonic()
            docker("start", self._name(slot.spec.instance_id))

    def _create(self, slot: _Slot) -> None:
        spec = slot.spec
        image_tag = image.ensure("engine") if spec.has_engine else self._image
        # Set before the call: a create that times out may have succeeded, and must be removed.
        slot.created = True
        docker(
            "create",
            "--name",
            self._name(spec.instance_id),
            "--hostname",
            spec.hostname,
            *self._network.labels(),
            "--label",
            f"localcloud.instance={spec.instance_id}",
            "--network",
            self._network.name,
            "--ip",
            spec.address,
            # The name that EC2's resolver knows; and shared memory for frameworks, which a VM has plenty of.
            "--network-alias",
            spec.hostname,
            "--shm-size",
            "4g",
            *CONFINEMENT,
            *_cgroups(),
            *self._network.volume("/var/lib/docker"),
            *_RUNTIME_OPTIONS,
            image_tag,
        )

    def _copy_config(self, slot: _Slot, opens_at: float) -> None:
        slot.boot += 1
        boot = slot.boot
        liveness = self._liveness.expect_boot(lambda event: self._on_event(slot, boot, event))
        values = host_config.boot_config(slot.spec, self._variables, liveness, opens_at)
        values["unresponsive_port"] = self._unresponsive_ports.get(slot.spec.address)
        docker("cp", "-", f"{self._name(slot.spec.instance_id)}:/", stdin=host_config.to_tar(values))

    def _stop(self, slot: _Slot) -> None:
        if slot.created and slot.state.state != "off":
            self._unpause(slot)
            # Longer than the supervisor's own 4 s for terminating processes.
            docker("stop", "--time", str(_END_GRACE_S), self._name(slot.spec.instance_id))
        self._set(slot, state="off", cause="stopped")

    def _remove(self, slot: _Slot) -> None:
        if slot.created:
            self._unpause(slot)
            docker("rm", "--force", "--volumes", self._name(slot.spec.instance_id))
            slot.created = False
        self._set(slot, state="off", cause="stopped")

    def _pause(self, slot: _Slot) -> None:
        docker("pause", self._name(slot.spec.instance_id))
        # Remembered, because a paused container must be resumed before it can be stopped.
        slot.frozen = True

    def _unpause(self, slot: _Slot) -> None:
        if slot.frozen:
            slot.frozen = False
            docker("unpause", self._name(slot.spec.instance_id))

    def _reboot(self, slot: _Slot, cause: str) -> None:
        """Boot again from any state of the container."""
        self._set(slot, state="booting", cause=cause, boots=slot.state.boots + 1)
        self._unpause(slot)
        slot.boot += 1
        if self._is_up(slot):
            docker("kill", self._name(slot.spec.instance_id))
        docker("wait", self._name(slot.spec.instance_id))
        self._boot(slot, time.time() + slot.spec.boot_seconds)

    def _is_up(self, slot: _Slot) -> bool:
        return docker("inspect", "--format", "{{.State.Running}}", self._name(slot.spec.instance_id)) == "true"

    def _on_event(self, slot: _Slot, boot: int, event: str) -> None:
        """Handle an event of boot number ``boot``; events of earlier boots are ignored."""
        with self._changed:
            if boot != slot.boot or slot.ending or self._closed:
                return
            # On the slot's own thread: it may wait for the container, and must not block other hosts' events.
            if event == "lost":
                slot.executor.submit(self._guarded, slot, lambda: self._on_exit(slot, boot))
                return
        if event == "running":
            self._set(slot, state="running")

    def _on_exit(self, slot: _Slot, boot: int) -> None:
        if boot != slot.boot or slot.ending:
            return
        # The exit status tells the cause; after a crash of the engine it is none of the known ones.
        code = int(docker("wait", self._name(slot.spec.instance_id)))
        if code == _SHUTDOWN:
            self._set(slot, state="off", cause="shutdown")
            self._shutdowns.put(slot.spec.instance_id)
        elif code == _REBOOT:
            self._reboot(slot, "reboot")
        else:
            self._on_crash(slot)

    def _on_crash(self, slot: _Slot) -> None:
        soon = time.monotonic() - slot.started_at < _CRASH_WINDOW_S
        slot.crashes = slot.crashes + 1 if soon else 1
        if slot.crashes > _CRASH_LIMIT:
            self._set(slot, state="off", cause="crash")
        else:
            self._reboot(slot, "crash")

    def _set(self, slot: _Slot, **changes: object) -> None:
        with self._changed:
            slot.state = replace(slot.state, **changes)  # type: ignore[arg-type]
            self._changed.notify_all()

    def _report_shutdowns(self) -> None:
        """Call the owner on a separate thread, because it may call ``stop`` in return."""
        while (instance_id := self._shutdowns.get()) is not None:
            try:
                self._on_shutdown(instance_id)
            except Exception as error:
                # A failing callback must not prevent later ones.
                sys.excepthook(type(error), error, error.__traceback__)

    def _name(self, instance_id: str) -> str:
        return f"{self._network.name}-{instance_id}"


def _cgroups() -> tuple[str, ...]:
    """Return the options for cgroups: version 1 is mounted from this computer, version 2 is private."""
    version = docker("info", "--format", "{{.CgroupVersion}}")
    return ("--volume", "/sys/fs/cgroup:/sys/fs/cgroup:rw") if version == "1" else ("--cgroupns", "private")
