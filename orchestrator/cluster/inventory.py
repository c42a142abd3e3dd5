"""The instances of one cluster, found by their tags, and as hosts for everything that works over SSH."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING

from orchestrator.aws.ec2 import host_names, instance_tags, key_pairs
from orchestrator.aws.ec2 import instances as ec2_instances
from orchestrator.aws.ec2.instances import Instance
from orchestrator.cluster.context import ClusterContext
from orchestrator.core import cost
from orchestrator.core.created_once import CreatedOnce
from orchestrator.core.errors import StratusError, UsageError, first_line
from orchestrator.core.events import Event
from orchestrator.core.host import Host
from orchestrator.core.next_step import NextStep
from orchestrator.hosts.host_keys import HostKeyRotation
from orchestrator.ssh.via import proxy_command

if TYPE_CHECKING:
    from orchestrator.cluster.disks.mounting import HostDisks
    from orchestrator.cluster.meter import Meter
    from orchestrator.ssh import CommandResult


@dataclass(frozen=True)
class SameRoleOwner:
    """Instances that were launched with the caller's role, but not as this owner: by other people or computers.

    :param owner: value that names them: their owner id; the ARN in their tag if they have no id.
    :param session: role and session that launched them, ``assumed-role/Lab/ada``.
    :param instances: names, ids and states.
    :param usd_per_hour: of all that is billed: VMs and addresses that are up, disks in any state; None if unknown.
    """

    owner: str
    session: str
    instances: tuple[str, ...]
    usd_per_hour: Decimal | None

    @property
    def summary(self) -> str:
        """Names, session, owner and price, for a message."""
        names = " ".join(self.instances[:MAX_NAMED])
        names += f" and {len(self.instances) - MAX_NAMED} more" if len(self.instances) > MAX_NAMED else ""
        price = "price unknown" if self.usd_per_hour is None else f"${self.usd_per_hour:.2f}/h"
        owner_id = "no owner id" if self.owner.startswith("arn:") else f"owner id {self.owner}"
        return f"{names} of {self.session}, {owner_id}, {price}"


@dataclass(frozen=True)
class Survey:
    """The instances of a cluster's name.

    :param own: those of the cluster that are not terminated.
    :param ended: those of the cluster that EC2 still shows as terminated, which it does for about an hour.
    :param other_owners: those of other owners, as text.
    :param same_role: those that were launched with the caller's role, but have another owner id, or none.
    """

    own: list[Instance]
    ended: list[Instance]
    other_owners: tuple[str, ...]
    same_role: tuple[SameRoleOwner, ...] = ()


MAX_NAMED = 10
"""Instances of one other owner that are named; the rest is counted."""


def same_role_owners(
    instances: Sequence[Instance], usd_per_hour: Callable[[Instance], Decimal | None]
) -> tuple[SameRoleOwner, ...]:
    """Return instances of the caller's role by the owner that names them.

    :param usd_per_hour: returns the price of an instance in its state.
    """
    owners = dict.fromkeys(instance.owner_id or instance.owner for instance in instances)
    return tuple(
        _same_role_owner(owner, [item for item in instances if (item.owner_id or item.owner) == owner], usd_per_hour)
        for owner in owners
    )


def _same_role_owner(
    owner: str, instances: Sequence[Instance], usd_per_hour: Callable[[Instance], Decimal | None]
) -> SameRoleOwner:
    names = tuple(f"{instance.name} ({instance.id}, {instance.state})" for instance in instances)
    session = instances[0].owner.rpartition(":")[2]
    return SameRoleOwner(owner, session, names, cost.total(map(usd_per_hour, instances)))


class Inventory:
    """Finds instances and prices them; a :class:`~orchestrator.core.host.HostSource`.

    The tags are the state: every computer with the same settings and owner finds the same instances.
    """

    def __init__(self, context: ClusterContext) -> None:
        self.context = context
        self._described: list[Instance] = []
        # Not created on first use: that may be in several threads at once, and it collects what they rotate.
        self._key_rotation = HostKeyRotation(
            context.ssh,
            partial(instance_tags.tag_host_key, context.clients),
            context.known_hosts,
            context.on_event,
            context.clock,
        )

    @CreatedOnce
    def meter(self) -> Meter:
        """Costs of instances."""
        from orchestrator.cluster.meter import Meter

        return Meter(self.context)

    @CreatedOnce
    def disks(self) -> HostDisks:
        """Disks and shared file systems of the instances, on their hosts."""
        from orchestrator.cluster.disks.mounting import HostDisks

        return HostDisks(self.context)

    # -- instances

    def instances(self) -> list[Instance]:
        """Return the instances that are not terminated, in the order of their names; one call."""
        described = ec2_instances.describe(self.context.clients, self.context.ownership)
        self._described = with_unique_names(described)
        return self._described

    def survey(self) -> Survey:
        """Return the cluster's instances, those that have ended, and those of other owners; one call."""
        ownership = self.context.ownership
        described = ec2_instances.describe_all(
            self.context.clients, cluster=self.context.cluster_id.cluster, include_terminated=True
        )
        own = [instance for instance in described if ownership.includes(instance)]
        others = [item for item in described if item.state != "terminated" and not ownership.includes(item)]
        same_role = [instance for instance in others if ownership.is_of_same_role(instance)]
        self.refresh_spot_prices(same_role)
        self._described = with_unique_names(instance for instance in own if instance.state != "terminated")
        return Survey(
            self._described,
            [instance for instance in own if instance.state == "terminated"],
            tuple(instance.summary for instance in others if instance not in same_role),
            same_role_owners(same_role, self.meter.billed_usd_per_hour),
        )

    def running(self) -> list[Instance]:
        """Return the running instances.

        :raises UsageError: there is none.
        """
        instances = self.instances()
        running = [instance for instance in instances if instance.state == "running"]
        if not running:
            stopped = [instance.name for instance in instances if instance.state in ("stopping", "stopped")]
            state = f"; stopped: {' '.join(stopped)}" if stopped else ""
            # A start is billed: after a question about VMs it must not look like a further question.
            start = NextStep("StartAll") + "  starts them, which is billed by the hour again"
            fix = start if stopped else NextStep("LaunchInstances")
            raise UsageError(f"no VM of cluster {self.context.cluster_id.cluster} is running{state}", fix=fix)
        return running

    @property
    def last_described(self) -> Sequence[Instance]:
        """The instances as they were last described; makes no call."""
        return self._described

    # -- hosts

    def hosts(self, names: Sequence[str] = ()) -> list[Host]:
        """Return the running instances as hosts; see `HostSource.hosts`."""
        running = {instance.name: instance for instance in self.running()}
        unknown = [name for name in names if name not in running]
        if unknown:
            stopped = {instance.name for instance in self._described if instance.state in ("stopping", "stopped")}
            start = "; " + NextStep("StartAll") + " starts those that are stopped" if stopped & set(unknown) else ""
            several = "; name each VM by itself" if {",", " "} & set("".join(unknown)) else ""
            raise UsageError(f"{', '.join(unknown)}: not up", fix=f"up: {', '.join(running)}{several}" + start)
        return [self.host(running[name]) for name in names or running]

    def host(self, instance: Instance) -> Host:
        """Return an instance as a host."""
        pinned, ssh = self.context.known_hosts.get(instance.id), self.context.settings.ssh
        address = self._address(instance)
        return Host(
            name=instance.name,
            address=address,
            private_address=instance.private_address,
            port=ssh.port,
            user=ssh.user or instance.user,
            key_file=key_pairs.key_file_of(instance, self.context.key_pair, self.context.cluster_id),
            # A key seen in force here counts more than a tag, which anyone with access to the account can write.
            host_key=pinned or instance.host_key,
            identity=instance.id,
            boot_key="" if pinned else instance.boot_key,
            proxy_command=proxy_command(self.context.settings, address=address, port=ssh.port, instance_id=instance.id),
        )

    def _address(self, instance: Instance) -> str:
        addresses = {
            # Behind a jump host or an endpoint, the private address is the one that is reached.
            "auto": (not self.context.settings.ssh.via and instance.public_address) or instance.private_address,
            "public": instance.public_address,
            "private": instance.private_address,
        }
        return addresses[self.context.settings.ssh.address]

    def ready(self, host: Host) -> Host:
        """Wait until a host answers SSH and give it a key of its own; see `HostSource.ready`."""
        self.context.ssh.wait_until_ready(host, timeout_s=self.context.settings.ssh.ready_timeout)
        ready = self.rotate_host_key(host)
        for instance in self._described:
            if instance.id == host.identity:
                self.disks.mount(ready, instance)
        return ready

    def first_command(self, host: Host) -> str:
        """Return the command that a host that has just booted is tried with; its result is for `rotate_host_key`."""
        return self._key_rotation.first_command(host)

    def rotate_host_key(self, host: Host, first_result: CommandResult | None = None) -> Host:
        """Return a host with a host key of its own; unchanged if it has one. `all_ready` has to follow.

        :param first_result: of the first command, if that was run already.
        """
        return self._key_rotation(host, first_result)

    def all_ready(self) -> None:
        """Remove the launch's host key from the tags of the hosts that were rotated, with one call for all."""
        rotated = self._key_rotation.take_rotated()
        try:
            if rotated:
                instance_tags.clear_boot_key_tags(self.context.clients, rotated)
        except StratusError as error:
            # The launch's key stays accepted beside the new one until the next install: no reason to fail.
            self.context.on_event(Event("", "hostkey", "warning", text=first_line(error)))

    # -- prices

    def usd_per_hour(self, instance: Instance) -> Decimal | None:
        """Return USD per hour of a running instance; see `Meter.usd_per_hour`."""
        return self.meter.usd_per_hour(instance)

    def disk_usd_per_hour(self, instance: Instance) -> Decimal | None:
        """Return USD per hour of an instance's disk; see `Meter.disk_usd_per_hour`."""
        return self.meter.disk_usd_per_hour(instance)

    def refresh_spot_prices(self, instances: Sequence[Instance]) -> None:
        """Look up the spot prices of the spot instances among some; makes no call if there is none."""
        if types := {instance.type for instance in instances if instance.is_spot}:
            self.context.prices.refresh_spot(types)

    def bill(self, names: Sequence[str], seconds: float) -> cost.Bill:
        """Return the cost of hosts for some time, from the last description of the instances.

        :param names: of the hosts.
        :param seconds: the time, the same for each, but of none longer than it has existed.
        """
        # Not described again: an instance that AWS reclaimed in the meantime was billed all the same.
        billed = [instance for instance in self._described if instance.name in names]
        self.refresh_spot_prices(billed)
        now = self.context.clock.now()
        used = [(instance, min(seconds, _age_s(instance, now))) for instance in billed]

        def total(usd_per_hour: Callable[[Instance], Decimal | None]) -> Decimal | None:
            return cost.total(cost.cost_for(usd_per_hour(instance), used_s) for instance, used_s in used)

        return cost.Bill(
            sum(used_s for _, used_s in used),
            total(self.meter.vm_usd_per_hour),
            total(self.disk_usd_per_hour),
            _spot_share(billed),
            total(self.meter.address_usd_per_hour),
        )


def _age_s(instance: Instance, now: datetime) -> float:
    """Return the seconds since an instance was launched: times of a run are those of a host, which may lie."""
    return max(0.0, (now - (instance.created_at or instance.launched_at)).total_seconds())


def _spot_share(instances: Sequence[Instance]) -> str:
    """Return which of some instances are spot: ``yes`` (all), ``partly`` or ``no``."""
    spot = {instance.is_spot for instance in instances}
    return "partly" if len(spot) > 1 else "yes" if True in spot else "no"


def with_unique_names(instances: Iterable[Instance]) -> list[Instance]:
    """Return instances so that no two have one name: two computers that launch at once may give one twice.

    The first one launched keeps it; the id is added to the others'.
    """
    oldest = datetime.max.replace(tzinfo=UTC)
    in_order = sorted(instances, key=lambda item: (item.launched_at or oldest, item.id))
    first = {instance.name: instance.id for instance in reversed(in_order)}
    return [
        instance if first[instance.name] == instance.id else replace(instance, name=f"{instance.name}.{instance.id}")
        for instance in sorted(in_order, key=lambda item: host_names.sort_key(item.name))
    ]
