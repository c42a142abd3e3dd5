"""The user's computer in simulated runs: sessions in virtual time, with simulated SSH."""

from __future__ import annotations

import os
import random
import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localcloud.simulation.cloud import InMemoryCloud
from orchestrator.aws import client
from orchestrator.cluster.context import Runtime
from orchestrator.config import settings
from orchestrator.core.clock import Backoff, Clock
from orchestrator.core.errors import ConnectError, HostError
from orchestrator.core.host import Host
from orchestrator.session import Session
from orchestrator.ssh import CommandResult

if TYPE_CHECKING:
    from orchestrator.core.events import Event
    from tests.chaos.shutdown_timers import ShutdownTimers

SCRATCH = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else Path(tempfile.gettempdir())
"""Folder for home folders: in memory if possible, because every journal entry is flushed to disk."""

Keys = tuple[str, str] | None
"""Access key and secret key; None for those of the IAM user."""

_RETRY = Backoff(first_s=0.5, longest_s=5.0, growth=1.5)


@dataclass
class SimulatedSsh:
    """SSH to simulated instances.

    :param host_keys: instance id -> its host key, once it differs from the one generated at launch.
    :param lie: output of every command in place of the host's own; None for an honest host.
    """

    cloud: InMemoryCloud
    clock: Clock
    host_keys: dict[str, str]
    timers: ShutdownTimers | None = None
    lie: str | None = None

    def wait_until_ready(
        self, host: Host, *, timeout_s: float, failure_reason: Callable[[], str] | None = None
    ) -> float:
        """As `SshClient.wait_until_ready`."""
        start = self.clock.monotonic()
        last_error = ConnectError("silent", "ssh: no time", where=host.name)
        for _ in self.clock.attempts(timeout_s, _RETRY):
            try:
                self._connect(host)
                return self.clock.monotonic() - start
            except ConnectError as error:
                last_error = error
                if error.kind == "host-key":
                    raise
            if reason := failure_reason() if failure_reason else "":
                raise HostError(f"the VM stopped before SSH was up: {reason}", where=host.name)
        raise last_error

    def run(self, host: Host, command: str, *, timeout_s: float = 30.0, stdin: bytes = b"") -> CommandResult:  # noqa: ARG002
        """As `SshClient.run`, for the few commands that these runs need."""
        self._connect(host)
        self.clock.sleep(0.1)
        args = shlex.split(command)
        stdout = self._rotate(host, args[4:]) if "rotate.sh" in args[3:4] else ""
        stdout = self._timer(host, args[4:]) if "extend.sh" in args[3:4] else stdout
        stdout = "@@ready\n" if "bake.sh" in args[3:4] else stdout
        stdout = stdout if self.lie is None else self.lie
        return CommandResult(host.name, args[0], stdout, "", 0, 0.1)

    def disconnect(self, host: Host) -> None:
        """Do nothing: no connection is kept."""

    def disconnect_all(self) -> None:
        """Nothing is open."""

    def close(self) -> None:
        """Do nothing: no connection is open."""

    def _connect(self, host: Host) -> None:
        kind = self.cloud.ssh_fault(host.identity)
        if kind:
            self.clock.sleep(0.0 if kind == "refused" else 5.0)
            raise ConnectError(kind, f"ssh: {kind}", where=host.name)
        shown = self.host_keys.setdefault(host.identity, host.boot_key or host.host_key)
        if shown not in (host.host_key, host.boot_key):
            raise ConnectError("host-key", "ssh: another host key", where=host.name)

    def _timer(self, host: Host, limits: list[str]) -> str:
        left = self.cloud.hosts.shutdown_in_s(host.identity)
        if left is not None and self.timers:
            left = self.timers.extend(host.identity, self.cloud.clock.now(), limits)
            self.cloud.hosts.set_shutdown(host.identity, left)
        return "@@none\n" if left is None else f"@@until {self.clock.now().timestamp() + left:.0f} 0 0 0\n"

    def _rotate(self, host: Host, words: list[str]) -> str:
        mode, boot, *new = words
        if self.host_keys[host.identity] != boot:
            return f"@@current {self.host_keys[host.identity]}\n"
        if mode == "stage":
            return f"@@staged ssh-ed25519 {self.clock.new_id()}\n"
        self.host_keys[host.identity] = new[0]
        return f"@@current {new[0]}\n"


@dataclass
class VirtualComputer:
    """A computer of the user, connected to one cloud.

    :param home: the home folder, its only memory.
    :param random: source of jitter and tokens.
    :param host_keys: of the instances; they outlive a crash.
    :param credentials: keys of each process.
    :param clients: of the processes until a crash.
    :param on_request: called with the action and parameters of every request.
    """

    cloud: InMemoryCloud
    home: Path
    config: Path
    random: random.Random
    host_keys: dict[str, str] = field(default_factory=dict)
    on_request: Callable[[str, dict[str, Any]], None] = lambda action, params: None
    on_event: Callable[[Event], None] = lambda event: None
    timers: ShutdownTimers | None = None
    lie: str | None = None
    credentials: Iterator[Keys] = field(default_factory=lambda: repeat(None))
    clients: dict[tuple[str, Keys], client.Clients] = field(default_factory=dict)

    @property
    def clock(self) -> Clock:
        """The cloud's clock, with this computer's random numbers."""
        clock = self.cloud.clock
        return Clock(
            monotonic=clock.now,
            sleep=clock.sleep,
            random=self.random.random,
            now=lambda: clock.utc().replace(tzinfo=UTC),
            new_id=lambda: f"{self.random.getrandbits(128):032x}",
        )

    def session(self, config: settings.Settings | None = None) -> Session:
        """Return the session of a process that has just started."""
        config, clock = config or settings.load(self.config, {}), self.clock
        clients = self._clients(config.aws.region, next(self.credentials))
        hosts = partial(SimulatedSsh, self.cloud, host_keys=self.host_keys, timers=self.timers, lie=self.lie)
        connect: Any = lambda _ssh, clock: hosts(clock=clock)  # noqa: E731
        runtime = Runtime(clock=clock, connect=connect, sequential=True)
        return Session(
            config, home=self.home, runs=self.home / "runs", on_event=self.on_event, clients=clients, runtime=runtime
        )

    def _clients(self, region: str, keys: Keys) -> client.Clients:
        """Return the clients of a region; they are kept, because creating them takes long and they have no state."""
        if (region, keys) not in self.clients:
            boto = self.cloud.session(keys)
            boto.events.register(
                "provide-client-params", lambda params, model, **_: self.on_request(model.name, params)
            )
            self.clients[region, keys] = client.Clients(boto, region=region, clock=self.clock, sequential=True)
        return self.clients[region, keys]

    def after_crash(self, home: Path, *, empty: bool) -> VirtualComputer:
        """Return the computer after a crash at this moment, or another one with an empty home."""
        if not empty and self.home.is_dir():
            shutil.copytree(self.home, home)
        # The clients of the crashed process refuse every call.
        self.clients.clear()
        return replace(self, home=home)
