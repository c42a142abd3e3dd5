"""One rehearsal machine: a process that boots, serves SSH, holds all that was started on it, and takes it along."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

import asyncssh

from localcloud.hosts import user_data
from localcloud.hosts.process import disk, ssh_server
from localcloud.hosts.process.boot import Boot, Console
from localcloud.hosts.process.power import PowerAction, PowerSwitch
from localcloud.hosts.process.processes import Children, adopt_orphans, kill_all_below
from localcloud.hosts.process.sandbox import Confinement, Rules, confine
from localcloud.hosts.process.ssh_session import LoginEnvironment
from localcloud.hosts.spec import HostLayout, HostSpec, SharedSettings

_KILL_DEADLINE_S = 10.0
_RETRY_LISTEN_S = 0.5
_OPEN_FILES = 65536


class ExitStatus(IntEnum):
    """How a machine's process ends, told by its exit status; any other status means it crashed."""

    STOPPED = 40
    SHUTDOWN = 41
    REBOOT = 42


@dataclass(frozen=True)
class HostStart:
    """What a machine's process is started with.

    :param opens_at: when SSH may open, on the clock of :func:`time.monotonic`.
    :param tell: reports an event to whoever runs the machines.
    """

    spec: HostSpec
    shared: SharedSettings
    opens_at: float
    send_event: Callable[[dict[str, Any]], None]


def run_host(ignition: HostStart) -> int:
    """Be the machine, in this process, until it is switched off.

    :returns: an :class:`Exit`.
    """
    spec, surroundings = ignition.spec, ignition.shared
    adopt_orphans()
    os.umask(0o022)
    _allow_many_files()
    writable = (spec.folder, surroundings.cache)
    confinement = confine(Rules(surroundings.readable, surroundings.executable, writable))
    # Only now: what ran on this disk before may have put links to the user's files where furniture goes.
    disk.prepare(spec, surroundings)
    os.chdir(HostLayout(spec.folder, spec.user).home)
    return asyncio.run(ProcessHost(ignition, confinement).run())


def _allow_many_files() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class ProcessHost:
    """The life of one machine between power-on and power-off."""

    def __init__(self, ignition: HostStart, confinement: Confinement) -> None:
        self._start = ignition
        self._spec = ignition.spec
        self._layout = HostLayout(self._spec.folder, self._spec.user)
        self._confinement = confinement
        self._children = Children()
        self._console = Console(self._layout.console)
        self._environment = disk.environment(self._spec, ignition.shared)

    async def run(self) -> int:
        """Boot, serve, end.

        :returns: an :class:`Exit`.
        """
        loop = asyncio.get_running_loop()
        self._off: asyncio.Future[ExitStatus] = loop.create_future()
        self._children.attach()
        loop.add_signal_handler(signal.SIGTERM, self._switch_off, ExitStatus.STOPPED)
        loop.add_signal_handler(signal.SIGUSR1, self._switch_off, ExitStatus.REBOOT)
        switch = PowerSwitch(self._layout.control, on_action=self._on_power_action, log=self._console.log)
        booting = asyncio.create_task(self._boot())
        reason = await self._off
        switch.close()
        booting.cancel()
        left = await kill_all_below(os.getpid(), deadline_s=_KILL_DEADLINE_S)
        self._console.log("reboot: Restarting system" if reason is ExitStatus.REBOOT else "reboot: Power down")
        if left:
            self._console.log(f"processes that could not be killed: {left}")
        return reason

    def _on_power_action(self, cause: PowerAction) -> None:
        self._switch_off(ExitStatus.REBOOT if cause == "reboot" else ExitStatus.SHUTDOWN)

    def _switch_off(self, reason: ExitStatus) -> None:
        if not self._off.done():
            self._off.set_result(reason)

    async def _boot(self) -> None:
        try:
            await self._boot_stages()
        except Exception as error:
            # As on a real machine: a boot that fails leaves a machine that runs, and cannot be reached.
            self._console.log(f"boot failed: {type(error).__name__}: {error}")
            self._write_result("error")
            raise

    async def _boot_stages(self) -> None:
        self._console.log(f"{self._spec.hostname}: rehearsal machine {self._spec.instance_id} boots")
        self._console.log(f"{self._confinement}")
        data = user_data.parse(self._spec.user_data)
        boot = Boot(self._spec, data, self._environment, self._children, self._console)
        keys = await boot.run_early()
        await asyncio.sleep(max(0.0, self._start.opens_at - time.monotonic()))
        await self._serve(keys)
        self._reload_on_hangup(boot)
        good = await boot.run_final()
        self._write_result("done" if good else "error")
        self._console.log(f"cloud-init finished: {'done' if good else 'error'}")

    async def _serve(self, keys: list[asyncssh.SSHKey]) -> None:
        spec = self._spec
        door = ssh_server.SshServer(spec.address, spec.port, spec.user, self._layout.authorized_keys)
        login = LoginEnvironment(self._children, lambda: dict(self._environment), self._layout.home, disk.shell())
        while True:
            try:
                self._acceptor = await ssh_server.serve(door, login, keys)
                break
            except OSError as error:
                self._console.log(f"sshd: cannot listen on {spec.address} port {spec.port}: {error.strerror}")
                await asyncio.sleep(_RETRY_LISTEN_S)
        self._console.log(f"sshd: listening on {spec.address} port {spec.port}")
        confinement = {"confined": self._confinement.protects_files, "landlock_abi": self._confinement.abi}
        self._start.send_event({"event": "running", "id": spec.instance_id, **confinement})

    def _reload_on_hangup(self, boot: Boot) -> None:
        """Read the host keys anew on SIGHUP, as sshd(8) does; connections that are open stay as they are."""

        def reload() -> None:
            keys = boot.host_keys()
            if keys:
                self._acceptor.update(server_host_keys=keys)
            self._console.log(f"sshd: Received SIGHUP; {len(keys)} host keys read")

        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload)
        (self._layout.run / "sshd.pid").write_text(f"{os.getpid()}\n")

    def _write_result(self, status: str) -> None:
        """Leave the outcome of the boot for ``cloud-init status``, whole or not at all."""
        result = self._layout.run / "cloud-init-result"
        draft = result.with_suffix(".new")
        with contextlib.suppress(OSError):
            draft.write_text(status + "\n")
            draft.replace(result)
            _touch(self._layout.cloud / "instance/boot-finished")


def _touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
