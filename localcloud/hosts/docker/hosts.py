"""Docker hosts of the embedded cloud: one container per instance, which boots a system of its own.

A host has an address of its own on the cloud's network, where SSH listens on its standard port. Its disk is the
container's, and is kept over stop and start. systemd, cloud-init and OpenSSH are the distribution's; the files of the
image are in the folder ``host_image``.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from localcloud.hosts import system_files
from localcloud.hosts.docker import host_config, image
from localcloud.hosts.docker.engine import EngineError, docker, docker_output
from localcloud.hosts.docker.host_config import UnresponsivePort
from localcloud.hosts.docker.network import HOME_LABEL, Network
from localcloud.hosts.docker.watch import HostWatch
from localcloud.hosts.lanes import Lane, Lanes
from localcloud.hosts.spec import HostSpec

_log = logging.getLogger(__name__)
_CLOSE_DEADLINE_S = 300.0
# Time in which a system may shut down before it is killed.
_STOP_GRACE_S = 30
# More boots at once slow every one of them down: the engine is the bottleneck.
_PARALLEL_BOOTS = 4
# The kernel ends the first process of a container with SIGHUP when its system reboots, else with SIGINT (reboot(2)).
_REBOOTED = 128 + 1

# The console is the container's log; its size is bounded, because jobs may write to it for days.
_LOG_OPTIONS = ("--log-driver", "json-file", "--log-opt", "max-size=4m")

CONFINEMENT = (
    "--cap-add",
    "ALL",
    "--cap-drop",
    "SYS_RESOURCE",
    # The clock is that of this computer.
    "--cap-drop",
    "SYS_TIME",
    "--security-opt",
    "seccomp=unconfined",
    "--security-opt",
    "apparmor=unconfined",
    "--security-opt",
    "systempaths=unconfined",
    "--cgroupns",
    "private",
    "--tmpfs",
    "/run:exec,mode=755",
    "--tmpfs",
    "/run/lock",
    # The signal with which systemd shuts down in a container; and a terminal, which is the system's console.
    "--stop-signal",
    "SIGRTMIN+3",
    "--tty",
)
"""Options that let a container run systemd and a Docker engine; ``--privileged`` grants more, and is not allowed
everywhere."""


@dataclass
class _Host(Lane):
    """One host.

    :param created: True from the creation of its container to its removal.
    :param booted: True while the container runs or its end is not handled yet.
    """

    created: bool = False
    booted: bool = False
    frozen: bool = False


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
        self._network = network
        self._variables = host_config.network_variables(os.environ if environ is None else environ)
        self._image = image.ensure()
        self._lanes = Lanes(_Host, (EngineError,), on_shutdown)
        self._unresponsive_ports: dict[str, UnresponsivePort] = {}
        self._boot_slots = threading.BoundedSemaphore(_PARALLEL_BOOTS)
        self._watch = HostWatch(f"{HOME_LABEL}={network.home}", self._on_end)

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
        self._lanes.start(spec, self._boot)

    def stop(self, instance_id: str) -> None:
        """Shut a host down that is on; every process of it is gone on return, its disk is kept.

        :raises HostError: it is still running after 150 s.
        """
        self._lanes.end(instance_id, self._stop)

    def destroy(self, instance_id: str) -> None:
        """Remove a host with its disk.

        :raises HostError: it cannot be removed.
        """
        self._lanes.end(instance_id, self._remove)
        self._lanes.remove(instance_id)

    def reboot(self, instance_id: str) -> None:
        """Shut a host down and boot it again; returns at once. Does nothing if it is off."""
        self._lanes.submit(instance_id, self._reboot)

    def open_at(self, instance_id: str, addresses: Collection[str]) -> None:
        """Let the SSH port answer at these addresses of a host only; returns at once. Open connections stay."""
        self._lanes.open_at(instance_id, addresses, self._update_gate)

    def freeze(self, instance_id: str) -> None:
        """Suspend a host: connections stay open, and nothing answers. Does nothing if it is off."""
        self._lanes.submit(instance_id, self._pause)

    def thaw(self, instance_id: str) -> None:
        """Resume a frozen host. Does nothing if it is off."""
        self._lanes.submit(instance_id, self._unpause)
        self._lanes.submit(instance_id, self._update_gate)

    def console(self, instance_id: str) -> bytes:
        """Return the boot messages of a host; empty if there are none."""
        return docker_output("logs", self._name(instance_id))

    def unresponsive_port(self, address: str, port: int, accepts: bool) -> UnresponsiveDockerPort:
        """Open a port on which connections hang, on the host with ``address``, from its next boot on.

        :param accepts: True if connections are accepted and then get no data; otherwise they are not answered at all.
        """
        # By address: the wrapper opens the port before it starts the host.
        self._unresponsive_ports[address] = UnresponsivePort(port, accepts)
        return UnresponsiveDockerPort(lambda: self._unresponsive_ports.pop(address, None))

    def close(self) -> None:
        """Stop and remove all hosts; nothing of them is left on return."""
        hosts = self._lanes.close()
        for host in hosts:
            # An operation under way must end before its container is removed.
            host.executor.shutdown(wait=True, cancel_futures=True)
        if created := [self._name(host.spec.instance_id) for host in hosts if host.created]:
            docker("rm", "--force", "--volumes", *created, timeout_s=_CLOSE_DEADLINE_S)
        self._watch.close()

    def _boot(self, host: _Host) -> None:
        if host.ending.wait(host.spec.boot_seconds):
            return
        with self._boot_slots:
            if not host.created:
                self._create(host)
            port = self._unresponsive_ports.get(host.spec.address)
            self._copy(host, host_config.boot_files(host.spec, self._network.block, port))
            docker("start", self._name(host.spec.instance_id))
            host.booted = True

    def _create(self, host: _Host) -> None:
        spec = host.spec
        image_tag = image.ensure("engine") if spec.has_engine else self._image
        # Set before the call: a create that times out may have succeeded, and must be removed.
        host.created = True
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
            # Layers of an engine cannot lie on the container's own layers.
            *self._network.volume("/var/lib/docker"),
            *self._network.volume("/var/lib/containerd"),
            *_LOG_OPTIONS,
            image_tag,
        )
        self._copy(host, host_config.image_files(spec, self._variables, self._network.block.endpoint))

    def _update_gate(self, host: _Host) -> None:
        # A frozen host executes nothing; it follows when it is thawed.
        if not host.booted or host.frozen:
            return
        try:
            self._copy(host, host_config.gate_files(host.spec, self._network.block.ssh_port))
            docker("exec", self._name(host.spec.instance_id), *host_config.GATE_COMMAND)
        except EngineError as error:
            # It may have shut itself down; the rules are applied at every boot.
            _log.warning("%s: its security groups are not applied: %s", host.spec.instance_id, error)

    def _copy(self, host: _Host, files: Mapping[str, str]) -> None:
        docker("cp", "-", f"{self._name(host.spec.instance_id)}:/", stdin=system_files.to_tar(files))

    def _stop(self, host: _Host) -> None:
        if host.booted:
            self._unpause(host)
            docker("stop", "--time", str(_STOP_GRACE_S), self._name(host.spec.instance_id))
            host.booted = False

    def _remove(self, host: _Host) -> None:
        if host.created:
            self._unpause(host)
            docker("rm", "--force", "--volumes", self._name(host.spec.instance_id))
            host.created = host.booted = False

    def _pause(self, host: _Host) -> None:
        docker("pause", self._name(host.spec.instance_id))
        # Remembered, because a paused container must be resumed before it can be stopped.
        host.frozen = True

    def _unpause(self, host: _Host) -> None:
        if host.frozen:
            host.frozen = False
            docker("unpause", self._name(host.spec.instance_id))

    def _reboot(self, host: _Host) -> None:
        self._stop(host)
        self._boot(host)

    def _on_end(self, instance_id: str) -> None:
        # On the host's own thread: an operation on the container may be under way there.
        self._lanes.submit(instance_id, self._on_exit)

    def _on_exit(self, host: _Host) -> None:
        """Handle the end of a container that was not stopped from here."""
        if not host.booted or host.ending.is_set():
            return
        state = docker(
            "inspect", "--format", "{{.State.Running}} {{.State.ExitCode}}", self._name(host.spec.instance_id)
        )
        running, _, code = state.partition(" ")
        # It may have been started again since.
        if running == "true":
            return
        host.booted = False
        if int(code) == _REBOOTED:
            self._boot(host)
        else:
            self._lanes.report_shutdown(host)

    def _name(self, instance_id: str) -> str:
        return f"{self._network.name}-{instance_id}"
