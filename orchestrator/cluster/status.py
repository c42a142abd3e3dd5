"""What the use cases answer with: frozen records that the interface renders and ``--output json`` prints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from orchestrator.core import cost
from orchestrator.install.installer import HostInstall


@dataclass(frozen=True)
class Machine:
    """One machine of the cluster as the cloud tells it.

    :param state: EC2's word: pending, running, stopping, stopped, shutting-down, terminated.
    :param per_hour: USD per hour, its disk included; None when the price is unknown.
    :param expires: when it ends itself.
    :param disk_per_hour: USD per hour of its disk alone, which is billed while it is stopped, too.
    :param spot: it was bought on the spot market.
    :param stopped: since when it is stopped; None when it is not.
    """

    name: str
    id: str
    type: str
    state: str
    zone: str
    address: str
    launched: datetime | None
    expires: datetime | None
    per_hour: Decimal | None
    disk_per_hour: Decimal | None = None
    spot: bool = False
    stopped: datetime | None = None

    @property
    def billed(self) -> bool:
        """Whether it costs money by the hour now."""
        return self.state in ("pending", "running")

    @property
    def asleep(self) -> bool:
        """Whether it is stopped, or about to be: its disk is billed."""
        return self.state in ("stopping", "stopped")


@dataclass(frozen=True)
class ClusterStatus:
    """The whole cluster at one moment.

    :param at: the moment.
    :param foreign: machines in a cluster of this name that are another owner's, in words; they are never touched.
    """

    cluster: str
    region: str
    owner: str
    machines: tuple[Machine, ...]
    at: datetime
    foreign: tuple[str, ...] = ()

    @property
    def up(self) -> tuple[Machine, ...]:
        """The machines that cost money now."""
        return tuple(machine for machine in self.machines if machine.billed)

    @property
    def per_hour(self) -> Decimal | None:
        """USD per hour for all of them; None when one price is unknown."""
        return cost.total(machine.per_hour for machine in self.up)

    @property
    def asleep(self) -> tuple[Machine, ...]:
        """The machines that are stopped: their disks are billed."""
        return tuple(machine for machine in self.machines if machine.asleep)

    @property
    def asleep_per_hour(self) -> Decimal | None:
        """USD per hour for the disks of stopped machines; None when one price is unknown."""
        return cost.total(machine.disk_per_hour for machine in self.asleep)

    def forgotten(self, hours: float) -> tuple[Machine, ...]:
        """Return the machines that have been stopped for longer than some hours: nothing ends them by itself."""
        return tuple(
            one for one in self.asleep if one.stopped and (self.at - one.stopped).total_seconds() > hours * 3600
        )

    @property
    def spent(self) -> Decimal | None:
        """USD so far, of the machines that are still there."""
        return cost.total(cost.spent(machine.per_hour, machine.launched, self.at) for machine in self.up)

    @property
    def expires(self) -> datetime | None:
        """When the last of them ends itself; None when one of them never does."""
        times = [machine.expires for machine in self.up]
        return None if None in times or not times else max(time for time in times if time)


@dataclass(frozen=True)
class HostReady:
    """How one host came up, seconds: ``pending`` request to running, ``boot`` to SSH, ``ssh`` one round trip."""

    name: str
    zone: str
    pending: float
    boot: float
    ssh: float


@dataclass(frozen=True)
class LaunchReport:
    """What a launch brought.

    :param launch: id of the launch, ``stratus:run`` in the tags.
    :param api: seconds that the one RunInstances call took.
    :param ready: hosts that answer SSH.
    :param failed: name of every other host -> why.
    :param seconds: wall time of it all.
    """

    launch: str
    api: float
    ready: tuple[HostReady, ...]
    failed: Mapping[str, Exception]
    seconds: float


@dataclass(frozen=True)
class InstallReport:
    """What an install did.

    :param failed: name of every host that failed -> why.
    """

    hosts: tuple[HostInstall, ...]
    failed: Mapping[str, Exception]
    seconds: float

    @property
    def changed(self) -> int:
        """How many steps changed something, over all hosts."""
        return sum(host.changed for host in self.hosts)


@dataclass(frozen=True)
class RunHandle:
    """A run that was started and goes on by itself.

    :param roles: host -> its roles (``main``, ``scheduler``, ``worker``).
    :param folder: where its results will be.
    """

    run: str
    job: str
    multi: bool
    roles: Mapping[str, tuple[str, ...]]
    dashboard: bool
    folder: Path

    @property
    def short(self) -> str:
        """The end of the id, enough for Attach()."""
        return self.run.rsplit("-", 1)[-1]


@dataclass(frozen=True)
class RunResult:
    """A run that ended well."""

    run: str
    job: str
    seconds: float


@dataclass(frozen=True)
class RunSummary:
    """One line of the list of runs.

    :param state: running, done, failed, cancelled, lost.
    """

    run: str
    job: str
    multi: bool
    hosts: tuple[str, ...]
    state: str
    started: datetime | None
    seconds: float | None


@dataclass(frozen=True)
class CancelReport:
    """What a cancel left behind: per host the number of processes that would not go (0 is the answer to expect)."""

    run: str
    left: Mapping[str, int]
    failed: Mapping[str, Exception]


@dataclass(frozen=True)
class InstanceResult:
    """What stop, start or terminate did to one instance.

    :param state: the state it was seen in last.
    :param error: why not, when it was not.
    :param disk_per_hour: USD per hour of its disk, where that stays.
    """

    name: str
    id: str
    state: str
    error: str = ""
    disk_per_hour: Decimal | None = None


@dataclass(frozen=True)
class TerminateReport:
    """What a terminate ended.

    :param group: ``gone``, ``none`` (there was none of ours) or why it stays.
    :param key: the same for the key pair.
    :param spent: USD that the instances cost; None when a price is unknown.
    :param unsure: what nobody can say, and what is kept in other regions.
    :param note: what to know besides.
    :param foreign: machines in a cluster of this name that are another owner's, in words: they were left alone.
    """

    instances: tuple[InstanceResult, ...]
    group: str
    key: str
    spent: Decimal | None
    unsure: tuple[str, ...] = ()
    note: str = ""
    foreign: tuple[str, ...] = ()

    @property
    def left(self) -> tuple[str, ...]:
        """Everything that is still there, or may be."""
        found = [
            f"{one.id} {one.name}: {one.error or one.state}" for one in self.instances if one.state != "terminated"
        ]
        named = (("security group", self.group), ("key pair", self.key))
        kept = [f"{what}: {state}" for what, state in named if state not in ("gone", "none")]
        return (*found, *kept, *self.unsure)


@dataclass(frozen=True)
class Leftover:
    """What is left of a launch that was never seen to end: the program crashed, or was left in haste.

    :param run: id of the launch.
    :param since: when it began.
    :param machines: names and ids of those that live.
    :param may_come: how many more EC2 may still show.
    :param expires: when the last of them ends itself; None when that is unknown.
    """

    run: str
    since: datetime
    machines: tuple[str, ...]
    may_come: int
    per_hour: Decimal | None
    spent: Decimal | None
    expires: datetime | None


@dataclass(frozen=True)
class RecoverReport:
    """What became of leftovers.

    :param ended: whether they were to be ended; otherwise they were finished, or only listed.
    :param left: what could not be ended.
    """

    leftovers: tuple[Leftover, ...]
    ready: tuple[HostReady, ...] = ()
    failed: Mapping[str, Exception] = field(default_factory=dict)
    ended: bool = False
    left: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cost:
    """What the cluster costs and has cost."""

    per_hour: Decimal | None
    spent: Decimal | None
    at_most: Decimal | None
    expires: datetime | None


@dataclass(frozen=True)
class ExtendedHost:
    """One machine whose end was moved.

    :param before: when it would have ended itself.
    :param expires: when it does now.
    :param capped: that is earlier than asked for, because its ``max_dollars`` buys no more.
    """

    name: str
    before: datetime | None
    expires: datetime
    capped: bool


@dataclass(frozen=True)
class ExtendReport:
    """What Extend() did.

    :param failed: name of every machine whose end stays as it was -> why.
    :param at_most: USD from the start of the machines to their new ends; None when a price is unknown.
    :param max_dollars: the config's cap for one launch; 0 is none.
    """

    hosts: tuple[ExtendedHost, ...]
    failed: Mapping[str, Exception]
    at_most: Decimal | None
    max_dollars: float


@dataclass(frozen=True)
class AccessReport:
    """Who may reach the SSH port of the machines.

    :param before: networks that were admitted until now.
    :param now: those that are from now on.
    """

    before: tuple[str, ...]
    now: tuple[str, ...]
    port: int


@dataclass(frozen=True)
class IdleReport:
    """What IdleShutdown() did.

    :param minutes: of nobody's use after which the machines end themselves; 0 is never.
    :param hosts: names of those that know.
    :param failed: name of every other one -> why.
    """

    minutes: int
    hosts: tuple[str, ...]
    failed: Mapping[str, Exception]


@dataclass(frozen=True)
class Dashboard:
    """An open tunnel to a web page of the cluster.

    :param url: to open in a browser on this computer.
    :param close: ends the tunnel.
    """

    url: str
    close: Callable[[], None]
