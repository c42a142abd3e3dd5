"""Managed services of this computer's clusters: of the present one, and of those before the settings were edited."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial

from orchestrator.aws.identity import ClusterId, recorded_cluster_id
from orchestrator.aws.managed.resources import ManagedResource
from orchestrator.aws.managed.sweep import ManagedService, ManagedSweep
from orchestrator.cluster.context import ClusterContext
from orchestrator.core.errors import StratusError
from orchestrator.services.managed import resources

Build = Callable[[ClusterContext], Sequence[ManagedService]]
"""Returns all services of a cluster."""


def sweep(context: ClusterContext, *others: Callable[[ClusterContext], ManagedService]) -> ManagedSweep:
    """Return the managed resources of all of them.

    :param others: return further services of a cluster.
    """

    def build(context: ClusterContext) -> Sequence[ManagedService]:
        further = (other(context) for other in others)
        return [resources.sagemaker(context), *resources.of_ec2(context), *further]

    return ManagedSweep(build(context), context.clock, partial(find, context, build))


def find(context: ClusterContext, build: Build) -> list[ManagedService]:
    """Return the services with resources of this computer's journal that were made under other settings.

    Makes no API call without such resources.
    """
    kinds = {kind for service in build(context) for kind in service.log.kinds}
    services: list[ManagedService] = []
    for cluster_id in _other_clusters(context, kinds):
        origin = f"cluster {cluster_id.cluster} in {cluster_id.region}"
        is_reachable = cluster_id.account == context.cluster_id.account
        for service in build(context.of(cluster_id)):
            if service.is_used:
                service_kinds = service.kinds if is_reachable else [_OtherAccount(cluster_id.account)]
                named = f"{service.name} of {origin}"
                services.append(replace(service, name=named, kinds=service_kinds, origin=origin))
    return services


def _other_clusters(context: ClusterContext, kinds: set[str]) -> list[ClusterId]:
    clusters: list[ClusterId] = []
    for entry in context.journal.entries():
        if entry.kind not in kinds or (entry.outcome or {}).get("ended"):
            continue
        # A damaged disk may have changed any field.
        with suppress(KeyError, TypeError, AttributeError):
            recorded = recorded_cluster_id(entry.facts)
            # One cluster under several ARNs is listed once.
            if not any(known.covers(recorded) for known in (context.cluster_id, *clusters)):
                clusters.append(recorded)
    return clusters


class _OtherAccount:
    """Resources of an account that the credentials do not belong to."""

    label = "resource"

    def __init__(self, account: str) -> None:
        self._account = account

    def find(self) -> Sequence[ManagedResource]:
        """Raise the error that tells why they are not looked up."""
        raise StratusError(f"not looked up: in account {self._account}, and these credentials are of another")

    def end(self, name: str) -> None:
        """Raise the error that tells why it is not ended."""
        raise StratusError(f"not ended: in account {self._account}", where=name)
