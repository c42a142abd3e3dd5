"""A project on a simulated cloud: sessions in virtual time, with simulated SSH."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest

from localcloud.core.clock import VirtualClock
from localcloud.scenarios.scenario import Fault, Scenario, make_fault
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
LAG = make_fault("invisible", seconds=60)
"""EC2 shows instances a minute after their launch."""
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
    """SSH to simulated instances, which answer unless the cloud has an SSH fault for them.

    :param stdout: returns the output of a command on a host.
    :param timeouts_s: of the last command on each host, by its name.
    """

    cloud: InMemoryCloud
    clock: Clock
    stdout: Callable[[Host, str], str] = lambda host, command: ""
    timeouts_s: dict[str, float] = field(default_factory=dict)

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

    def run(self, host: Host, command: str, *, timeout_s: float = 30.0, **_: Any) -> CommandResult:
        """As `SshClient.run`: every command succeeds."""
        self.timeouts_s[host.name] = timeout_s
        return CommandResult(host.name, command, self.stdout(host, command), "", 0, 0.1)

    def stream(self, host: Host, *_: object, **options: Any) -> int:
        """As `SshClient.stream`: nothing can be installed, and no job can be followed."""
        del options
        raise HostError("simulated hosts run no jobs", where=host.name)

    def disconnect(self, host: Host) -> None:
        """Do nothing: no connection is kept."""

    def disconnect_all(self) -> None:
        """Do nothing: no connection is open."""

    def close(self) -> None:
        """Do nothing: no connection is open."""


@dataclass
class SimulatedProject:
    """A config file and home folders, on one simulated cloud.

    :param cluster: further lines of the section ``[cluster]``.
    :param aws: further lines of the section ``[aws]``.
    :param stdout: returns the output of a command on a host.
    :param config: template of the config file.
    :param keys: access key and secret key of all sessions; None for those of the user.
    """

    cloud: InMemoryCloud
    folder: Path
    cluster: str = ""
    aws: str = ""
    config: str = CONFIG
    stdout: Callable[[Host, str], str] = lambda host, command: ""
    events: list[Event] = field(default_factory=list)
    random: random.Random = field(default_factory=lambda: random.Random(7))
    keys: tuple[str, str] | None = None

    @property
    def clock(self) -> Clock:
        """The cloud's clock, with seeded random numbers and ids."""
        clock = self.cloud.clock
        return Clock(
            monotonic=clock.now,
            sleep=clock.sleep,
            random=self.random.random,
            now=lambda: clock.utc().replace(tzinfo=UTC),
            new_id=lambda: f"{self.random.getrandbits(128):032x}",
        )

    def session(self, computer: str = "laptop") -> Session:
        """Return the session of a new process on this computer."""
        path = self.folder / "config.ini"
        path.write_text(self.config.format(cluster=self.cluster, aws=self.aws))
        loaded, clock = settings.load(path, {}, files=False), self.clock
        clients = client.Clients(self.cloud.session(self.keys), region=loaded.aws.region, clock=clock, sequential=True)
        links: Any = SimulatedSsh(self.cloud, clock, self.stdout)
        runtime = Runtime(clock=clock, connect=lambda *_: links, sequential=True)
        return Session(
            loaded,
            home=self.folder / computer,
            runs=self.folder / "runs",
            on_event=self.events.append,
            clients=clients,
            runtime=runtime,
        )

    def as_role(self, role: str, session: str) -> SimulatedProject:
        """Return the same project for a session of a role, which is created if there is none of that name."""
        iam, sts = self.cloud.session().client("iam"), self.cloud.session().client("sts")
        if role not in [item["RoleName"] for item in iam.list_roles()["Roles"]]:
            iam.create_role(RoleName=role, AssumeRolePolicyDocument="{}")
        arn = f"arn:aws:iam::123456789012:role/{role}"
        credentials = sts.assume_role(RoleArn=arn, RoleSessionName=session)["Credentials"]
        return replace(self, keys=(credentials["AccessKeyId"], credentials["SecretAccessKey"]))

    @property
    def our_states(self) -> list[str]:
        """States of our instances that are not terminated."""
        return [item.state for item in self.cloud.live_instances() if item.tags.get(identity.TAG_OWNER) == OWNER]

    @property
    def warnings(self) -> list[str]:
        """Texts of warnings, and of the progress of requests and replacements."""
        return [item.text for item in self.events if item.state == "warning" or item.phase in ("request", "replace")]

    @property
    def launch_requests(self) -> int:
        """Number of launches in the journal; a repeated request counts once."""
        entries = Journal(self.folder / "laptop", REAL_CLOCK).entries()
        return sum(entry.kind == "launch" for entry in entries)

    def count_calls(self, action: str) -> int:
        """Return the number of calls of an action so far."""
        return sum(seen.action == action for seen in self.cloud.calls)


@pytest.fixture
def simulate(tmp_path: Path) -> Iterator[Callable[..., SimulatedProject]]:
    """Return a function that creates a project on a new simulated cloud with faults."""
    clouds: list[InMemoryCloud] = []

    def make(*faults: Fault, cluster: str = "", aws: str = "") -> SimulatedProject:
        clouds.append(InMemoryCloud(7, Scenario(7, faults), VirtualClock()))
        folder = tmp_path / str(len(clouds))
        folder.mkdir()
        return SimulatedProject(clouds[-1], folder, cluster, aws)

    yield make
    for cloud in clouds:
        cloud.close()
