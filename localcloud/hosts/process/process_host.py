"""One process host: a process that boots, serves SSH, and ends everything that was started on it with itself."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import IntEnum
from functools import partial
from pathlib import Path
from typing import Any

import asyncssh

from localcloud.core.process_tree import adopt_orphans, kill_all_below
from localcloud.hosts import user_data
from localcloud.hosts.hostile import behavior
from localcloud.hosts.process import disk, image
from localcloud.hosts.process.boot import Boot, Console
from localcloud.hosts.process.children import Children
from localcloud.hosts.process.power import PowerAction, PowerSwitch
from localcloud.hosts.process.sandbox import Confinement, Rules, confine
from localcloud.hosts.process.ssh_server import Gate, SshPort, SshServer
from localcloud.hosts.process.ssh_session import LoginEnvironment
from localcloud.hosts.spec import HostLayout, HostSpec, SharedSettings

_KILL_DEADLINE_S = 10.0
_RETRY_LISTEN_S = 0.5
_OPEN_FILES = 65536

LATE_SIGNALS = frozenset((signal.SIGUSR1, signal.SIGUSR2))
"""Signals that the supervisor blocks before it forks a host, which unblocks them once it handles them."""


class ExitStatus(IntEnum):
    """Exit status of a host's process; any other status is a crash."""

    STOPPED = 40
    SHUTDOWN = 41
    REBOOT = 42


@dataclass(frozen=True)
class HostStart:
    """Arguments of a host's process.

    :param opens_at: time at which SSH may open, on the clock of :func:`time.monotonic`.
    :param send_event: reports an event to the supervisor.
    :param gate: decides at which addresses SSH answers; the supervisor sends SIGUSR2 after a change.
    """

    spec: HostSpec
    shared: SharedSettings
    opens_at: float
    send_event: Callable[[dict[str, Any]], None]
    gate: Gate


def run_host(start: HostStart) -> int:
    """Run a host in this process until it is off.

    :returns: an :class:`ExitStatus`.
    """
    spec, shared = start.spec, start.shared
    # First of all, so that no later descendant can escape.
    adopt_orphans()
    os.umask(0o022)
    _allow_many_files()
    # Before confining: images are outside.
    image.seed(spec, shared.home)
    writable = (spec.folder, shared.cache, shared.file_systems)
    confinement = confine(Rules(shared.readable, shared.executable, writable))
    # After confining: programs of an earlier boot may have left links to the user's files in these places.
    disk.prepare(spec, shared)
    os.chdir(HostLayout(spec.folder, spec.user).home)
    return asyncio.run(ProcessHost(start, confinement).run())


def _allow_many_files() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class ProcessHost:
    """A host between power-on and power-off."""

    def __init__(self, start: HostStart, confinement: Confinement) -> None:
        self._start = start
        self._spec = start.spec
        self._layout = HostLayout(self._spec.folder, self._spec.user)
        self._confinement = confinement
        self._children = Children()
        self._console = Console(self._layout.console)
        self._environment = disk.environment(self._spec, start.shared)
        self._updates: set[asyncio.Task[None]] = set()
        self._ports = {address: self._port(address) for address in self._spec.addresses}

    def _port(self, address: str) -> SshPort:
        spec = self._spec
        hostility = behavior.read(spec.folder)
        hostile_part = hostility if hostility is not None and hostility.is_port else None
        own_port = spec.port if hostile_part is None else spec.port + 1
        login = LoginEnvironment(
            self._children,
            lambda: dict(self._environment),
            self._layout.home,
            disk.shell(),
            lambda: behavior.read(spec.folder),
        )
        server = SshServer(address, own_port, spec.user, self._layout.authorized_keys)
        return SshPort(spec.port, server, self._start.gate, login, hostile_part)

    async def run(self) -> int:
        """Boot, serve SSH, and shut down.

        :returns: an :class:`ExitStatus`.
        """
        loop = asyncio.get_running_loop()
        self._off: asyncio.Future[ExitStatus] = loop.create_future()
        # Before the first program is started, whose end would be missed otherwise.
        self._children.attach()
        loop.add_signal_handler(signal.SIGTERM, self._switch_off, ExitStatus.STOPPED)
        loop.add_signal_handler(signal.SIGUSR1, self._switch_off, ExitStatus.REBOOT)
        loop.add_signal_handler(signal.SIGUSR2, self._follow_gate)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, LATE_SIGNALS)
        self._follow_gate()
        power_switch = PowerSwitch(self._layout.control, on_action=self._on_power_action, log=self._console.log)
        booting = asyncio.create_task(self._boot())
        status = await self._off
        power_switch.close()
        # A shutdown during the boot, for example in user data, ends the remaining stages.
        booting.cancel()
        left = await kill_all_below(os.getpid(), deadline_s=_KILL_DEADLINE_S)
        self._console.log("reboot: Restarting system" if status is ExitStatus.REBOOT else "reboot: Power down")
        if left:
            self._console.log(f"processes that could not be killed: {left}")
        return status

    def _on_power_action(self, cause: PowerAction) -> None:
        self._switch_off(ExitStatus.REBOOT if cause == "reboot" else ExitStatus.SHUTDOWN)

    def _switch_off(self, reason: ExitStatus) -> None:
        if not self._off.done():
            self._off.set_result(reason)

    async def _boot(self) -> None:
        try:
            await self._boot_stages()
        except Exception as error:
            # As on EC2, a failed boot leaves an instance that is running and cannot be reached.
            self._console.log(f"boot failed: {type(error).__name__}: {error}")
            self._write_result("error")
            raise

    async def _boot_stages(self) -> None:
        self._console.log(f"{self._spec.hostname}: booting {self._spec.instance_id}")
        self._console.log(f"{self._confinement}")
        data = user_data.parse(self._spec.user_data)
        boot = Boot(self._spec, data, self._environment, self._children, self._console)
        keys = await boot.run_early()
        await asyncio.sleep(max(0.0, self._start.opens_at - time.monotonic()))
        await self._serve(keys)
        self._reload_on_hangup(boot)
        is_ok = await boot.run_final()
        self._write_result("done" if is_ok else "error")
        self._console.log(f"cloud-init finished: {'done' if is_ok else 'error'}")

    def _follow_gate(self) -> None:
        for address, port in self._ports.items():
            task = asyncio.create_task(self._retry(address, port.update))
            # Kept, because the loop holds tasks only weakly.
            self._updates.add(task)
            task.add_done_callback(self._updates.discard)

    async def _serve(self, keys: list[asyncssh.SSHKey]) -> None:
        for address, port in self._ports.items():
            await self._retry(address, partial(port.serve, keys))
            self._console.log(f"sshd: listening on {address} port {self._spec.port}")
        confinement = {"confined": self._confinement.protects_files, "landlock_abi": self._confinement.abi}
        self._start.send_event({"event": "running", "id": self._spec.instance_id, **confinement})

    async def _retry(self, address: str, change: Callable[[], Awaitable[None]]) -> None:
        """Change the SSH port at one address, however long the address is taken."""
        while True:
            try:
                return await change()
            except OSError as error:
                self._console.log(f"sshd: cannot listen on {address} port {self._spec.port}: {error.strerror}")
                await asyncio.sleep(_RETRY_LISTEN_S)

    def _reload_on_hangup(self, boot: Boot) -> None:
        """Reload the host keys on SIGHUP, as sshd(8) does; open connections are not affected."""

        def reload() -> None:
            keys = boot.host_keys()
            for port in self._ports.values() if keys else ():
                port.use_keys(keys)
            self._console.log(f"sshd: Received SIGHUP; {len(keys)} host keys read")

        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload)
        (self._layout.run / "sshd.pid").write_text(f"{os.getpid()}\n")

    def _write_result(self, status: str) -> None:
        """Write the outcome of the boot for ``cloud-init status``, atomically."""
        result = self._layout.run / "cloud-init-result"
        draft = result.with_suffix(".new")
        with contextlib.suppress(OSError):
            draft.write_text(status + "\n")
            # ``cloud-init status --wait`` reads the file as soon as it exists.
            draft.replace(result)
            _touch(self._layout.cloud / "instance/boot-finished")


def _touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
