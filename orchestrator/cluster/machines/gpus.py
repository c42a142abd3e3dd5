"""Check of the GPUs of running instances, and of the connections between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.aws.ec2 import instance_types
from orchestrator.core.errors import UsageError
from orchestrator.core.events import Event
from orchestrator.core.next_step import NextStep
from orchestrator.hosts import all_reduce, gpu_health
from orchestrator.hosts.all_reduce import AllReduce
from orchestrator.hosts.gpu_health import HostGpus

if TYPE_CHECKING:
    from orchestrator.cluster.inventory import Inventory
    from orchestrator.core.host import Host


@dataclass(frozen=True)
class GpuReport:
    """Health of the GPUs of all hosts.

    :param failed: name of every host that does not answer -> error.
    :param all_reduce: None if none was asked for, or fewer than two hosts answer.
    """

    hosts: tuple[HostGpus, ...]
    failed: Mapping[str, Exception]
    all_reduce: AllReduce | None = None

    @property
    def bad(self) -> tuple[str, ...]:
        """Names of the hosts with a bad GPU, that do not answer, or whose connections are slow."""
        names = [host.host for host in self.hosts if host.problems]
        names += self.failed
        if self.all_reduce:
            names += [*self.all_reduce.broken, *self.all_reduce.slow]
        return tuple(dict.fromkeys(names))

    @property
    def without_driver(self) -> tuple[str, ...]:
        """Names of the hosts that have GPUs and no driver."""
        return tuple(host.host for host in self.hosts if host.expected and not host.has_driver)


def check(inventory: Inventory, names: Sequence[str], seconds: int) -> GpuReport:
    """Check GPUs, then do an all-reduce over the hosts that answer.

    :param names: only these hosts; all when empty.
    :param seconds: of the all-reduce; 0 for none.
    :raises UsageError: an all-reduce has fewer than two hosts.
    """
    context, hosts = inventory.context, inventory.hosts(names)
    if seconds and len(hosts) < 2:
        raise UsageError("an all-reduce needs 2 VMs or more", fix=NextStep("CheckGpus") + " checks the GPUs of one")
    types = {instance.id: instance.type for instance in inventory.last_described}
    infos = instance_types.list_types(context.clients, sorted(set(types.values())), only_current=False)
    counts = {item.name: item.gpus for item in infos if item.gpu.startswith("NVIDIA")}

    def query(host: Host) -> HostGpus:
        instance_type = types[host.identity]
        return gpu_health.query(context.ssh, host, instance_type, counts.get(instance_type, 0))

    outcomes = context.runtime.for_each(hosts, query, clock=context.clock)
    measured = None
    answering = [host for host in hosts if outcomes[host.name].ok]
    if seconds and len(answering) > 1:
        text = f"all-reduce over {len(answering)} VMs, {seconds} s"
        context.on_event(Event("", "all-reduce", "start", text=text))
        measured = all_reduce.measure(context.ssh, answering, seconds)
    return GpuReport(tuple(outcomes.successful_values()), outcomes.errors, measured)
