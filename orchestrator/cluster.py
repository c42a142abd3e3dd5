"""The machines of one cluster: launching them, looking at them, stopping, starting and ending them.

The cloud is the state file. Every method finds the machines by their tags, so a second computer sees the same cluster.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from orchestrator import fleet, hostkeys, keys, money
from orchestrator.arrivals import Arrivals, Arrived
from orchestrator.cloud import aws, ec2, ending, groups, keypairs, launching, planning, prices
from orchestrator.errors import CloudRefused, LeftRunning, StratusError, UsageError
from orchestrator.events import Event, Tell, ignore
from orchestrator.hosts import Host
from orchestrator.journal import Journal
from orchestrator.reports import ClusterStatus, InstanceResult, Machine, TerminateReport

if TYPE_CHECKING:
    from orchestrator.config.settings import Settings
    from orchestrator.ssh import Links

T = TypeVar("T")

# While SSH is waited for, EC2 is asked at most this often whether the machines still live; one call answers for all.
PULSE_S = 5.0


class Cluster:
    """One cluster, as one set of settings means it.

    :param home: folder of everything that is kept on this computer.
    :param tell: hears of every change of state.
    :param clients: AWS clients; made from the settings when not given.
    """

    def __init__(
        self, settings: Settings, *, home: Path, tell: Tell = ignore, clients: aws.Clients | None = None
    ) -> None:
        self.settings = settings
        self.home = home
        self.tell = tell
        self.clients = clients or aws.clients(settings.aws)

    @cached_property
    def links(self) -> Links:
        """The SSH connections, kept for as long as this object is."""
        from orchestrator.ssh import Links

        return Links(connect_timeout=self.settings.ssh.connect_timeout)

    @cached_property
    def identity(self) -> aws.Identity:
        """Who AWS says we are; asked once."""
        return aws.identity(self.clients)

    @cached_property
    def mine(self) -> aws.Mine:
        """What tells this cluster's things from everybody else's."""
        return aws.mine(self.clients, self.settings, self.identity)

    @cached_property
    def login(self) -> keypairs.Login:
        """The key that opens the machines."""
        return keypairs.login(self.settings, self.mine, home=self.home)

    @cached_property
    def journal(self) -> Journal:
        """Where intent is written down before anything is made."""
        return Journal(self.home)

    @cached_property
    def pins(self) -> hostkeys.Pins:
        """The host keys that this computer has seen take effect."""
        return hostkeys.Pins(self.home / "ssh" / "pins")

    @cached_property
    def renewal(self) -> hostkeys.Renewal:
        """Gives hosts keys of their own; `settle_host_keys` is to be called after it."""
        return hostkeys.Renewal(self.links, partial(ec2.pin, self.clients), self.pins, self.tell)

    def settle_host_keys(self) -> None:
        """Let the tags forget the launch's key of all machines that got one of their own; one call for all."""
        done = self.renewal.take()
        try:
            if done:
                ec2.forget_boot_keys(self.clients, done)
        except StratusError as error:
            self.tell(Event("", "hostkey", "warning", text=str(error).splitlines()[0]))

    def close(self) -> None:
        """Close the SSH connections; the machines stay."""
        if "links" in self.__dict__:
            self.links.close()

    # -- looking

    def instances(self) -> list[ec2.Instance]:
        """Return the machines that are not ended, in the order of their names."""
        return ec2.describe(self.clients, cluster=self.mine.cluster, owner=self.mine.owner)

    def status(self) -> ClusterStatus:
        """Return the cluster as it is now; two API calls, one when we know already who we are."""
        machines = tuple(self._machine(each) for each in self.instances())
        return ClusterStatus(self.mine.cluster, self.mine.region, self.mine.owner, machines, datetime.now(UTC))

    def hosts(self, names: Sequence[str] = ()) -> list[Host]:
        """Return the running machines as hosts.

        :param names: only these; all when empty.
        :raises UsageError: none is up, or one of the names is not.
        """
        up = {each.name: each for each in self.instances() if each.state == "running"}
        if not up:
            raise UsageError(f"no machine of {self.mine.cluster} is up", fix="LaunchInstances()")
        unknown = [name for name in names if name not in up]
        if unknown:
            raise UsageError(f"{', '.join(unknown)}: not up", fix=f"up: {', '.join(up)}")
        return [self.host(up[name]) for name in names or up]

    def host(self, instance: ec2.Instance) -> Host:
        """Return what SSH needs to know of a machine."""
        address, ssh = instance.public_address or instance.private_address, self.settings.ssh
        if ssh.address != "auto":
            address = instance.public_address if ssh.address == "public" else instance.private_address
        pinned = self.pins.get(instance.id)
        return Host(
            name=instance.name, address=address, private_address=instance.private_address, port=ssh.port,
            user=ssh.user or instance.user, key_file=self.login.key_file, host_key=pinned or instance.host_key,
            identity=instance.id, boot_key="" if pinned else instance.boot_key,
        )  # fmt: skip

    def _machine(self, each: ec2.Instance) -> Machine:
        return Machine(
            name=each.name, id=each.id, type=each.type, state=each.state, zone=each.zone,
            address=each.public_address or each.private_address, launched=each.launched, expires=each.expires,
            per_hour=self.per_hour(each),
        )  # fmt: skip

    def per_hour(self, each: ec2.Instance) -> Decimal | None:
        """Return USD per hour of a running machine with its disk; None when unknown."""
        machine = prices.per_hour(each.type, self.mine.region)
        disk = prices.disk_per_hour(each.disk, self.mine.region) if each.disk else None
        return money.total([machine.usd if machine else None, disk.usd if disk else None])

    # -- launching

    def plan(self, count: int | None = None) -> planning.Plan:
        """Look up and check what a launch needs, and its price; nothing is changed.

        :param count: how many machines to add; the settings' when None.
        """
        return planning.plan(
            self.clients, self.settings, count=count or self.settings.cluster.count, identity=self.identity
        )

    def request(self, plan: planning.Plan) -> tuple[list[ec2.Instance], float]:
        """Ask EC2 for the machines of a plan; what was made for a launch that failed is removed again.

        :return: the instances, most of them pending, and the seconds that the one call took.
        """
        self.tell(Event("", "request", "start", text=f"{plan.count} x {plan.instance_type}"))
        try:
            launch_key = self._openings(plan)
            began = time.monotonic()
            instances = launching.launch(self.clients, plan, launch_key=launch_key, journal=self.journal)
        except LeftRunning:
            raise
        except BaseException:
            if not plan.living:
                self._clear_away()
            raise
        seconds = time.monotonic() - began
        self.tell(Event("", "request", "done", seconds))
        return instances, seconds

    def _openings(self, plan: planning.Plan) -> launching.LaunchKey:
        """Make sure of the group and the key pair that the machines shall have."""
        access = groups.access(self.settings, plan.place.vpc_id)
        group, _ = self.clients.together(
            lambda: groups.ensure(self.clients, self.mine, access, journal=self.journal),
            lambda: keypairs.ensure(self.clients, self.mine, self.login, journal=self.journal, living=plan.living),
        )
        return launching.LaunchKey(self.login.key_name, group, keys.host_key())

    def _clear_away(self) -> None:
        """Remove group and key of a launch that came to nothing; the launch's own error is what counts."""
        for what in (partial(groups.delete, self.clients, self.mine), self._delete_key):
            try:
                what()
            except StratusError as error:
                self.tell(Event("", "request", "warning", text=str(error).splitlines()[0]))

    def _delete_key(self) -> list[str]:
        return keypairs.delete(self.clients, self.mine, self.login)

    def arrive(self, instances: Sequence[ec2.Instance], then: Callable[[Host], T]) -> fleet.Outcomes[Arrived[T]]:
        """Wait until machines answer SSH and do ``then`` on each as soon as it does; nobody waits for the slowest."""
        ssh = self.settings.ssh
        arrivals = Arrivals(
            links=self.links, host_of=self.host, watch=partial(self._running, [each.id for each in instances]),
            died=_Pulse(self.clients, [each.id for each in instances]), tell=self.tell,
            running_s=ssh.ready_timeout, ready_s=ssh.ready_timeout, renew=self.renewal,
        )  # fmt: skip
        try:
            return arrivals.each([each.name for each in instances], then)
        finally:
            self.settle_host_keys()

    def _running(self, ids: Sequence[str]) -> Iterator[ec2.Instance]:
        return ec2.watch(self.clients, ids, until="running", deadline_s=self.settings.ssh.ready_timeout)

    # -- stopping, starting, ending

    def stop(self) -> tuple[InstanceResult, ...]:
        """Stop the running machines; their disks stay, and cost."""
        running = [each for each in self.instances() if each.state in ("pending", "running")]
        ended = ending.stop(self.clients, running, mine=self.mine)
        self._forget(running)
        return self._reached(running, ended, "stopped")

    def start(self) -> tuple[tuple[InstanceResult, ...], fleet.Outcomes[Arrived[None]] | None]:
        """Start the stopped machines and wait until they answer SSH."""
        stopped = [each for each in self.instances() if each.state == "stopped"]
        ended = ending.start(self.clients, stopped, mine=self.mine)
        started = [each for each in stopped if ended[each.id].ok]
        arrived = self.arrive(started, lambda host: None) if started else None
        return self._reached(stopped, ended, "running"), arrived

    def _reached(
        self, instances: Sequence[ec2.Instance], ended: dict[str, ending.Ended], until: str
    ) -> tuple[InstanceResult, ...]:
        """Wait until machines are in a state and say of each whether it is."""
        states: dict[str, str] = {}
        failures: dict[str, Exception] = {}
        try:
            for each in ec2.watch(self.clients, [each.id for each in instances if ended[each.id].ok], until=until):
                states[each.id] = each.state
                self.tell(Event(each.name, until, "done"))
        except StratusError as error:
            failures = getattr(error, "errors", {})
        return tuple(_result(each, ended[each.id], states, failures) for each in instances)

    def terminate(self) -> TerminateReport:
        """End all machines of the cluster, then its group and key; needs neither SSH nor anything kept here.

        Everything that is left is in the report; nothing is raised for it.
        """
        instances = self.instances()
        spent = self._spent(instances)
        self._forget(instances)
        for each in instances:
            self.tell(Event(each.name, "terminate", "start"))
        ended = ending.terminate(self.clients, instances, mine=self.mine)
        results = self._gone([each for each in instances if ended[each.id].ok])
        report = tuple(
            InstanceResult(each.name, each.id, results.get(each.id, ended[each.id].state), ended[each.id].error)
            for each in instances
        )
        self.pins.forget(one.id for one in report if one.state == "terminated")
        if any(one.state != "terminated" for one in report):
            return TerminateReport(report, "kept: machines are left", "kept: machines are left", spent)
        return TerminateReport(report, self._removed(partial(groups.delete, self.clients, self.mine)),
                               self._removed(self._delete_key), spent)  # fmt: skip

    def _gone(self, instances: Sequence[ec2.Instance]) -> dict[str, str]:
        """Wait until machines are terminated; return the state that each was seen in last."""
        states = {each.id: "shutting-down" for each in instances}
        began = time.monotonic()
        try:
            for each in ending.await_gone(self.clients, instances):
                states[each.id] = "terminated"
                self.tell(Event(each.name, "terminate", "done", time.monotonic() - began))
        except LeftRunning:
            pass  # the states say which
        return states

    def _removed(self, delete: Callable[[], list[str]]) -> str:
        try:
            return "gone" if delete() else "none"
        except CloudRefused as error:
            return str(error).splitlines()[0]

    def _spent(self, instances: Sequence[ec2.Instance]) -> Decimal | None:
        now = datetime.now(UTC)
        costly = [each for each in instances if each.state != "stopped"]
        return money.total(money.spent(self.per_hour(each), each.launched, now) for each in costly)

    def _forget(self, instances: Sequence[ec2.Instance]) -> None:
        if "links" in self.__dict__:
            for each in instances:
                self.links.forget(self.host(each))


def _result(
    each: ec2.Instance, ended: ending.Ended, states: dict[str, str], failures: dict[str, Exception]
) -> InstanceResult:
    error = ended.error or str(failures.get(each.name, ""))
    return InstanceResult(each.name, each.id, states.get(each.id, ended.state), error)


class _Pulse:
    """Says why a machine died, asking EC2 at most every few seconds for all of them at once."""

    def __init__(self, clients: aws.Clients, ids: Sequence[str]) -> None:
        import threading

        self._clients = clients
        self._ids = ids
        self._lock = threading.Lock()
        self._asked = time.monotonic()
        self._dead: dict[str, str] = {}

    def __call__(self, identity: str) -> str:
        with self._lock:
            if time.monotonic() - self._asked >= PULSE_S:
                self._asked = time.monotonic()
                shown = ec2.look(self._clients, self._ids)
                self._dead = {each.id: f"{each.state} {each.reason}".strip() for each in shown if not each.alive}
            return self._dead.get(identity, "")
