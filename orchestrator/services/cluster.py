"""The machines of one cluster: launching them, looking at them, stopping, starting and ending them.

The cloud is the state file. Every method finds the machines by their tags, so a second computer sees the same cluster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from orchestrator.aws import client
from orchestrator.aws import identity as aws_identity
from orchestrator.aws.ec2 import instances as ec2_instances
from orchestrator.aws.ec2 import key_pairs, state_changes
from orchestrator.aws.ec2.state_changes import InstanceResult
from orchestrator.aws.launch import launch_log
from orchestrator.aws.launch import plan as launch_plan
from orchestrator.aws.pricing import price_list
from orchestrator.cluster import lifetime, preflight
from orchestrator.cluster.health import InstanceHealth
from orchestrator.cluster.launcher import Launcher, noting_remaining_instances
from orchestrator.cluster.readiness import ReadinessWaiter, ReadyHost
from orchestrator.cluster.replacement import Replacer
from orchestrator.cluster.status import ClusterStatus, Machine
from orchestrator.cluster.terminate import TerminateReport, Terminator
from orchestrator.core import cost
from orchestrator.core.errors import HostError, StratusError, UsageError
from orchestrator.core.events import Event, EventHandler, ignore_event
from orchestrator.core.host import Host
from orchestrator.core.journal import Journal
from orchestrator.core.next_step import NextStep, add_advice
from orchestrator.hosts import host_keys, parallel
from orchestrator.means import Runtime

if TYPE_CHECKING:
    from orchestrator.config.settings import Settings
    from orchestrator.ssh import SshClient

T = TypeVar("T")


class Cluster:
    """One cluster, as one set of settings means it.

    :param home: folder of everything that is kept on this computer.
    :param tell: hears of every change of state.
    :param clients: AWS clients; made from the settings when not given.
    :param means: time, SSH and threads.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        home: Path,
        tell: EventHandler = ignore_event,
        clients: client.Clients | None = None,
        means: Runtime | None = None,
    ) -> None:
        self.settings = settings
        self.home = home
        self.tell = tell
        self.runtime = means or Runtime()
        self.launcher = Launcher(self)
        self.clients = clients or client.create_clients(settings.aws, self.runtime.patience)

    @cached_property
    def ssh(self) -> SshClient:
        """The SSH connections, kept for as long as this object is."""
        return self.runtime.connect(self.settings.ssh)

    @cached_property
    def identity(self) -> aws_identity.Identity:
        """Who AWS says we are; asked once."""
        return aws_identity.caller_identity(self.clients)

    @cached_property
    def cluster_id(self) -> aws_identity.ClusterId:
        """What tells this cluster's things from everybody else's."""
        return aws_identity.cluster_id(self.clients, self.settings, self.identity)

    @cached_property
    def key_pair(self) -> key_pairs.KeyPair:
        """The key that opens the machines."""
        return key_pairs.for_settings(self.settings, self.cluster_id, home=self.home)

    @cached_property
    def journal(self) -> Journal:
        """Where intent is written down before anything is made."""
        return Journal(self.home, clock=self.runtime.patience)

    @property
    def launch_log(self) -> launch_log.LaunchLog:
        """What the journal knows of this cluster's launches."""
        return launch_log.LaunchLog(self.journal, self.cluster_id, self.runtime.patience)

    @cached_property
    def prices(self) -> price_list.PriceList:
        """The prices that this computer knows."""
        path, place = self.home / "prices.json", self.settings.aws.endpoint_url
        return price_list.PriceList(self.clients, path, endpoint=place, timeout_s=self.runtime.optional_timeout_s)

    @cached_property
    def known_hosts(self) -> host_keys.KnownHostKeys:
        """The host keys that this computer has seen take effect."""
        return host_keys.KnownHostKeys(self.home / "ssh" / "pins", self.runtime.patience)

    @cached_property
    def key_rotation(self) -> host_keys.HostKeyRotation:
        """Gives hosts keys of their own; `settle_host_keys` is to be called after it."""
        return host_keys.HostKeyRotation(
            self.ssh,
            partial(ec2_instances.tag_host_key, self.clients),
            self.known_hosts,
            self.tell,
            self.runtime.patience,
        )

    def clear_boot_key_tags(self) -> None:
        """Let the tags forget the launch's key of all machines that got one of their own; one call for all."""
        done = self.key_rotation.take_rotated()
        try:
            if done:
                ec2_instances.clear_boot_key_tags(self.clients, done)
        except StratusError as error:
            self.tell(Event("", "hostkey", "warning", text=str(error).splitlines()[0]))

    def close(self) -> None:
        """Close the SSH connections; the machines stay."""
        if "links" in self.__dict__:
            self.ssh.close()

    # -- looking

    def instances(self) -> list[ec2_instances.Instance]:
        """Return the machines that are not ended, in the order of their names."""
        return ec2_instances.describe(self.clients, cluster=self.cluster_id.cluster, owner=self.cluster_id.owner)

    def status(self) -> ClusterStatus:
        """Return the cluster as it is now; two API calls, one when we know already who we are, one more for spot."""
        mine = self.cluster_id
        found = ec2_instances.describe(self.clients, cluster=mine.cluster, owner=None)
        ours = [each for each in found if each.owner == mine.owner]
        if spot := {each.type for each in ours if each.is_spot}:
            self.prices.refresh_spot(spot)
        machines = tuple(self._machine(each) for each in ours)
        others = tuple(each.summary for each in found if each.owner != mine.owner)
        return ClusterStatus(mine.cluster, mine.region, mine.owner, machines, self.runtime.patience.now(), others)

    def other_owners(self) -> tuple[str, ...]:
        """Return the machines in a cluster of this name that are another owner's, in words."""
        found = ec2_instances.describe(self.clients, cluster=self.cluster_id.cluster, owner=None)
        return tuple(each.summary for each in found if each.owner != self.cluster_id.owner)

    def hosts(self, names: Sequence[str] = ()) -> list[Host]:
        """Return the running machines as hosts.

        :param names: only these; all when empty.
        :raises UsageError: none is up, or one of the names is not.
        """
        up = {each.name: each for each in self.instances() if each.state == "running"}
        if not up:
            raise UsageError(f"no machine of {self.cluster_id.cluster} is up", fix=NextStep("LaunchInstances"))
        unknown = [name for name in names if name not in up]
        if unknown:
            raise UsageError(f"{', '.join(unknown)}: not up", fix=f"up: {', '.join(up)}")
        return [self.host(up[name]) for name in names or up]

    def host(self, instance: ec2_instances.Instance) -> Host:
        """Return what SSH needs to know of a machine."""
        address, ssh = instance.public_address or instance.private_address, self.settings.ssh
        if ssh.address != "auto":
            address = instance.public_address if ssh.address == "public" else instance.private_address
        pinned = self.known_hosts.get(instance.id)
        return Host(
            name=instance.name,
            address=address,
            private_address=instance.private_address,
            port=ssh.port,
            user=ssh.user or instance.user,
            key_file=self.key_pair.key_file,
            host_key=pinned or instance.host_key,
            identity=instance.id,
            boot_key="" if pinned else instance.boot_key,
        )

    def _machine(self, each: ec2_instances.Instance) -> Machine:
        return Machine(
            name=each.name,
            id=each.id,
            type=each.type,
            state=each.state,
            zone=each.zone,
            address=each.public_address or each.private_address,
            launched=each.launched_at,
            expires=each.expires_at,
            per_hour=self.per_hour(each),
            disk_per_hour=self.disk_per_hour(each),
            spot=each.is_spot,
            stopped=each.stopped_at,
        )

    def per_hour(self, each: ec2_instances.Instance) -> Decimal | None:
        """Return USD per hour of a running machine with its disk; None when unknown."""
        listed = self.prices.per_hour(each.type, self.cluster_id.region)
        machine = self.prices.spot_per_hour(each.type, each.zone) if each.is_spot else listed
        return cost.total([machine.usd if machine else None, self.disk_per_hour(each)])

    def disk_per_hour(self, each: ec2_instances.Instance) -> Decimal | None:
        """Return USD per hour of a machine's disk, whether the machine runs or not; None when unknown."""
        disk = self.prices.disk_per_hour(each.disk, self.cluster_id.region) if each.disk else None
        return disk.usd if disk else None

    # -- launching

    def plan(self, count: int | None = None, *, more: preflight.Checks | None = None) -> launch_plan.LaunchPlan:
        """Look up and check what a launch needs, and its price; nothing is changed.

        :param count: how many machines to add; the settings' when None.
        :param more: questions about the job, asked at the same time.
        """
        try:
            desk = preflight.PreflightContext(
                self.clients,
                self.settings,
                self.identity,
                lambda: self.key_pair,
                self.launch_log,
                self.prices,
                more,
                tell=self.tell,
                optional_timeout_s=self.runtime.optional_timeout_s,
            )
            return preflight.plan(desk, count or self.settings.cluster.count)
        except KeyboardInterrupt as error:
            add_advice(error, "Nothing was launched.")
            raise

    def launch(self, plan: launch_plan.LaunchPlan) -> tuple[list[ec2_instances.Instance], float]:
        """Ask EC2 for the machines of a plan; what was made for a launch that failed is removed again.

        :return: the instances, most of them pending, and the seconds that the one call took.
        """
        self.tell(Event("", "request", "start", text=f"{plan.count} x {plan.instance_type}"))
        began = self.runtime.patience.monotonic()
        instances = self.launcher.request(plan)
        seconds = self.runtime.patience.monotonic() - began
        self.tell(Event("", "request", "done", seconds))
        return instances, seconds

    def delete_key(self) -> list[str]:
        """Delete the cluster's own key pair, here and in EC2, and return its name if there was one there."""
        return key_pairs.delete(self.clients, self.cluster_id, self.key_pair)

    def wait_until_ready(
        self,
        instances: Sequence[ec2_instances.Instance],
        then: Callable[[Host], T],
        *,
        plan: launch_plan.LaunchPlan | None = None,
    ) -> parallel.Outcomes[ReadyHost[T]]:
        """Wait until machines answer SSH and do ``then`` on each as soon as it does; nobody waits for the slowest.

        :param plan: what they were launched by: one that dies on the way, or never answers, is then replaced once.
        """
        machines, ssh = {each.name: each for each in instances}, self.settings.ssh
        patience = self.runtime.patience
        replacing = plan and Replacer(self.clients, plan, machines, self.launcher.launch_one, self.tell, patience)
        arrivals = ReadinessWaiter(
            links=self.ssh,
            host_of=lambda shown: self.host(_known(machines, shown)),
            watch=self._running,
            tell=self.tell,
            running_s=ssh.ready_timeout,
            failure_reason=InstanceHealth(self.clients, lambda: [each.id for each in machines.values()], patience),
            ready_s=ssh.ready_timeout,
            rotate_host_key=self.key_rotation,
            replace=replacing or _keep,
            means=self.runtime,
        )
        with noting_remaining_instances(machines.values()):
            try:
                return arrivals.wait({name: each.id for name, each in machines.items()}, then)
            except KeyboardInterrupt:
                if replacing:
                    replacing.stop()
                raise
            finally:
                self.clear_boot_key_tags()

    def _running(self, ids: Sequence[str], lost: Callable[[str, HostError], None]) -> Iterator[ec2_instances.Instance]:
        return ec2_instances.wait_for_state(
            self.clients,
            ids,
            state="running",
            deadline_s=self.settings.ssh.ready_timeout,
            on_lost=lost,
        )

    # -- stopping, starting, ending

    def stop(self) -> tuple[InstanceResult, ...]:
        """Stop the running machines; their disks stay, and cost."""
        running = [each for each in self.instances() if each.state in ("pending", "running")]
        ended = state_changes.stop(self.clients, running, cluster_id=self.cluster_id)
        self._forget(running)
        disks = {each.id: self.disk_per_hour(each) for each in running}
        return tuple(replace(one, disk_per_hour=disks[one.id]) for one in self._reached(running, ended, "stopped"))

    def start(self) -> tuple[tuple[InstanceResult, ...], parallel.Outcomes[ReadyHost[None]] | None]:
        """Start the stopped machines and wait until they answer SSH."""
        stopped = [each for each in self.instances() if each.state == "stopped"]
        ended = state_changes.start(self.clients, stopped, cluster_id=self.cluster_id)
        started = [each for each in stopped if ended[each.id].is_ok]
        arrived = self.wait_until_ready(started, lambda host: None) if started else None
        if arrived and arrived.succeeded:
            lifetime.tag_expiry_after_start(self, arrived.succeeded)
        return self._reached(stopped, ended, "running"), arrived

    def _reached(
        self, instances: Sequence[ec2_instances.Instance], ended: dict[str, state_changes.StateChange], until: str
    ) -> tuple[InstanceResult, ...]:
        """Wait until machines are in a state and say of each whether it is."""
        states: dict[str, str] = {}
        failures: dict[str, Exception] = {}
        try:
            ids = [each.id for each in instances if ended[each.id].is_ok]
            for each in ec2_instances.wait_for_state(self.clients, ids, state=until):
                states[each.id] = each.state
                self.tell(Event(each.name, until, "done"))
        except StratusError as error:
            # Not an error of some machines, but of asking about all: nobody knows how the others are.
            unknown = {each.name: error for each in instances if ended[each.id].is_ok and each.id not in states}
            failures = getattr(error, "errors", unknown)
        return tuple(_result(each, ended[each.id], states, failures) for each in instances)

    def terminate(self) -> TerminateReport:
        """End all machines of the cluster, then its group and key; needs neither SSH nor anything kept here.

        Everything that is left is in the report; nothing is raised for it.
        """
        report = Terminator(self).terminate_all()
        self.known_hosts.remove(one.id for one in report.instances if one.state == "terminated")
        self.close()
        for kept in ("links", "renewal"):
            self.__dict__.pop(kept, None)
        return report

    def _forget(self, instances: Sequence[ec2_instances.Instance]) -> None:
        if "links" in self.__dict__:
            for each in instances:
                self.ssh.disconnect(self.host(each))


def _result(
    each: ec2_instances.Instance,
    ended: state_changes.StateChange,
    states: dict[str, str],
    failures: dict[str, Exception],
) -> InstanceResult:
    error = ended.error or str(failures.get(each.name, ""))
    return InstanceResult(each.name, each.id, states.get(each.id, ended.state), error)


def _known(machines: Mapping[str, ec2_instances.Instance], shown: ec2_instances.Instance) -> ec2_instances.Instance:
    return next(
        (ec2_instances.with_known_tags(shown, each) for each in machines.values() if each.id == shown.id), shown
    )


def _keep(name: str, error: Exception, others_up: bool) -> None:
    """Replace nothing."""
