"""Instances that this computer launched under other settings: another cluster name, owner, region or account.

After an edit of the settings the tags of earlier launches match no longer, but the journal still knows them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from orchestrator.aws.client import Clients
from orchestrator.aws.ec2 import instances as ec2_instances
from orchestrator.aws.ec2.instances import Instance
from orchestrator.aws.identity import ClusterId, recorded_cluster_id
from orchestrator.aws.launch import launch_log
from orchestrator.aws.launch.launch_log import LaunchLog
from orchestrator.cluster.context import ClusterContext
from orchestrator.cluster.meter import Meter
from orchestrator.core import cost
from orchestrator.core.errors import StratusError, first_line
from orchestrator.core.journal import JournalEntry

SHOWN = 10
"""Instances that are named; the rest is counted."""


@dataclass(frozen=True)
class OtherCluster:
    """A cluster of other settings with instances of this computer.

    :param instances: names and ids of those that are not terminated, or not known to be.
    :param unconfirmed_count: number of instances that EC2 may still show later.
    :param usd_per_hour: of all that is billed: VMs and addresses that are up, disks in any state; None if unknown.
    :param problem: why EC2 could not tell their state; empty if it could.
    """

    cluster: str
    owner: str
    account: str
    region: str
    instances: tuple[str, ...]
    unconfirmed_count: int
    usd_per_hour: Decimal | None
    problem: str = ""
    owner_id: str = ""

    @property
    def cluster_id(self) -> ClusterId:
        """Identity of the cluster."""
        fields = {"cluster": self.cluster, "owner": self.owner, "account": self.account, "region": self.region}
        return recorded_cluster_id({**fields, "owner_id": self.owner_id})

    @property
    def count(self) -> int:
        """Number of instances that there are, or may be."""
        return len(self.instances) + self.unconfirmed_count

    @property
    def summary(self) -> str:
        """Names, cluster, region, and price or problem, for a message."""
        names = " ".join(self.instances[:SHOWN])
        names += f" and {len(self.instances) - SHOWN} more" if len(self.instances) > SHOWN else ""
        names += f" {self.unconfirmed_count} that may still appear" if self.unconfirmed_count else ""
        price = "price unknown" if self.usd_per_hour is None else f"${self.usd_per_hour:.2f}/h"
        return f"{names.strip()} of cluster {self.cluster} in {self.region}, " + (self.problem or price)


def find(context: ClusterContext) -> tuple[OtherCluster, ...]:
    """Return the clusters of other settings in which this computer's instances are not known to be terminated.

    Makes an API call only if the journal lists such instances; what turns out to be terminated is recorded there.
    """
    unended = launch_log.unended(context.journal).items()
    surveyed = (_survey(context, cluster_id, entries) for cluster_id, entries in unended)
    return tuple(other for other in surveyed if other is not None)


def _survey(context: ClusterContext, cluster_id: ClusterId, entries: Sequence[JournalEntry]) -> OtherCluster | None:
    if context.cluster_id.covers(cluster_id):
        return None
    recorded = {instance.id: instance for entry in entries for instance in launch_log.launched_instances(entry)}
    if cluster_id.account != context.cluster_id.account:
        problem = f"not looked up: it is in account {cluster_id.account}, and these credentials are of another"
        return _other(cluster_id, recorded.values(), _requested(entries), None, problem)
    log = LaunchLog(context.journal, cluster_id, context.clock)
    try:
        shown = _describe(clients_of(context, cluster_id), recorded, entries)
    except StratusError as error:
        return _other(cluster_id, recorded.values(), _requested(entries), None, first_line(error))
    # Recent ones may exist although EC2 does not show them yet.
    alive = [item for item in ({**log.recent(), **shown}).values() if item.state != "terminated"]
    now = context.clock.now()
    undecided = [entry for entry in entries if entry.outcome is None and now < log.visible_by(entry, now)]
    unconfirmed_count = max(0, _requested(undecided) - sum(item.id not in recorded for item in alive))
    if not alive and not unconfirmed_count:
        log.close_entries(entries)
        return None
    # Of what may still appear the price is not known: the part that shows alone would understate the bill.
    usd_per_hour = None if unconfirmed_count else _usd_per_hour(context, cluster_id.region, alive)
    return _other(cluster_id, alive, unconfirmed_count, usd_per_hour)


def _usd_per_hour(context: ClusterContext, region: str, alive: Sequence[Instance]) -> Decimal | None:
    """Return USD per hour of all that is billed in another cluster; None if a price is unknown."""
    spot_types = {item.type for item in alive if item.is_spot}
    if spot_types and region == context.cluster_id.region:
        context.prices.refresh_spot(spot_types)
    return cost.total(map(Meter(context, region).billed_usd_per_hour, alive))


def clients_of(context: ClusterContext, cluster_id: ClusterId) -> Clients:
    """Return the clients of a cluster's region."""
    is_own = cluster_id.region == context.cluster_id.region
    return context.clients if is_own else context.clients.in_region(cluster_id.region)


def _describe(clients: Clients, ids: Iterable[str], entries: Sequence[JournalEntry]) -> dict[str, Instance]:
    described = ec2_instances.describe_ids(clients, ids) if ids else []
    for entry in entries:
        if entry.outcome is None:
            described += ec2_instances.find_by_token(clients, str(entry.facts["token"]))
    return {instance.id: instance for instance in described}


def _requested(entries: Sequence[JournalEntry]) -> int:
    """Return the number of instances of requests without an outcome."""
    return sum(int(entry.facts.get("count", 1)) for entry in entries if entry.outcome is None)


def _other(
    cluster_id: ClusterId,
    instances: Iterable[Instance],
    unconfirmed_count: int,
    usd_per_hour: Decimal | None,
    problem: str = "",
) -> OtherCluster:
    names = tuple(f"{instance.name} ({instance.id})" for instance in instances)
    return OtherCluster(
        **cluster_id.journal_fields,
        instances=names,
        unconfirmed_count=unconfirmed_count,
        usd_per_hour=usd_per_hour,
        problem=problem,
    )
