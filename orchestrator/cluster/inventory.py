"""The instances of one cluster, found by their tags, and as hosts for whatever works over SSH."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from orchestrator.aws.ec2 import instances
from orchestrator.aws.ec2.instances import Instance
from orchestrator.cluster.context import ClusterContext
from orchestrator.core import cost
from orchestrator.core.errors import UsageError
from orchestrator.core.host import Host
from orchestrator.core.next_step import NextStep


class Inventory:
    """Finds instances and prices them; a :class:`~orchestrator.core.host_source.HostSource`.

    The tags are the state: a second computer sees the same instances.
    """

    def __init__(self, context: ClusterContext) -> None:
        self.context = context
        self._described: list[Instance] = []

    def instances(self) -> list[Instance]:
        """Return the instances that are not terminated, in the order of their names; one call."""
        cluster_id = self.context.cluster_id
        return self._remember(
            instances.describe(self.context.clients, cluster=cluster_id.cluster, owner=cluster_id.owner)
        )

    def with_other_owners(self) -> tuple[list[Instance], tuple[str, ...]]:
        """Return the cluster's instances and, as text, those that other owners run under its name; one call."""
        cluster_id = self.context.cluster_id
        described = instances.describe(self.context.clients, cluster=cluster_id.cluster, owner=None)
        ours = [instance for instance in described if instance.owner == cluster_id.owner]
        return self._remember(ours), tuple(
            instance.summary for instance in described if instance.owner != cluster_id.owner
        )

    def other_owners(self) -> tuple[str, ...]:
        """Return, as text, the instances that other owners run under this cluster's name; one call."""
        return self.with_other_owners()[1]

    def running(self) -> list[Instance]:
        """Return the running instances.

        :raises UsageError: there is none.
        """
        running = [instance for instance in self.instances() if instance.state == "running"]
        if not running:
            raise UsageError(f"no machine of {self.context.cluster_id.cluster} is up", fix=NextStep("LaunchInstances"))
        return running

    def hosts(self, names: Sequence[str] = ()) -> list[Host]:
        """Return the running instances as hosts; see `HostSource.hosts`."""
        up = {instance.name: instance for instance in self.running()}
        unknown = [name for name in names if name not in up]
        if unknown:
            raise UsageError(f"{', '.join(unknown)}: not up", fix=f"up: {', '.join(up)}")
        return [self.host(up[name]) for name in names or up]

    def host(self, instance: Instance) -> Host:
        """Return an instance as SSH needs it."""
        address, ssh = instance.public_address or instance.private_address, self.context.settings.ssh
        if ssh.address != "auto":
            address = instance.public_address if ssh.address == "public" else instance.private_address
        pinned = self.context.known_hosts.get(instance.id)
        return Host(
            name=instance.name,
            address=address,
            private_address=instance.private_address,
            port=ssh.port,
            user=ssh.user or instance.user,
            key_file=self.context.key_pair.key_file,
            host_key=pinned or instance.host_key,
            identity=instance.id,
            boot_key="" if pinned else instance.boot_key,
        )

    def ready(self, host: Host) -> Host:
        """Wait until a host answers SSH and give it a key of its own; see `HostSource.ready`."""
        self.context.ssh.wait_until_ready(host, timeout_s=self.context.settings.ssh.ready_timeout)
        return self.context.key_rotation(host)

    def all_ready(self) -> None:
        """Drop the launch's host key from the tags; see `HostSource.all_ready`."""
        self.context.clear_boot_key_tags()

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

    def refresh_spot_prices(self, priced: Sequence[Instance]) -> None:
        """Look up the spot prices of the instances that are spot; no call when none is."""
        if types := {instance.type for instance in priced if instance.is_spot}:
            self.context.prices.refresh_spot(types)

    def bill(self, names: Sequence[str], seconds: float) -> cost.Bill:
        """Return what hosts cost for a stretch of time, as EC2 described them last: it is not asked again.

        :param names: of the hosts.
        :param seconds: the time, the same for each.
        """
        billed = [instance for instance in self._described if instance.name in names]
        self.refresh_spot_prices(billed)
        disks = cost.total(self.disk_usd_per_hour(instance) for instance in billed)
        both = cost.total(self.usd_per_hour(instance) for instance in billed)
        compute = None if both is None or disks is None else both - disks
        return cost.Bill(
            seconds * len(billed), cost.cost_for(compute, seconds), cost.cost_for(disks, seconds), _market(billed)
        )

    def _remember(self, described: list[Instance]) -> list[Instance]:
        self._described = described
        return described


def _market(billed: Sequence[Instance]) -> str:
    """Return whether instances are spot: ``yes``, ``no`` or ``partly``."""
    spot = {instance.is_spot for instance in billed}
    return "partly" if len(spot) > 1 else "yes" if True in spot else "no"
