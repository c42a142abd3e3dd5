"""The instances of one cluster, found by their tags, and as hosts for everything that works over SSH."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from functools import partial

from orchestrator.aws.ec2 import instance_tags
from orchestrator.aws.ec2 import instances as ec2_instances
from orchestrator.aws.ec2.instances import Instance
from orchestrator.cluster.context import ClusterContext
from orchestrator.core import cost
from orchestrator.core.errors import StratusError, UsageError, first_line
from orchestrator.core.events import Event
from orchestrator.core.host import Host
from orchestrator.core.next_step import NextStep
from orchestrator.hosts.host_keys import HostKeyRotation


class Inventory:
    """Finds instances and prices them; a :class:`~orchestrator.core.host_source.HostSource`.

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

    # -- instances

    def instances(self) -> list[Instance]:
        """Return the instances that are not terminated, in the order of their names; one call."""
        cluster_id = self.context.cluster_id
        self._described = ec2_instances.describe(
            self.context.clients, cluster=cluster_id.cluster, owner=cluster_id.owner
        )
        return self._described

    def with_other_owners(self) -> tuple[list[Instance], tuple[str, ...]]:
        """Return the cluster's instances and, as text, those that other owners run under its name; one call."""
        cluster_id = self.context.cluster_id
        described = ec2_instances.describe(self.context.clients, cluster=cluster_id.cluster, owner=None)
        self._described = [instance for instance in described if instance.owner == cluster_id.owner]
        others = tuple(instance.summary for instance in described if instance.owner != cluster_id.owner)
        return self._described, others

    def other_owners(self) -> tuple[str, ...]:
        """Return, as text, the instances that other owners run under this cluster's name; one call."""
        return self.with_other_owners()[1]

    def running(self) -> list[Instance]:
        """Return the running instances.

        :raises UsageError: there is none.
        """
        running = [instance for instance in self.instances() if instance.state == "running"]
        if not running:
            cluster = self.context.cluster_id.cluster
            raise UsageError(f"no VM of cluster {cluster} is running", fix=NextStep("LaunchInstances"))
        return running

    # -- hosts

    def hosts(self, names: Sequence[str] = ()) -> list[Host]:
        """Return the running instances as hosts; see `HostSource.hosts`."""
        running = {instance.name: instance for instance in self.running()}
        unknown = [name for name in names if name not in running]
        if unknown:
            raise UsageError(f"{', '.join(unknown)}: not up", fix=f"up: {', '.join(running)}")
        return [self.host(running[name]) for name in names or running]

    def host(self, instance: Instance) -> Host:
        """Return an instance as a host."""
        pinned, ssh = self.context.known_hosts.get(instance.id), self.context.settings.ssh
        return Host(
            name=instance.name,
            address=self._address(instance),
            private_address=instance.private_address,
            port=ssh.port,
            user=ssh.user or instance.user,
            key_file=self.context.key_pair.key_file,
            # A key seen in force here counts more than a tag, which anyone with access to the account can write.
            host_key=pinned or instance.host_key,
            identity=instance.id,
            boot_key="" if pinned else instance.boot_key,
        )

    def _address(self, instance: Instance) -> str:
        addresses = {
            "auto": instance.public_address or instance.private_address,
            "public": instance.public_address,
            "private": instance.private_address,
        }
        return addresses[self.context.settings.ssh.address]

    def ready(self, host: Host) -> Host:
        """Wait until a host answers SSH and give it a key of its own; see `HostSource.ready`."""
        self.context.ssh.wait_until_ready(host, timeout_s=self.context.settings.ssh.ready_timeout)
        return self.rotate_host_key(host)

    def rotate_host_key(self, host: Host) -> Host:
        """Return a host with a host key of its own; unchanged if it has one. `all_ready` has to follow."""
        return self._key_rotation(host)

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
        """Return USD per hour of a running instance with its disk; None when unknown. Makes no API call."""
        prices, region = self.context.prices, self.context.cluster_id.region
        on_demand = prices.per_hour(instance.type, region)
        price = prices.spot_per_hour(instance.type, instance.zone) if instance.is_spot else on_demand
        return cost.total([price.usd if price else None, self.disk_usd_per_hour(instance)])

    def disk_usd_per_hour(self, instance: Instance) -> Decimal | None:
        """Return USD per hour of an instance's disk, in any state; None when unknown. Makes no API call."""
        region = self.context.cluster_id.region
        price = self.context.prices.disk_per_hour(instance.disk, region) if instance.disk else None
        return price.usd if price else None

    def refresh_spot_prices(self, instances: Sequence[Instance]) -> None:
        """Look up the spot prices of the spot instances among some; makes no call if there is none."""
        if types := {instance.type for instance in instances if instance.is_spot}:
            self.context.prices.refresh_spot(types)

    def bill(self, names: Sequence[str], seconds: float) -> cost.Bill:
        """Return the cost of hosts for some time, from the last description of the instances.

        :param names: of the hosts.
        :param seconds: the time, the same for each.
        """
        # Not described again: an instance that AWS reclaimed in the meantime was billed all the same.
        billed = [instance for instance in self._described if instance.name in names]
        self.refresh_spot_prices(billed)
        disks = cost.total(self.disk_usd_per_hour(instance) for instance in billed)
        both = cost.total(self.usd_per_hour(instance) for instance in billed)
        vms = None if both is None or disks is None else both - disks
        return cost.Bill(
            seconds * len(billed), cost.cost_for(vms, seconds), cost.cost_for(disks, seconds), _spot_share(billed)
        )


def _spot_share(instances: Sequence[Instance]) -> str:
    """Return which of some instances are spot: ``yes`` (all), ``partly`` or ``no``."""
    spot = {instance.is_spot for instance in instances}
    return "partly" if len(spot) > 1 else "yes" if True in spot else "no"
