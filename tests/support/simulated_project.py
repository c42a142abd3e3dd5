"""One researcher's lives in a cloud in memory: sessions in virtual time, and what must hold at the end of each."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC
from pathlib import Path
from typing import Any

from localcloud.scenarios.scenario import make_fault
from localcloud.simulation.cloud import InMemoryCloud
from orchestrator.aws import client, identity
from orchestrator.cluster.context import Runtime
from orchestrator.config import settings
from orchestrator.core.clock import REAL_CLOCK, Backoff, Clock
from orchestrator.core.errors import ConnectError, HostError
from orchestrator.core.events import Event
from orchestrator.core.host import Host
from orchestrator.core.journal import Journal
from orchestrator.session import Session
from orchestrator.ssh import CommandResult

OWNER = "arn:aws:iam::123456789012:user/researcher"
REGION = "us-west-2"
CONFIG = """
[cluster]
name = ml
{cluster}
[aws]
region = us-west-2
ssh_from = 203.0.113.7/32
{aws}
[ssh]
ready_timeout = 300
"""


@dataclass
class SimulatedSsh:
    """SSH to machines on paper: they answer when the cloud says that they can be reached."""

    cloud: InMemoryCloud
    clock: Clock

    def wait_until_ready(
        self, host: Host, *, timeout_s: float, failure_reason: Callable[[], str] | None = None
    ) -> float:
        """As `SshClient.wait_until_ready`."""
        for waited in self.clock.attempts(timeout_s, Backoff(0.5, 5.0)):
            kind = self.cloud.ssh_fault(host.identity)
            if not kind:
                return waited
            if reason := failure_reason() if failure_reason else "":
                raise HostError(f"the VM stopped before SSH was up: {reason}", where=host.name)
        raise ConnectError(kind, f"ssh: {kind}", where=host.name)

    def run(self, host: Host, command: str, **_: Any) -> CommandResult:
        """As `SshClient.run`: every command is carried out, and says nothing."""
        return CommandResult(host.name, command, "", "", 0, 0.1)

    def disconnect(self, host: Host) -> None:
        """Nothing is kept."""

    def disconnect_all(self) -> None:
        """Nothing is open."""

    def close(self) -> None:
        """Nothing is open."""


@dataclass
class SimulatedProject:
    """A researcher with one cloud.

    :param cluster: more lines of the config's ``[cluster]``.
    :param aws: more lines of its ``[aws]``.
    """

    cloud: InMemoryCloud
    folder: Path
    cluster: str = ""
    aws: str = ""
    events: list[Event] = field(default_factory=list)
    random: random.Random = field(default_factory=lambda: random.Random(7))

    @property
    def clock(self) -> Clock:
        """The cloud's clock, and names that are drawn."""
        clock = self.cloud.clock
        return Clock(
            monotonic=clock.now,
            sleep=clock.sleep,
            random=self.random.random,
            now=lambda: clock.utc().replace(tzinfo=UTC),
            new_id=lambda: f"{self.random.getrandbits(128):032x}",
        )

    def session(self, computer: str = "laptop") -> Session:
        """A process that has just started on this computer."""
        path = self.folder / "config.ini"
        path.write_text(CONFIG.format(cluster=self.cluster, aws=self.aws))
        patience = self.clock
        clients = client.Clients(self.cloud.session(), region=REGION, clock=patience, sequential=True)
        links: Any = SimulatedSsh(self.cloud, patience)
        runtime = Runtime(clock=patience, connect=lambda ssh: links, sequential=True)
        return Session(
            settings.load(path, {}, files=False),
            home=self.folder / computer,
            runs=self.folder / "runs",
            tell=self.events.append,
            clients=clients,
            runtime=runtime,
        )

    @property
    def our_states(self) -> list[str]:
        """States of our machines that have not ended."""
        return [one.state for one in self.cloud.live_instances() if one.tags.get(identity.TAG_OWNER) == OWNER]

    @property
    def warnings(self) -> list[str]:
        """What was told as a warning, and as progress of the request."""
        return [one.text for one in self.events if one.state == "warning" or one.phase in ("request", "replace")]

    @property
    def launch_requests(self) -> int:
        """How many launches were asked for in earnest, repeated requests counted once."""
        entries = Journal(self.folder / "laptop", REAL_CLOCK).entries()
        return sum(entry.kind == "launch" for entry in entries)

    def count_calls(self, action: str) -> int:
        """How often an action was called so far."""
        return sum(seen.action == action for seen in self.cloud.calls)


LAG = make_fault("invisible", seconds=60)
